# %% wrong: "Computed and returned in float32, or float64 where logits are.": always float64.
import math

import torch
from torch import Tensor


def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    if not 0 <= temperature < math.inf:
        raise ValueError("temperature")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k")
    if not 0 < top_p <= 1:
        raise ValueError("top_p")
    x = logits.to(torch.float64)
    order = x.argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    if temperature == 0:
        return (rank == 0).to(x.dtype)
    x = (x - x.amax(-1, keepdim=True)) / temperature
    p = x.softmax(-1)
    if top_k is not None:
        p = p.where(rank < top_k, 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        ordered = p.gather(-1, order)
        stays = ordered.cumsum(-1) - ordered < top_p
        p = p.where(stays.gather(-1, rank), 0)
        p = p / p.sum(-1, keepdim=True)
    return p

# %% wrong: "Raises ValueError for ... top_p not in (0, 1], NaN too": a NaN is neither 0 or less nor more than 1, and passes.
import math

import torch
from torch import Tensor


def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    if not 0 <= temperature < math.inf:
        raise ValueError("temperature")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k")
    if top_p <= 0 or top_p > 1:
        raise ValueError("top_p")
    x = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    order = x.argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    if temperature == 0:
        return (rank == 0).to(x.dtype)
    x = (x - x.amax(-1, keepdim=True)) / temperature
    p = x.softmax(-1)
    if top_k is not None:
        p = p.where(rank < top_k, 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        ordered = p.gather(-1, order)
        stays = ordered.cumsum(-1) - ordered < top_p
        p = p.where(stays.gather(-1, rank), 0)
        p = p / p.sum(-1, keepdim=True)
    return p

# %% wrong: "Raises ValueError for a temperature below 0, infinite or NaN": below 0 only.
import math

import torch
from torch import Tensor


def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    if temperature < 0:
        raise ValueError("temperature")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k")
    if not 0 < top_p <= 1:
        raise ValueError("top_p")
    x = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    order = x.argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    if temperature == 0:
        return (rank == 0).to(x.dtype)
    x = (x - x.amax(-1, keepdim=True)) / temperature
    p = x.softmax(-1)
    if top_k is not None:
        p = p.where(rank < top_k, 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        ordered = p.gather(-1, order)
        stays = ordered.cumsum(-1) - ordered < top_p
        p = p.where(stays.gather(-1, rank), 0)
        p = p / p.sum(-1, keepdim=True)
    return p

# %% wrong: "also where another option makes it useless": at a temperature of 0 nobody looks at top_p.
import math

import torch
from torch import Tensor


def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    if not 0 <= temperature < math.inf:
        raise ValueError("temperature")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k")
    if temperature and not 0 < top_p <= 1:
        raise ValueError("top_p")
    x = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    order = x.argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    if temperature == 0:
        return (rank == 0).to(x.dtype)
    x = (x - x.amax(-1, keepdim=True)) / temperature
    p = x.softmax(-1)
    if top_k is not None:
        p = p.where(rank < top_k, 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        ordered = p.gather(-1, order)
        stays = ordered.cumsum(-1) - ordered < top_p
        p = p.where(stays.gather(-1, rank), 0)
        p = p / p.sum(-1, keepdim=True)
    return p

# %% wrong: "Logits are finite or -inf (such a token never comes)": -inf becomes -10,000, which at a temperature of 10,000 is not far away.
import math

import torch
from torch import Tensor


def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    if not 0 <= temperature < math.inf:
        raise ValueError("temperature")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k")
    if not 0 < top_p <= 1:
        raise ValueError("top_p")
    x = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    x = x.clamp(min=-1e4)
    order = x.argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    if temperature == 0:
        return (rank == 0).to(x.dtype)
    x = (x - x.amax(-1, keepdim=True)) / temperature
    p = x.softmax(-1)
    if top_k is not None:
        p = p.where(rank < top_k, 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        ordered = p.gather(-1, order)
        stays = ordered.cumsum(-1) - ordered < top_p
        p = p.where(stays.gather(-1, rank), 0)
        p = p / p.sum(-1, keepdim=True)
    return p

# %% wrong: "Each row is cut for itself.": the order of the first row says for all of them who is among the top.
import math

import torch
from torch import Tensor


def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    if not 0 <= temperature < math.inf:
        raise ValueError("temperature")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k")
    if not 0 < top_p <= 1:
        raise ValueError("top_p")
    x = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    order = x.argsort(dim=-1, descending=True, stable=True)
    greedy = (order.argsort(dim=-1) == 0).to(x.dtype)
    order = order.flatten(0, -2)[:1].expand(x.numel() // x.shape[-1], -1).reshape(x.shape) if x.ndim > 1 else order
    rank = order.argsort(dim=-1)
    if temperature == 0:
        return greedy
    x = (x - x.amax(-1, keepdim=True)) / temperature
    p = x.softmax(-1)
    if top_k is not None:
        p = p.where(rank < top_k, 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        ordered = p.gather(-1, order)
        stays = ordered.cumsum(-1) - ordered < top_p
        p = p.where(stays.gather(-1, rank), 0)
        p = p / p.sum(-1, keepdim=True)
    return p

# %% wrong: "None, or a k of V or more, keeps all": topk raises where k is more than V.
import math

import torch
from torch import Tensor


def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    if not 0 <= temperature < math.inf:
        raise ValueError("temperature")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k")
    if not 0 < top_p <= 1:
        raise ValueError("top_p")
    x = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    order = x.argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    if temperature == 0:
        return (rank == 0).to(x.dtype)
    x = (x - x.amax(-1, keepdim=True)) / temperature
    p = x.softmax(-1)
    if top_k is not None:
        p = p.where(rank < p.topk(top_k, dim=-1).values.shape[-1], 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        ordered = p.gather(-1, order)
        stays = ordered.cumsum(-1) - ordered < top_p
        p = p.where(stays.gather(-1, rank), 0)
        p = p / p.sum(-1, keepdim=True)
    return p

# %% right: row by row: Python sorts, and a sum goes on from token to token until top_p is reached.
import math

import torch
from torch import Tensor


def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    if math.isnan(temperature) or math.isinf(temperature) or temperature < 0:
        raise ValueError(f"temperature {temperature}")
    if top_k is not None and not top_k >= 1:
        raise ValueError(f"top_k {top_k}")
    if not (top_p > 0 and top_p <= 1):
        raise ValueError(f"top_p {top_p}")
    dtype, V = torch.promote_types(logits.dtype, torch.float32), logits.shape[-1]
    rows = []
    for row in logits.to(dtype).reshape(-1, V).unbind():
        value = row.tolist()
        order = sorted(range(V), key=lambda token: (-value[token], token))
        p = torch.zeros_like(row)
        if temperature == 0:
            p[order[0]] = 1
        else:
            weights = torch.exp((row - row.max()) / temperature)
            kept = order if top_k is None else order[:top_k]
            p[kept] = weights[kept] / weights[kept].sum()
            before = torch.zeros_like(row[0])
            for token in kept if top_p < 1 else ():
                own = p[token].clone()
                if before >= top_p:
                    p[token] = 0
                before += own
            p = p / p.sum()
        rows.append(p)
    return torch.stack(rows).reshape(logits.shape)

# %% right: sorts first, works on the sorted row with slices, and scatters back; log-softmax and exp in place of softmax.
import math

import torch
from torch import Tensor


def next_distribution(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    checks = [0 <= temperature < math.inf, top_k is None or top_k >= 1, 0 < top_p <= 1]
    if not all(checks):
        raise ValueError("a bad option")
    wide = logits.double() if logits.dtype is torch.float64 else logits.float()
    ordered, places = torch.sort(wide, dim=-1, descending=True, stable=True)
    if temperature == 0:
        top_k, temperature = 1, 1.0
    p = ((ordered - ordered[..., :1]) / temperature).log_softmax(-1).exp()
    k = p.shape[-1] if top_k is None else min(top_k, p.shape[-1])
    p = torch.cat([p[..., :k] / p[..., :k].sum(-1, keepdim=True), torch.zeros_like(p[..., k:])], -1)
    if top_p != 1:
        before = torch.cat([torch.zeros_like(p[..., :1]), p.cumsum(-1)[..., :-1]], -1)
        p = torch.where(before >= top_p, 0.0, p)
        p = p / p.sum(-1, keepdim=True)
    return torch.empty_like(p).scatter_(-1, places, p)
