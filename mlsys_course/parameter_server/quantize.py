"""Few levels for many values: random rounding that is right on average, levels, and codes packed into bytes."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


def quantize(x: Float[Tensor, "*shape"], levels: Float[Tensor, " L"], u: Tensor | float) -> Int[Tensor, "*shape"]:
    """The code of each entry: the index of one of the two levels beside it, such that the mean over u is the entry.

    An entry at the share p of the way from one level to the next gets the upper one exactly where u < p, so that
    ``levels[quantize(x, levels, u)]`` is x on average where u is uniform in [0, 1); with u = 1/2 everywhere it is the
    nearest level, of two equally near the lower. Entries beyond the first or last level, infinite ones too, get that
    level. p is worked out in float32, or in float64 where x or levels are.

    levels: strictly increasing, L >= 1. u: of x's shape, or one number for all, a float32 below 1. Codes are int64.
    Raises ValueError where an entry is NaN: no level stands for it.
    Source: Alistarh et al. 2017, "QSGD"; lecture 001. Lab 8, exercise ``quantize``.
    """
    if x.isnan().any():
        raise ValueError(f"{int(x.isnan().sum())} entries are NaN, and no level stands for them; leave them out before")
    dtype = torch.promote_types(torch.promote_types(x.dtype, levels.dtype), torch.float32)
    x, levels = x.to(dtype), levels.to(dtype)
    last = len(levels) - 1
    lower = torch.searchsorted(levels, x.contiguous(), right=True).sub(1).clamp(0, max(last - 1, 0))
    low, high = levels[lower], levels[(lower + 1).clamp(max=last)]
    return (lower + (u < (x - low) / (high - low))).clamp(max=last)


def uniform_levels(count: int, low: float = -1.0, high: float = 1.0) -> Float[Tensor, " L"]:
    """``count`` levels from low to high, evenly spaced."""
    return torch.linspace(low, high, count)


def quantile_levels(x: Float[Tensor, "*shape"], count: int) -> Float[Tensor, " L"]:
    """At most ``count`` levels where the values are: their quantiles, from the least to the largest, each once.

    As many values lie between any two neighbours: lecture 001's mapping "with consideration of value distribution".
    """
    ordered = x.reshape(-1).float().sort().values
    places = torch.linspace(0, len(ordered) - 1, count).round().long()
    return ordered[places].unique()


def pack_codes(codes: Int[Tensor, " n"], bits: int) -> UInt8[Tensor, " B"]:
    """Codes below 2**bits in ceil(n bits / 8) bytes, without a gap between codes.

    Bit j of code i is bit number i * bits + j of all, and bit t of all is bit t % 8 of byte t // 8, bit 0 counting one;
    what is left over in the last byte is zero.
    """
    stream = (codes[:, None] >> torch.arange(bits)) & 1  # (n, bits)
    room = stream.new_zeros(-(-codes.numel() * bits // 8) * 8)
    room[: stream.numel()] = stream.reshape(-1)
    return (room.view(-1, 8) << torch.arange(8)).sum(1).to(torch.uint8)


def unpack_codes(packed: UInt8[Tensor, " B"], bits: int, n: int) -> Int[Tensor, " n"]:
    """The n codes that ``pack_codes`` packed."""
    stream = (packed[:, None].long() >> torch.arange(8)) & 1  # (B, 8)
    return (stream.reshape(-1)[: n * bits].view(n, bits) << torch.arange(bits)).sum(1)
