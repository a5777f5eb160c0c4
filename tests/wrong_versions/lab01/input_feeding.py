# %% wrong: "Gradients flow through what is fed": the fed context is cut every fourth step after the fourth.
import torch
def input_feeding(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend):
    B, T, _ = y.shape
    Ch = h.shape[-1]
    s, a, out = s_0, h.new_zeros(B, Ch), []
    for t in range(T):
        if t and t % 4 == 0:
            a = a.detach()
        s = cell(torch.cat([y[:, t], a], 1), s, w_xh, w_hh, b)
        _, both = attend(score(s[:, None], h), h, s[:, None], mask)
        a = both[:, 0, :Ch]
        out.append(both)
    return torch.cat(out, 1)


# %% wrong: "What attend returns second for every target word": it is put together again from the context and the cell's state.
import torch
def input_feeding(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend):
    Ch = h.shape[-1]
    s, a, out = s_0, torch.zeros_like(h[:, 0]), []
    for t in range(y.shape[1]):
        s = cell(torch.cat([y[:, t], a], -1), s, w_xh, w_hh, b)
        step = s.unsqueeze(1)
        a = attend(score(step, h), h, step, mask)[1][:, 0, :Ch]
        out.append(torch.cat([a, s], -1))
    return torch.stack(out, 1)


# %% wrong: "All tensors of one call have the same dtype, and so has the result": a_0 is float32, 16 bits raise.
import torch
def input_feeding(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend):
    a = torch.zeros(h.shape[0], h.shape[2], device=h.device)
    s, out = s_0, []
    for y_t in y.unbind(1):
        s = cell(torch.cat([y_t, a], -1), s, w_xh, w_hh, b)
        _, both = attend(score(s[:, None], h), h, s[:, None], mask)
        a = both[:, 0, : h.shape[2]]
        out.append(both[:, 0])
    return torch.stack(out, 1)


# %% wrong: "for every target word": a target longer than the source is cut to the source's length.
import torch
def input_feeding(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend):
    Ch = h.shape[-1]
    s, a, out = s_0, h.new_zeros(len(h), Ch), []
    for y_t, _ in zip(y.unbind(1), h.unbind(1)):
        s = cell(torch.cat([y_t, a], -1), s, w_xh, w_hh, b)
        both = attend(score(s[:, None], h), h, s[:, None], mask)[1].squeeze(1)
        a = both[:, :Ch]
        out.append(both)
    return torch.stack(out, 1)


# %% wrong: "(B, T, Ch + C)" for any B: with one sequence the batch axis is lost on the way.
import torch
def input_feeding(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend):
    Ch = h.shape[-1]
    s, a, out = s_0, h.new_zeros(len(h), Ch), []
    for t in range(y.shape[1]):
        s = cell(torch.cat([y[:, t], a], -1), s, w_xh, w_hh, b)
        both = attend(score(s[:, None], h), h, s[:, None], mask)[1].squeeze()
        a = both[..., :Ch]
        out.append(both)
    return torch.stack(out, 1)


# %% right: 
import torch
def input_feeding(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend):
    Cy, Ch = y.shape[-1], h.shape[-1]
    def go(t, s, a):
        if t == y.shape[1]:
            return []
        s = cell(torch.cat((y[:, t, :], a), dim=1), s, w_xh, w_hh, b)
        q = s.view(s.shape[0], 1, s.shape[1])
        both = attend(score(q, h), h, q, mask)[1]
        return [both] + go(t + 1, s, both[:, 0].narrow(-1, 0, Ch))
    return torch.cat(go(0, s_0, torch.zeros(len(y), Ch, dtype=y.dtype, device=y.device)), dim=1)


# %% right: 
import torch
def input_feeding(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend):
    a = (h * 0).sum(1)
    both = torch.empty(0)
    columns, s = {}, s_0
    for t in range(y.size(1)):
        read = torch.cat([y.select(1, t), a], dim=-1)
        s = cell(read, s, w_xh, w_hh, b)
        e = score(s[:, None, :], h)
        columns[t] = attend(e, h, s[:, None, :], mask)[-1]
        a = columns[t][:, -1, : h.size(-1)]
    return torch.cat([columns[t] for t in sorted(columns)], 1)
