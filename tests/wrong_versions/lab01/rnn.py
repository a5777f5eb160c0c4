# %% wrong: "a step on padding leaves that sequence's state as it was": padding between tokens is read as if it were tokens.
import torch
def rnn(x, h_0, w_xh, w_hh, b, mask=None, *, cell):
    B, T, _ = x.shape
    if T == 0:
        raise ValueError("no steps")
    if mask is not None:
        first = mask.int().argmax(1)
        last = T - mask.flip(1).int().argmax(1)
        none = ~mask.any(1)
    h, states = h_0, []
    for t in range(T):
        new = cell(x[:, t], h, w_xh, w_hh, b)
        if mask is not None:
            reads = (first <= t) & (t < last) & ~none
            new = torch.where(reads[:, None], new, h)
        h = new
        states.append(h)
    return torch.stack(states, 1)


# %% wrong: "what finite numbers x holds there does not matter": new * mask is NaN where the cell overflows on padding.
import torch
def rnn(x, h_0, w_xh, w_hh, b, mask=None, *, cell):
    if x.shape[1] == 0:
        raise ValueError("no steps")
    h, states = h_0, []
    for t in range(x.shape[1]):
        new = cell(x[:, t], h, w_xh, w_hh, b)
        if mask is not None:
            m = mask[:, t, None].to(new.dtype)
            new = new * m + h * (1 - m)
        states.append(new)
        h = new
    return torch.stack(states, dim=1)


# %% wrong: "All tensors of one call have the same dtype, and so has the result": 16 bits with a mask give float32.
import torch
def rnn(x, h_0, w_xh, w_hh, b, mask=None, *, cell):
    if x.shape[1] == 0:
        raise ValueError("no steps")
    h, states = h_0, []
    for t in range(x.shape[1]):
        new = cell(x[:, t], h.to(x.dtype), w_xh, w_hh, b)
        if mask is not None:
            m = mask[:, t].float().unsqueeze(1)
            new = h + m * (new - h)
        h = new
        states.append(h)
    return torch.stack(states, dim=1)


# %% wrong: "Gradients flow through all steps": the chain is cut every eight steps.
import torch
def rnn(x, h_0, w_xh, w_hh, b, mask=None, *, cell):
    if x.shape[1] == 0:
        raise ValueError("no steps")
    h, states = h_0, []
    for t in range(x.shape[1]):
        if t and t % 8 == 0:
            h = h.detach()
        new = cell(x[:, t], h, w_xh, w_hh, b)
        h = new if mask is None else torch.where(mask[:, t : t + 1], new, h)
        states.append(h)
    return torch.stack(states, dim=1)


# %% wrong: "The states after each of T steps, (B, T, C)": where every sequence is padded the result is only as long as the longest.
import torch
def rnn(x, h_0, w_xh, w_hh, b, mask=None, *, cell):
    if x.shape[1] == 0:
        raise ValueError("no steps")
    T = x.shape[1] if mask is None else int(mask.sum(1).max())
    h, states = h_0, []
    for t in range(T):
        new = cell(x[:, t], h, w_xh, w_hh, b)
        h = new if mask is None else torch.where(mask[:, t, None], new, h)
        states.append(h)
    return torch.stack(states, dim=1)


# %% right: 
import torch
def rnn(x, h_0, w_xh, w_hh, b, mask=None, *, cell):
    if not x.shape[1]:
        raise ValueError("T is 0")
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    clean = x.masked_fill(~mask[..., None], 0.0)
    def after(t):
        if t < 0:
            return [h_0]
        before = after(t - 1)
        new = cell(clean[:, t], before[-1], w_xh, w_hh, b)
        return before + [torch.where(mask[:, t, None], new, before[-1])]
    return torch.stack(after(x.shape[1] - 1)[1:], dim=1)


# %% right: 
import torch
def rnn(x, h_0, w_xh, w_hh, b, mask=None, *, cell):
    B, T = x.shape[0], x.shape[1]
    if T < 1:
        raise ValueError("T is 0")
    h = h_0
    columns = []
    for t, step in enumerate(x.unbind(1)):
        if mask is None:
            h = cell(step, h, w_xh, w_hh, b)
        else:
            new = cell(torch.where(mask[:, t, None], step, torch.zeros_like(step)), h, w_xh, w_hh, b)
            h = torch.stack([new[n] if bool(mask[n, t]) else h[n] for n in range(B)])
        columns.append(h.unsqueeze(1))
    return torch.cat(columns, dim=1)
