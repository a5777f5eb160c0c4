# %% wrong: "`layers` ..., at least one": a single layer raises.
import torch
def multi_layer(x, layers, mask=None, *, rnn):
    first, *middle, last = layers
    h = x
    for layer in [first, *middle, last]:
        h = rnn(h, h.new_zeros(len(x), len(layer[2])), *layer, mask)
    return h


# %% wrong: "float64 stays float64": the zeros are float32, float64 raises.
import torch
def multi_layer(x, layers, mask=None, *, rnn):
    for layer in layers:
        x = rnn(x, torch.zeros(x.shape[0], layer[1].shape[0], device=x.device), *layer, mask)
    return x


# %% wrong: "every layer ... has the same `mask`": layers between the first and the last have none.
import torch
def multi_layer(x, layers, mask=None, *, rnn):
    for n, layer in enumerate(layers):
        given = mask if n in (0, len(layers) - 1) else None
        x = rnn(x, x.new_zeros(len(x), len(layer[2])), *layer, given)
    return x


# %% wrong: "of states as wide as they say": the zeros are cut out of what the layer reads, too narrow where a layer is wider.
import torch
def multi_layer(x, layers, mask=None, *, rnn):
    for w_xh, w_hh, b in layers:
        h_0 = torch.zeros_like(x[:, 0, : len(b)])
        x = rnn(x, h_0, w_xh, w_hh, b, mask)
    return x


# %% right: 
import torch
def multi_layer(x, layers, mask=None, *, rnn):
    *below, (w_xh, w_hh, b) = layers
    read = multi_layer(x, below, mask, rnn=rnn) if below else x
    zeros = (b * 0).expand(x.shape[0], -1)
    return rnn(read, zeros, w_xh, w_hh, b, mask=mask) if mask is not None else rnn(read, zeros, w_xh, w_hh, b)


# %% right: 
import functools
import torch
def multi_layer(x, layers, mask=None, *, rnn):
    def through(read, layer):
        return rnn(read, torch.zeros(read.shape[0], layer[2].shape[0], dtype=read.dtype, device=read.device), *layer, mask)
    return functools.reduce(through, layers, x)
