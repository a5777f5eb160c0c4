"""Fewer bits: a number becomes one of the two beside it that a format has, the nearest or one by chance."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..substrate.dtypes import check_floating
from ..substrate.formats import FloatFormat


def round_to(
    x: Float[Tensor, "*shape"], format: FloatFormat, u: Float[Tensor, "*shape"] | None = None
) -> Float[Tensor, "*shape"]:
    """Each entry as a number of ``format``, in x's dtype: the nearest, of two as near the one with an even mantissa.

    With ``u``, uniform in [0, 1) and of x's shape, it is stochastic: an entry at the share p of the way from its lower
    neighbour to the upper one becomes the upper one where u < p, so that the mean over u is the entry. Below the
    smallest normal number, 2**least_exponent, neighbours are as far apart as just above it. What is over ``largest``
    once it is rounded, as if exponents went on, and infinity become ``beyond`` with the entry's sign. NaN stays NaN.
    x: float32 or float64, whose numbers are rounded exactly: 2.0**-133 is as good as 1.
    Source: IEEE 754-2019, section 4.3.1; Gupta et al. 2015. Lab 12, exercise ``round_to``.

    Raises:
        NotFloating: x holds whole numbers.
        ValueError: u is not of x's shape.
    """
    check_floating(x=x)
    if u is not None and u.shape != x.shape:
        raise ValueError(f"u is {tuple(u.shape)} and x {tuple(x.shape)}; draw a number for each entry")
    wide = x.double()  # powers of two of every float32, small or large, are its normal numbers
    exponents = torch.frexp(wide).exponent - 1  # of |x| = 1.m * 2**exponent
    gaps = torch.ldexp(torch.ones_like(wide), exponents.clamp(min=format.least_exponent) - format.mantissa_bits)
    steps = wide / gaps  # neighbours are whole numbers, odd where the mantissa is
    chosen = steps.round() if u is None else steps.floor() + (u < steps - steps.floor())  # halves go to the even one
    rounded = chosen * gaps
    over = rounded.abs() > format.largest
    return rounded.where(~over, torch.copysign(torch.full_like(wide, format.beyond), wide)).to(x.dtype)
