# %% wrong: "p is worked out in float32 or finer": in the dtype of x, bfloat16 or float16.
import torch


def quantize(x, levels, u):
    if x.isnan().any():
        raise ValueError("NaN")
    v, rungs = x.double().contiguous(), levels.double().contiguous()
    last = len(rungs) - 1
    low = (torch.searchsorted(rungs, v, right=True) - 1).clamp(0, last)
    high = (low + 1).clamp(max=last)
    p = ((v - rungs[low]).to(x.dtype) / (rungs[high] - rungs[low]).to(x.dtype))
    between = (v > rungs[0]) & (v < rungs[last])
    return low + (between & (u < p)).long()

# %% wrong: "levels: ...; at least one entry": gaps between levels are looked up, and of one level there is none.
import torch


def quantize(x, levels, u):
    if x.isnan().any():
        raise ValueError("NaN")
    v, rungs = x.double().contiguous(), levels.double().contiguous()
    last = len(rungs) - 1
    low = (torch.searchsorted(rungs, v, right=True) - 1).clamp(0, last)
    high = (low + 1).clamp(max=last)
    gaps = rungs[1:] - rungs[:-1]
    p = (v - rungs[low]) / gaps[low.clamp(max=last - 1)]
    between = (v > rungs[0]) & (v < rungs[last])
    return low + (between & (u < p)).long()

# %% wrong: "gets the upper one exactly where u < p, else the lower": also where u is p.
import torch


def quantize(x, levels, u):
    if x.isnan().any():
        raise ValueError("NaN")
    v, rungs = x.double().contiguous(), levels.double().contiguous()
    last = len(rungs) - 1
    low = (torch.searchsorted(rungs, v, right=True) - 1).clamp(0, last)
    high = (low + 1).clamp(max=last)
    p = (v - rungs[low]) / (rungs[high] - rungs[low])
    between = (v > rungs[0]) & (v < rungs[last])
    return low + (between & (u <= p) & (p > 0)).long()

# %% wrong: "u: numbers in [0, 1), a float32 tensor of x's shape, or one Python number for all entries": of Python's numbers a float only, and not 0.
import torch


def quantize(x, levels, u):
    if x.isnan().any():
        raise ValueError("NaN")
    u = u if isinstance(u, float) else u.contiguous()
    v, rungs = x.double().contiguous(), levels.double().contiguous()
    last = len(rungs) - 1
    low = (torch.searchsorted(rungs, v, right=True) - 1).clamp(0, last)
    high = (low + 1).clamp(max=last)
    p = (v - rungs[low]) / (rungs[high] - rungs[low])
    between = (v > rungs[0]) & (v < rungs[last])
    return low + (between & (u < p)).long()

# %% wrong: "levels: ...; float32 also where x is of another dtype": they are rounded to the dtype of x, and are others then.
import torch


def quantize(x, levels, u):
    if x.isnan().any():
        raise ValueError("NaN")
    v, rungs = x.double().contiguous(), levels.to(x.dtype).double().contiguous()
    last = len(rungs) - 1
    low = (torch.searchsorted(rungs, v, right=True) - 1).clamp(0, last)
    high = (low + 1).clamp(max=last)
    p = (v - rungs[low]) / (rungs[high] - rungs[low])
    between = (v > rungs[0]) & (v < rungs[last])
    return low + (between & (u < p)).long()

# %% wrong: "x: a tensor of any shape": the largest entry is asked for first, of a tensor without entries.
import torch


def quantize(x, levels, u):
    if x.isnan().any():
        raise ValueError("NaN")
    if x.max() < levels[0]:
        return torch.zeros(x.shape, dtype=torch.int64, device=x.device)
    v, rungs = x.double().contiguous(), levels.double().contiguous()
    last = len(rungs) - 1
    low = (torch.searchsorted(rungs, v, right=True) - 1).clamp(0, last)
    high = (low + 1).clamp(max=last)
    p = (v - rungs[low]) / (rungs[high] - rungs[low])
    between = (v > rungs[0]) & (v < rungs[last])
    return low + (between & (u < p)).long()

# %% wrong: "x: a tensor of any shape and order in memory": its entries are read in the order of memory, and a transposed x gets the codes of other places.
import torch


def quantize(x, levels, u):
    if x.isnan().any():
        raise ValueError("NaN")
    v, rungs = x.double().as_strided((x.numel(),), (1,)), levels.double().contiguous()
    last = len(rungs) - 1
    low = (torch.searchsorted(rungs, v, right=True) - 1).clamp(0, last)
    high = (low + 1).clamp(max=last)
    p = (v - rungs[low]) / (rungs[high] - rungs[low])
    between = (v > rungs[0]) & (v < rungs[last])
    u = u.flatten() if isinstance(u, torch.Tensor) else u
    return (low + (between & (u < p)).long()).reshape(x.shape)

# %% right: counts the levels that are passed, in one comparison of all entries with all levels.
import torch


def quantize(x, levels, u):
    if (x != x).any():
        raise ValueError("an entry is NaN")
    y, steps = x.to(torch.float64)[..., None], levels.to(torch.float64)
    if len(steps) == 1:
        return torch.zeros(x.shape, dtype=torch.int64, device=x.device)
    bottom, top = steps[:-1], steps[1:]
    share = (y.clamp(steps[0], steps[-1]) - bottom) / (top - bottom)  # of the way up each step
    draws = u.double()[..., None] if isinstance(u, torch.Tensor) else u
    return ((share >= 1) | ((share > 0) & (draws < share))).sum(-1)

# %% right: float32 for small dtypes, searchsorted from the left, rounding by where.
import torch


def quantize(x, levels, u):
    if torch.isnan(x).any():
        raise ValueError("no code for NaN")
    wide = torch.float64 if torch.float64 in (x.dtype, levels.dtype) else torch.float32
    rungs = levels.to(wide)
    inside = x.to(wide).clamp(rungs[0], rungs[-1]).contiguous()
    upper = torch.searchsorted(rungs, inside)  # the first level that is not below
    lower = torch.where(rungs[upper] == inside, upper, upper - 1)
    gap = torch.where(upper == lower, 1, rungs[upper] - rungs[lower])
    p = (inside - rungs[lower]) / gap
    return torch.where(u < p, upper, lower)
