# %% wrong: "both of the shape, dtype and device of ids": with int32 ids the inputs become int64.
import torch
from torch import Tensor


def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    if not 0 <= rate <= 1:
        raise ValueError("a rate outside [0, 1]")
    chosen = u[0] < rate
    if special is not None:
        chosen = chosen & ~special
    other = (u[2] * vocabulary).floor().long()
    inputs = ids.masked_fill(chosen & (u[1] < 0.8), mask_id)
    inputs = torch.where(chosen & (u[1] >= 0.8) & (u[1] < 0.9), other, inputs)
    return inputs, ids.masked_fill(~chosen, -100)

# %% wrong: "u (3, B, T), float32 or float64" and "floor(u[2] * vocabulary)": float64 numbers are rounded to float32 first, where one just below 1 is 1, and its token is none.
import torch
from torch import Tensor


def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    if not 0 <= rate <= 1:
        raise ValueError("a rate outside [0, 1]")
    u = u.float()
    chosen = u[0] < rate
    if special is not None:
        chosen = chosen & ~special
    other = (u[2] * vocabulary).floor().to(ids.dtype)
    inputs = ids.masked_fill(chosen & (u[1] < 0.8), mask_id)
    inputs = torch.where(chosen & (u[1] >= 0.8) & (u[1] < 0.9), other, inputs)
    return inputs, ids.masked_fill(~chosen, -100)

# %% wrong: "Raises ValueError for a rate outside [0, 1].": for 0 and 1 as well.
import torch
from torch import Tensor


def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    if not 0 < rate < 1:
        raise ValueError("a rate outside [0, 1]")
    chosen = u[0] < rate
    if special is not None:
        chosen = chosen & ~special
    other = (u[2] * vocabulary).floor().to(ids.dtype)
    inputs = ids.masked_fill(chosen & (u[1] < 0.8), mask_id)
    inputs = torch.where(chosen & (u[1] >= 0.8) & (u[1] < 0.9), other, inputs)
    return inputs, ids.masked_fill(~chosen, -100)

# %% wrong: "`mask_id` where u[1] < 0.8": at 0.8 too.
import torch
from torch import Tensor


def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    if not 0 <= rate <= 1:
        raise ValueError("a rate outside [0, 1]")
    chosen = u[0] < rate
    if special is not None:
        chosen = chosen & ~special
    other = (u[2] * vocabulary).floor().to(ids.dtype)
    inputs = ids.masked_fill(chosen & (u[1] <= 0.8), mask_id)
    inputs = torch.where(chosen & (u[1] > 0.8) & (u[1] < 0.9), other, inputs)
    return inputs, ids.masked_fill(~chosen, -100)

# %% wrong: "which may happen to be the same token, or any other": where it would be the same it is the next one.
import torch
from torch import Tensor


def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    if not 0 <= rate <= 1:
        raise ValueError("a rate outside [0, 1]")
    chosen = u[0] < rate
    if special is not None:
        chosen = chosen & ~special
    other = (u[2] * vocabulary).floor().to(ids.dtype)
    other = torch.where(other == ids, (other + 1) % vocabulary, other)
    inputs = ids.masked_fill(chosen & (u[1] < 0.8), mask_id)
    inputs = torch.where(chosen & (u[1] >= 0.8) & (u[1] < 0.9), other, inputs)
    return inputs, ids.masked_fill(~chosen, -100)

# %% wrong: "both of the shape, dtype and device of ids": labels are made on the CPU.
import torch
from torch import Tensor


def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    if not 0 <= rate <= 1:
        raise ValueError("a rate outside [0, 1]")
    chosen = u[0] < rate
    if special is not None:
        chosen = chosen & ~special
    other = (u[2] * vocabulary).floor().to(ids.dtype)
    inputs = ids.masked_fill(chosen & (u[1] < 0.8), mask_id)
    inputs = torch.where(chosen & (u[1] >= 0.8) & (u[1] < 0.9), other, inputs)
    labels = torch.full(ids.shape, -100, dtype=ids.dtype)
    places = chosen.nonzero(as_tuple=True)
    labels[tuple(place.cpu() for place in places)] = ids[places].cpu()
    return inputs, labels

# %% wrong: "A token is chosen where u[0] < rate": at least one is chosen in every text, that with the smallest number.
import torch
from torch import Tensor


def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    if not 0 <= rate <= 1:
        raise ValueError("a rate outside [0, 1]")
    chosen = u[0] < rate
    chosen = chosen | ((u[0] == u[0].amin(-1, keepdim=True)) & ~chosen.any(-1, keepdim=True))
    if special is not None:
        chosen = chosen & ~special
    other = (u[2] * vocabulary).floor().to(ids.dtype)
    inputs = ids.masked_fill(chosen & (u[1] < 0.8), mask_id)
    inputs = torch.where(chosen & (u[1] >= 0.8) & (u[1] < 0.9), other, inputs)
    return inputs, ids.masked_fill(~chosen, -100)

# %% right: token by token in Python, from lists.
import math

import torch
from torch import Tensor


def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    if math.isnan(rate) or rate < 0 or rate > 1:
        raise ValueError(rate)
    take, fate, other = (u[0] < rate).tolist(), ((u[1] >= 0.8).int() + (u[1] >= 0.9)).tolist(), torch.floor(u[2] * vocabulary).tolist()
    inputs, labels = ids.tolist(), [[-100] * ids.shape[1] for _ in range(ids.shape[0])]
    for b, row in enumerate(inputs):
        for t, token in enumerate(row):
            if not take[b][t] or (special is not None and bool(special[b, t])):
                continue
            labels[b][t] = token
            row[t] = (mask_id, int(other[b][t]), token)[fate[b][t]]
    make = lambda rows: torch.tensor(rows, dtype=ids.dtype, device=ids.device).reshape(ids.shape)
    return make(inputs), make(labels)

# %% right: arithmetic with masks of ones and zeros, on copies that are written by index.
import torch
from torch import Tensor


def mask_tokens(ids: Tensor, u: Tensor, mask_id: int, vocabulary: int, rate: float = 0.15, special=None):
    if not (rate >= 0 and rate <= 1):
        raise ValueError("rate")
    free = torch.ones_like(ids, dtype=torch.bool) if special is None else special.logical_not()
    chosen = torch.logical_and(free, u[0].lt(rate))
    kind = torch.bucketize(u[1].double(), u.new_tensor([0.8, 0.9]).double(), right=True)  # 0 mask, 1 other, 2 as it is
    inputs, labels = ids.clone(), torch.full_like(ids, -100)
    labels[chosen] = ids[chosen]
    inputs[chosen & (kind == 0)] = mask_id
    drawn = chosen & (kind == 1)
    inputs[drawn] = u[2][drawn].mul(vocabulary).trunc().to(ids.dtype)
    return inputs, labels
