"""Lab 12, sealed: cases of rounding, of blocks in four bits, and of the softmax in pieces."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given
from mlsys_course.substrate.formats import FloatFormat, bfloat16, e2m1, e4m3, e5m2, float16

F64 = torch.float64

# ---- round_to --------------------------------------------------------------------------------------------------------


def rounding_cases(draw: Draw) -> list[Given]:
    """By aspect: nearest, subnormals, beyond, by chance. ``unit``: what results are divided by, to be near 1."""

    def case(name: str, aspect: str, x: torch.Tensor, format: FloatFormat, public: bool = False, **more: Any) -> Given:
        return Given(name, aspect, {"x": x, "format": asdict(format), **more}, public)

    def spread(*shape: int, low: int, high: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Normal numbers times powers of two."""
        return (draw.normal(*shape, dtype=F64) * torch.exp2(draw.integers(*shape, low=low, high=high).double())).to(
            dtype
        )

    def halves(format: FloatFormat, exponent: int) -> torch.Tensor:
        """Numbers in the middle of two neighbours, of both signs."""
        steps = torch.arange(2**format.mantissa_bits, 2 ** (format.mantissa_bits + 1))[:16] + 0.5
        x = steps * 2.0 ** (exponent - format.mantissa_bits)
        return torch.cat([x, -x])

    exponent, mantissa = draw.integer(3, 6), draw.integer(2, 6)
    own = FloatFormat("own", exponent, mantissa, (2 - 2.0**-mantissa) * 2.0 ** (2 ** (exponent - 1) - 1))
    six = FloatFormat("e3m2", 3, 2, 28.0, 28.0)
    without = replace(e4m3(), beyond=math.nan)
    tiny = {f.name: 2.0**f.least_exponent for f in (float16(), bfloat16(), e4m3(), own)}
    u = draw.uniform(40)
    ends = torch.tensor([1.0, -1.0, 0.5, 1.004, 1.02, -1.03, 1.2, -1.8, 40.0, math.inf, -math.inf, math.nan])
    grid = e4m3().magnitudes[draw.integers(12, low=20, high=90)].float()
    return [
        case("float16", "nearest", spread(3, 8, low=-6, high=7), float16(), True),
        case("bfloat16", "nearest", spread(24, low=-4, high=7), bfloat16()),
        case("e4m3", "nearest", spread(24, low=-2, high=6), e4m3(), True),
        case("a format of the term's own", "nearest", spread(30, low=-1, high=1), own),
        case("halfway", "nearest", halves(float16(), 3), float16(), True),
        case("halfway in few bits", "nearest", halves(e5m2(), 2), e5m2()),
        case("float64", "nearest", spread(20, low=-3, high=4, dtype=F64), float16()),
        case("one number", "nearest", draw.normal(), e4m3()),
        case("none", "nearest", draw.normal(0, 3), e4m3()),
        case("float16's smallest", "subnormals", spread(30, low=-5, high=2) * tiny["float16"], float16(), True,
             unit=tiny["float16"]),
        case("e4m3's smallest", "subnormals", spread(30, low=-4, high=2) * tiny["e4m3"], e4m3(), unit=tiny["e4m3"]),
        case("bfloat16's smallest", "subnormals", spread(30, low=-5, high=1, dtype=F64) * tiny["bfloat16"],
             bfloat16(), unit=tiny["bfloat16"]),
        case("halfway to the first", "subnormals",
             torch.tensor([0.5, -0.5, 1.5, 2.5, 0.25, 0.75, 0.0]) * tiny["e4m3"] / 8, e4m3(), unit=tiny["e4m3"] / 8),
        case("to infinity", "beyond", ends * 65504, float16(), True),
        case("to NaN", "beyond", torch.cat([ends * 448, torch.tensor([464.0, -463.9, 464.1])]), without, True),
        case("to the largest", "beyond", ends * 6, e2m1()),
        case("to the largest of six bits", "beyond", ends * 28, six),
        case("bfloat16's end", "beyond", (ends[:8].double() * bfloat16().largest), bfloat16(), unit=2.0**127),
        case("drawn", "by chance", spread(40, low=-3, high=4), float16(), True, u=u),
        case("on average", "by chance", spread(12, low=-2, high=3), e4m3(), sweep=32),
        case("numbers of the format", "by chance", torch.cat([grid, -grid]), e4m3(), u=draw.uniform(24) * 0.02),
        case("shares that u equals", "by chance", torch.tensor([1.0, -1.0, 1.0625, -1.0625, 1.03125, 1.09375]), e4m3(),
             u=torch.tensor([0.0, 0.0, 0.5, 0.5, 0.25, 0.75])),
        case("small ones", "by chance", spread(40, low=-4, high=1) * tiny["e4m3"], e4m3(), u=u, unit=tiny["e4m3"]),
        case("beyond, by chance", "by chance", torch.tensor([450.0, 450.0, -475.0, 1e4]), e4m3(),
             u=torch.tensor([0.01, 0.99, 0.99, 0.5])),
        case("float64, by chance", "by chance", spread(5, 8, low=-3, high=4, dtype=F64), own,
             u=draw.uniform(5, 8, dtype=F64)),
    ]  # fmt: skip


