"""Rounding against PyTorch's casts, on every kind of number; and, by chance, right on average."""

import math
from dataclasses import replace

import pytest
import torch

from mlsys_course.kernels import round_to
from mlsys_course.substrate.dtypes import NotFloating
from mlsys_course.substrate.formats import FloatFormat, bfloat16, e2m1, e4m3, e5m2, float16

THEIRS = {
    "float16": (float16(), torch.float16),
    "bfloat16": (bfloat16(), torch.bfloat16),
    "e4m3": (e4m3(), torch.float8_e4m3fn),
    "e5m2": (e5m2(), torch.float8_e5m2),
}


def numbers(format: FloatFormat, normal) -> torch.Tensor:
    """Of all sizes: drawn, halfway between neighbours, subnormal, near the end and beyond it."""
    drawn = normal(4000) * torch.exp2(torch.arange(4000) % 300 - 150.0)
    grid = torch.arange(1, 64) * 2.0 ** (format.least_exponent - format.mantissa_bits)
    halves = torch.cat([grid * scale / 2 for scale in (1, 4, 2**6)])
    end = format.largest * torch.tensor([1, 1 + 2.0**-12, 1 + 2.0 ** -(format.mantissa_bits + 2), 1.04, 1.3, 9])
    special = torch.tensor([0.0, -0.0, math.inf, math.nan, 1e-300, 2.0**-149])
    x = torch.cat([drawn, halves, end, special]).float()
    return torch.cat([x, -x])


@pytest.mark.parametrize("name", THEIRS)
def test_nearest_even_is_pytorchs_cast(name, normal):
    format, dtype = THEIRS[name]
    x = numbers(format, normal)
    if format.beyond == format.largest:
        x = x[~(x.abs() > 464)]  # versions of PyTorch differ there
    got, want = round_to(x, format), x.to(dtype).float()
    torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(got.signbit()[~got.isnan()], want.signbit()[~want.isnan()]) and got.dtype == torch.float32


@pytest.mark.parametrize(
    "format", [e4m3(), e5m2(), e2m1(), FloatFormat("e3m2", 3, 2, 28.0, 28.0)], ids=lambda f: f.name
)
def test_no_number_of_the_format_is_nearer(format, normal):
    x = normal(3000) * format.largest / 2
    x = x[x.abs() <= format.largest]
    levels = torch.cat([format.magnitudes, -format.magnitudes])
    got = round_to(x, format)
    assert bool(torch.isin(got, levels).all())
    torch.testing.assert_close((got - x).abs(), (levels - x[:, None]).abs().amin(1), rtol=0, atol=0)
    assert len(format.magnitudes) == {"e4m3": 127, "e5m2": 124, "e2m1": 8, "e3m2": 32}[format.name]


@pytest.mark.parametrize("format", [float16(), e4m3(), e2m1()], ids=lambda f: f.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_by_chance_it_is_right_on_average(format, dtype, normal):
    n = 1024
    x = (normal(50) * 2.0 ** (torch.arange(50) % 12 - 10.0)).clamp(-6, 6).to(dtype)
    u = ((torch.arange(n) + 0.5) / n).to(dtype)
    found = torch.stack([round_to(x, format, one.expand(50)) for one in u])
    below = torch.nextafter(round_to(x, format), -x)
    assert below.dtype == dtype and len(found.unique(dim=0)) > 1
    gaps = found.amax(0) - found.amin(0)
    torch.testing.assert_close(found.mean(0), x, rtol=0, atol=float(gaps.max()) / n)
    assert bool((found.amin(0) <= x).all()) and bool((found.amax(0) >= x).all())


def test_beyond_the_end():
    x = torch.tensor([500.0, -math.inf, 463.9, math.nan])
    assert round_to(x, e4m3())[:3].tolist() == [448.0, -448.0, 448.0]
    without = replace(e4m3(), beyond=math.nan)
    assert round_to(x, without).isnan().tolist() == [True, True, False, True]
    assert round_to(x, e2m1())[:3].tolist() == [6.0, -6.0, 6.0]
    assert round_to(x, e5m2())[1] == -math.inf and round_to(x, e5m2())[0] == 512
    u = torch.tensor([0.99, 0.0])
    assert round_to(torch.tensor([65504.0 + 8, 65504.0 + 8]), float16(), u).tolist() == [65504.0, math.inf]


def test_what_is_refused():
    with pytest.raises(NotFloating):
        round_to(torch.arange(3), float16())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="for each entry"):
        round_to(torch.zeros(3), float16(), torch.zeros(2))
