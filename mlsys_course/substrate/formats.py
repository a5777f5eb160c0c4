"""Floating-point formats of few bits: how many are the exponent's and the mantissa's, and where the format ends."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class FloatFormat:
    """A sign, ``exponent_bits``, ``mantissa_bits`` behind the leading one, and the ``largest`` finite number.

    ``beyond`` is what stands for magnitudes over ``largest``: inf, NaN, or ``largest`` itself where neither exists.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    largest: float
    beyond: float = math.inf

    @property
    def least_exponent(self) -> int:
        """Of normal numbers: 2 to this power is the smallest of them, and below it the gaps no longer shrink."""
        return 2 - 2 ** (self.exponent_bits - 1)

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def magnitudes(self) -> Float[Tensor, " L"]:
        """All finite ones from 0 on, ascending, in float64: for formats of at most a dozen bits."""
        steps = torch.arange(2 ** (self.bits - 1), dtype=torch.float64)
        exponents, mantissas = steps.div(2**self.mantissa_bits, rounding_mode="floor"), steps % 2**self.mantissa_bits
        leading = (exponents > 0).double() + mantissas / 2**self.mantissa_bits
        found = leading * 2.0 ** (exponents.clamp(min=1) - 1 + self.least_exponent)
        return found[found <= self.largest]


def float16() -> FloatFormat:
    """IEEE 754's binary16."""
    return FloatFormat("float16", 5, 10, 65504.0)


def bfloat16() -> FloatFormat:
    """float32 without its last 16 bits."""
    return FloatFormat("bfloat16", 8, 7, 255 * 2.0**120)


def e4m3() -> FloatFormat:
    """float8 for weights and activations, without infinities. Source: Micikevicius et al. 2022, table 1.

    Beyond the largest it is saturated, as cards convert and PyTorch since 2.13; PyTorch before that made it NaN.
    """
    return FloatFormat("e4m3", 4, 3, 448.0, 448.0)


def e5m2() -> FloatFormat:
    """float8 for gradients: float16 without its last eight bits. Source: Micikevicius et al. 2022, table 1."""
    return FloatFormat("e5m2", 5, 2, 57344.0)


def e2m1() -> FloatFormat:
    """float4: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. Source: OCP Microscaling formats 1.0, table 5."""
    return FloatFormat("e2m1", 2, 1, 6.0, 6.0)
