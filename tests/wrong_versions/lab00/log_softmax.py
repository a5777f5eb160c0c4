# %% wrong: "entries finite, of any size" (as in softmax): a row whose largest entry is below -10,000 is not shifted, gives +inf.
import torch
def log_softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    m = wide.amax(dim, keepdim=True)
    m = torch.where(m < -1e4, torch.zeros_like(m), m)  # rows of -inf only
    s = (wide - m).exp().sum(dim, keepdim=True)
    out = wide - m - s.log()
    return out.masked_fill(wide == float("-inf"), float("-inf")).to(x.dtype)


# %% wrong: "16-bit inputs are computed in float32": float16 is not converted.
import torch
def log_softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    wide = x.float() if x.dtype is torch.bfloat16 else x
    m = wide.amax(dim, keepdim=True)
    m = m.masked_fill(m.isinf(), 0)
    out = wide - m - (wide - m).exp().sum(dim, keepdim=True).log()
    return torch.where(wide.isinf(), wide, out).to(x.dtype)


# %% wrong: "The logarithm of softmax(x, dim), finite also where softmax itself is too small": nothing goes below about -10,000.
import torch
def log_softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    wide = x if x.dtype == torch.float64 else x.float()
    m = wide.amax(dim, keepdim=True).nan_to_num(neginf=0.0)
    shifted = (wide - m).clamp(min=-1e4)
    out = shifted - shifted.exp().sum(dim, keepdim=True).log()
    return torch.where(wide == float("-inf"), wide, out).to(x.dtype)


# %% wrong: "The logarithm of softmax(x, dim)": where the probability is subnormal its logarithm is taken and is off by up to 0.7.
import torch
def log_softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    wide = x if x.dtype == torch.float64 else x.float()
    m = wide.amax(dim, keepdim=True).nan_to_num(neginf=0.0)
    e = (wide - m).exp()
    p = e / e.sum(dim, keepdim=True)
    return torch.where(p > 0, p.log(), wide - m).to(x.dtype)


# %% wrong: "x, dim ... as in softmax" (dim may be negative): every negative dim is taken for -1.
import torch
def log_softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    axis = dim if dim >= 0 else x.ndim - 1
    wide = x.double() if x.dtype == torch.float64 else x.float()
    m = wide.amax(axis, keepdim=True)
    m = torch.where(m == float("-inf"), torch.zeros_like(m), m)
    s = (wide - m).exp().sum(axis, keepdim=True)
    out = wide - (m + s.log())
    return torch.where(wide == float("-inf"), wide, out).to(x.dtype)


# %% right: 
import torch
def log_softmax(x, dim=-1):
    if x.numel() == 0:
        return x.clone()
    d = x.double()
    pieces = d.unbind(dim)
    low = torch.full_like(pieces[0], float("-inf"))
    running, total = low, torch.zeros_like(low)
    for p in pieces:  # online: a running maximum and a running sum
        new = torch.maximum(running, p)
        safe = torch.where(new == float("-inf"), torch.zeros_like(new), new)
        total = total * (running - safe).exp() + (p - safe).exp()
        running = new
    norm = torch.where(total > 0, running + total.log(), torch.zeros_like(total))
    return (d - norm.unsqueeze(dim)).to(x.dtype)


# %% right: 
import torch
def log_softmax(x, dim=-1):
    if x.numel() == 0:
        return torch.zeros_like(x)
    w = x.to(torch.promote_types(x.dtype, torch.float32))
    m = w.amax(dim, keepdim=True)
    gap = torch.where(w == m, torch.zeros_like(w), w - m)  # also 0 where both are -inf
    out = gap - gap.exp().sum(dim, keepdim=True).log2() * 0.6931471805599453
    out[(w == float("-inf"))] = float("-inf")
    return out.to(x.dtype)