# ---- quantize_mxfp4 --------------------------------------------------------------------------------------------------


def block_cases(draw: Draw) -> list[Given]:
    """By aspect: codes, scales, packing, errors."""

    def case(name: str, aspect: str, x: torch.Tensor, public: bool = False, **more: Any) -> Given:
        return Given(name, aspect, {"x": x, **more}, public)

    def broken(value: float) -> torch.Tensor:
        x = draw.normal(40)
        x[draw.integer(0, 39)] = value
        return x

    n = draw.integer(3, 6)
    sizes = torch.exp2(draw.integers(5, low=-9, high=9).float()).repeat_interleave(32)
    powers = torch.tensor([4.0, 3.99, 4.01, 8.0, 7.99, 1.0, 0.99, 6.0]).repeat_interleave(32)
    capped = draw.uniform(256, low=-0.2, high=0.2) * powers
    capped[::32] = powers[::32] * torch.tensor([1.0, -1.0]).repeat(4)
    bad = {"bad": "raised"}
    return [
        case("one block", "codes", draw.normal(32), True),
        case("several", "codes", draw.normal(n, 32)),
        case("float64", "codes", draw.normal(64, dtype=F64)),
        case("bfloat16", "codes", draw.normal(4, 16, dtype=torch.bfloat16)),
        case("float64, beyond float32's digits", "codes",
             torch.tensor([6.0, 0.25 * (1 + 1e-12), -2.5 * (1 + 1e-12), 0.75 * (1 - 1e-12)], dtype=F64)),
        case("above the top level", "codes", torch.cat([torch.tensor([7.9, -7.6, 5.5, -5.1]), draw.normal(28)])),
        case("by chance", "codes", draw.normal(2, 32), True, u=draw.uniform(2, 32)),
        case("by quantize", "codes", draw.normal(8), True, marked="levels"),
        case("blocks of all sizes", "scales", draw.normal(160) * sizes, True),
        case("near powers of two", "scales", capped, True),
        case("zeros", "scales", torch.cat([torch.zeros(32), draw.normal(10)])),
        case("very small", "scales", torch.tensor([2.0**-140, -(2.0**-127), 2.0**-128, 0.0])),
        case("very large", "scales", draw.normal(33) * 1e37),
        case("an odd number", "packing", draw.normal(2 * n + 1), True),
        case("a last block of one", "packing", draw.normal(33)),
        case("none", "packing", draw.normal(0)),
        case("three axes", "packing", draw.normal(3, 5, n)),
        case("infinity", "errors", broken(math.inf), True, **bad),
        case("minus infinity", "errors", broken(-math.inf), **bad),
        case("NaN", "errors", broken(math.nan), True, **bad),
    ]  # fmt: skip


# ---- online_softmax --------------------------------------------------------------------------------------------------


def softmax_cases(draw: Draw) -> list[Given]:
    """By aspect: values, no keys, precision."""

    def case(name: str, aspect: str, lead: Sequence[int], sizes: Sequence[int], public: bool = False,
             scale: float = 1.0, hidden: Sequence[int] = (), dtype: torch.dtype = F64, D: int = 3, rising: float = 0.0,
             **more: Any) -> Given:  # fmt: skip
        scores = [draw.normal(*lead, S, dtype=F64) * scale + rising * n for n, S in enumerate(sizes)]
        for n in hidden:
            scores[n] = torch.full_like(scores[n], -math.inf)
        values = [draw.normal(*lead[:-1], S, D, dtype=F64).to(dtype) for S in sizes]
        return Given(name, aspect, {"scores": [x.to(dtype) for x in scores], "values": values, **more}, public)

    T, S = draw.integer(2, 4), draw.integer(4, 6)
    partly = case("some keys hidden", "no keys", (2, T), (S, 3), public=True)
    for x in partly.inputs["scores"]:
        x[0, 0], x[1, :, 1] = -math.inf, -math.inf
    return [
        case("one piece", "values", (T,), (S,), public=True),
        case("two pieces", "values", (2, T), (S, 3), public=True),
        case("many", "values", (2, 2, T), (2, 1, 3, 1)),
        case("rising scores", "values", (T,), (3, 3, 3), rising=40.0),
        case("falling scores", "values", (T,), (3, 3, 3), rising=-40.0),
        case("large scores", "values", (2, T), (4, 4), scale=1e3),
        case("an earlier state stays", "values", (T,), (3, 4), rising=5.0, first="kept"),
        partly,
        case("nothing seen at first", "no keys", (T,), (3, S), hidden=[0]),
        case("nothing seen later", "no keys", (T,), (S, 3), hidden=[1]),
        case("nothing seen at all", "no keys", (2, T), (3, 2), hidden=[0, 1]),
        case("pieces of no key", "no keys", (T,), (0, S, 0)),
        case("float16", "precision", (T,), (S, 30), public=True, dtype=torch.float16),
        case("bfloat16", "precision", (2, T), (20, S), dtype=torch.bfloat16),
        case("float32", "precision", (T,), (S, 5), dtype=torch.float32),
    ]
