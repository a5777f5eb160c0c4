# %% wrong: "The softmax runs in float32": only bfloat16 is converted; in float16 the -1e9 for padding raises.
import torch
def attend(scores, h, s, mask=None):
    wide = scores.float() if scores.dtype == torch.bfloat16 else scores
    if mask is not None:
        wide = wide.masked_fill(~mask[:, None], -1e9)
    weights = torch.softmax(wide, -1).to(scores.dtype)
    return weights, torch.cat([weights @ h, s], -1)


# %% wrong: "`mask` is bool (B, S)": where B = T it is broadcast as (T, S), a row for each target token.
import torch
def attend(scores, h, s, mask=None):
    wide = scores if scores.dtype == torch.float64 else scores.float()
    if mask is not None:
        if mask.shape != scores.shape[1:]:
            mask = mask.unsqueeze(1)
        wide = wide.masked_fill(~mask, float("-inf"))
    weights = torch.softmax(wide, dim=-1).to(scores.dtype)
    return weights, torch.cat([torch.einsum("bts,bsc->btc", weights, h), s], dim=-1)


# %% wrong: "`mask` ... True at source tokens": only their number is used, as if padding stood at the end.
import torch
def attend(scores, h, s, mask=None):
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        n = mask.sum(1)[:, None, None]
        wide = torch.where(torch.arange(scores.shape[-1], device=scores.device) < n, wide, float("-inf"))
    weights = torch.softmax(wide, -1).to(h.dtype)
    return weights, torch.cat((weights @ h, s), 2)


# %% wrong: "or in float64 for float64": with a mask the softmax of float64 scores runs in float32.
import torch
def attend(scores, h, s, mask=None):
    if mask is None:
        wide = scores if scores.dtype == torch.float64 else scores.float()
    else:
        wide = scores.float().masked_fill(~mask[:, None, :], float("-inf"))
    weights = wide.softmax(-1).to(scores.dtype)
    return weights, torch.cat([weights @ h, s], -1)


# %% wrong: "padding gets a weight of exactly 0, whatever it scores": it scores -10,000, not little where tokens score so too.
import torch
def attend(scores, h, s, mask=None):
    wide = scores if scores.dtype == torch.float64 else scores.float()
    if mask is not None:
        wide = torch.where(mask[:, None], wide, torch.tensor(-1e4, dtype=wide.dtype, device=wide.device))
    e = (wide - wide.amax(-1, keepdim=True)).exp()
    weights = (e / e.sum(-1, keepdim=True)).to(scores.dtype)
    return weights, torch.cat([weights @ h, s], -1)


# %% right: 
import torch
def attend(scores, h, s, mask=None):
    B, T, S = scores.shape
    contexts, all_weights = [], []
    for n in range(B):
        keep = list(range(S)) if mask is None else mask[n].nonzero().flatten().tolist()
        w = torch.zeros(T, S, dtype=torch.float64, device=scores.device)
        picked = torch.softmax(scores[n][:, keep].double(), -1)  # of the tokens alone
        w = w.index_copy(1, torch.tensor(keep, device=scores.device), picked)
        all_weights.append(w)
        contexts.append(picked @ h[n][keep].double())
    return torch.stack(all_weights).to(scores.dtype), torch.cat([torch.stack(contexts).to(s.dtype), s], -1)


# %% right: 
import torch
def attend(scores, h, s, mask=None):
    x = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        mask = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)
    hidden = torch.zeros(mask.shape, dtype=x.dtype, device=x.device).masked_fill(~mask, float("-inf"))
    x = x.masked_fill(~mask[:, None], 0) + hidden[:, None]
    a = torch.exp2((x - x.amax(-1, keepdim=True)) * 1.4426950408889634)
    a = a * a.sum(-1, keepdim=True).reciprocal()
    context = (a.unsqueeze(-1) * h.to(a.dtype).unsqueeze(1)).sum(2)
    both = torch.cat([context, s.to(a.dtype)], -1).to(s.dtype)
    return a.to(scores.dtype), both
