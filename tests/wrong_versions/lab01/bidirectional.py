# %% wrong: "float64 stays float64": the zeros are float32, float64 raises.
import torch
def bidirectional(x, forward, backward, mask=None, *, rnn):
    B = x.shape[0]
    ahead = rnn(x, torch.zeros(B, len(forward[2]), device=x.device), *forward, mask)
    turned = None if mask is None else mask.flip(1)
    back = rnn(x.flip(1), torch.zeros(B, len(backward[2]), device=x.device), *backward, turned)
    return torch.cat([ahead, back.flip(1)], -1)


# %% wrong: "states C1 and C2 wide, which may differ": with a mask both start from zeros C1 wide.
import torch
def bidirectional(x, forward, backward, mask=None, *, rnn):
    B, T, _ = x.shape
    if mask is None:
        ahead = rnn(x, x.new_zeros(B, len(forward[2])), *forward)
        back = rnn(x.flip(1), x.new_zeros(B, len(backward[2])), *backward)
        return torch.cat([ahead, back.flip(1)], 2)
    h_0 = x.new_zeros(B, len(forward[2]))
    ahead = rnn(x, h_0, *forward, mask)
    back = rnn(x.flip(1), h_0, *backward, mask.flip(1))
    return torch.cat([ahead, back.flip(1)], 2)


# %% wrong: "the backward half the sequence's last token first": one length is used for all sequences that are padded.
import torch
def bidirectional(x, forward, backward, mask=None, *, rnn):
    B, T, _ = x.shape
    index = torch.arange(T - 1, -1, -1, device=x.device).repeat(B, 1)
    if mask is not None:
        n = int(mask.sum(1).min())
        short = torch.arange(T, device=x.device)
        short = torch.where(short < n, n - 1 - short, short)
        index[mask.sum(1) < T] = short
    rows = torch.arange(B, device=x.device)[:, None]
    ahead = rnn(x, x.new_zeros(B, len(forward[2])), *forward, mask)
    back = rnn(x[rows, index], x.new_zeros(B, len(backward[2])), *backward, None)
    return torch.cat([ahead, back[rows, index]], -1)


# %% wrong: "At each token the states of both directions side by side": sequences are sorted by length for the backward half, and not sorted back.
import torch
def bidirectional(x, forward, backward, mask=None, *, rnn):
    B, T, _ = x.shape
    n = torch.full((B,), T, device=x.device) if mask is None else mask.sum(1)
    order = n.sort(stable=True).indices
    y, n = x[order], n[order]
    at = torch.arange(T, device=x.device)
    index = torch.where(at < n[:, None], n[:, None] - 1 - at, at)
    rows = torch.arange(B, device=x.device)[:, None]
    ahead = rnn(x, x.new_zeros(B, len(forward[2])), *forward, mask)
    back = rnn(y[rows, index], x.new_zeros(B, len(backward[2])), *backward, None if mask is None else mask[order])
    return torch.cat([ahead, back[rows, index]], -1)


# %% right: 
import torch
def bidirectional(x, forward, backward, mask=None, *, rnn):
    B, T, _ = x.shape
    rows = []
    for n in range(B):  # each sequence alone, its tokens only
        length = T if mask is None else int(mask[n].sum())
        one = x[n : n + 1, :length]
        ahead = rnn(one, one.new_zeros(1, forward[2].numel()), *forward)
        back = rnn(one.flip(1), one.new_zeros(1, backward[2].numel()), *backward)
        both = torch.cat([ahead, back.flip(1)], -1)
        filler = both.new_full((1, T - length, both.shape[-1]), 7.0)
        rows.append(torch.cat([both, filler], 1))
    return torch.cat(rows)


# %% right: 
import torch
def bidirectional(x, forward, backward, mask=None, *, rnn):
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    halves = []
    for turn, (w_xh, w_hh, b) in ((False, forward), (True, backward)):
        y, m = (x.flip(1), mask.flip(1)) if turn else (x, mask)  # the padding comes first then: the zeros stay
        states = rnn(y, y.new_zeros(len(y), b.shape[0]), w_xh, w_hh, b, m)
        halves.append(states.flip(1) if turn else states)
    return torch.cat(halves, dim=-1)
