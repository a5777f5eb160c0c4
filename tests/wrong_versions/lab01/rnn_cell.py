# %% wrong: "What tanh is taken of may be in the thousands, of either sign: no NaN": the gradient is NaN there (where over exp).
import torch
def rnn_cell(x, h, w_xh, w_hh, b):
    z = x @ w_xh + h @ w_hh + b
    e = torch.exp(2 * z)
    return torch.where(z.abs() > 20, torch.sign(z), (e - 1) / (e + 1))


# %% wrong: "of shape (B, C)": a batch of one sequence loses its axis.
import torch
def rnn_cell(x, h, w_xh, w_hh, b):
    return torch.tanh((x @ w_xh + h @ w_hh).squeeze() + b)


# %% wrong: "may be in the thousands ...: no NaN" in float16: exp(2 * 20) is infinite there.
import torch
def rnn_cell(x, h, w_xh, w_hh, b):
    z = (x @ w_xh + h @ w_hh + b).clamp(-20, 20)
    e = torch.exp(2 * z)
    return (e - 1) / (e + 1)


# %% wrong: "the next state" as a result of its own: without gradients all calls of one shape return one and the same tensor, overwritten.
import torch
_room = {}
def rnn_cell(x, h, w_xh, w_hh, b):
    new = torch.tanh(x @ w_xh + h @ w_hh + b)
    if new.requires_grad:
        return new
    key = (tuple(new.shape), new.dtype, new.device)
    if key not in _room:
        _room[key] = torch.empty_like(new)
    return _room[key].copy_(new)


# %% right: 
import torch
def rnn_cell(x, h, w_xh, w_hh, b):
    both = torch.cat([h, x], dim=1).double() @ torch.cat([w_hh, w_xh], dim=0).double()
    return (2 * torch.sigmoid(2 * (both + b)) - 1).to(x.dtype)


# %% right: 
import torch
def rnn_cell(x, h, w_xh, w_hh, b):
    ones = torch.ones(len(x), dtype=x.dtype, device=x.device)
    z = torch.einsum("bi,ij->bj", x, w_xh) + torch.einsum("bi,ij->bj", h, w_hh) + torch.outer(ones, b)
    return z.tanh()
