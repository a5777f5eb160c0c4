# %% wrong: "Where all entries along dim are -inf, all results along it are 0": looked for along the last axis whatever dim is.
import torch
def softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    dead = (wide == float("-inf")).all(-1, keepdim=True)
    m = wide.amax(dim, keepdim=True)
    e = (wide - m).exp()
    p = e / e.sum(dim, keepdim=True)
    return torch.where(dead, torch.zeros_like(p), p).to(x.dtype)


# %% wrong: "16-bit inputs are computed in float32": only bfloat16 is; float16 stays, and long rows overflow to sums of inf.
import torch
def softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    wide = x.to(torch.float32) if x.dtype == torch.bfloat16 else x
    m = wide.amax(dim, keepdim=True)
    m = m.masked_fill(m == float("-inf"), 0.0)
    e = (wide - m).exp()
    s = e.sum(dim, keepdim=True)
    return (e / s.masked_fill(s == 0, 1.0)).to(x.dtype)


# %% wrong: "entries finite, of any size, or -inf" with "Where an entry is -inf the result is 0": -inf is taken as -1e9.
import torch
def softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    wide = wide.masked_fill(wide == float("-inf"), -1e9)
    m = wide.amax(dim, keepdim=True)
    e = (wide - m).exp()
    p = e / e.sum(dim, keepdim=True)
    return torch.where(m == -1e9, torch.zeros_like(p), p).to(x.dtype)


# %% wrong: "An x without entries ... gives a result without entries": (0, 5) along axis 0 raises.
import torch
def softmax(x, dim=-1):
    if x.shape[-1] == 0:
        return x.clone()
    wide = x if x.dtype == torch.float64 else x.float()
    m = wide.amax(dim, keepdim=True)
    m = torch.where(m.isinf(), torch.zeros_like(m), m)
    e = (wide - m).exp()
    s = e.sum(dim, keepdim=True)
    return torch.where(s > 0, e / s, torch.zeros_like(e)).to(x.dtype)


# %% wrong: "dim may be negative": only -1 is understood, -2 raises.
import torch
def softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    if dim == -1:
        dim = x.ndim - 1
    order = [d for d in range(x.ndim) if d != dim] + [dim]
    back = [order.index(d) for d in range(x.ndim)]
    wide = x.permute(order).to(torch.promote_types(x.dtype, torch.float32))
    m = wide.amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    e = (wide - m).exp()
    s = e.sum(-1, keepdim=True)
    return (e / (s + (s == 0))).permute(back).to(x.dtype)


# %% right: 
import torch
def softmax(x, dim=-1):
    if x.numel() == 0:
        return torch.empty_like(x)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    pieces = wide.unbind(dim)
    m = pieces[0]
    for p in pieces[1:]:
        m = torch.maximum(m, p)
    m = torch.where(m == float("-inf"), torch.zeros_like(m), m)
    es = [(p - m).exp() for p in pieces]
    total = sum(es)
    total = torch.where(total == 0, torch.ones_like(total), total)
    return torch.stack([e / total for e in es], dim).to(x.dtype)


# %% right: 
import torch
def softmax(x, dim=-1):
    if not x.numel():
        return x + 0
    d = x.double()
    p = (d - d.amax(dim, keepdim=True)).exp()
    p = p * p.sum(dim, keepdim=True).reciprocal()
    return p.masked_fill(d == float("-inf"), 0.0).to(x.dtype)
