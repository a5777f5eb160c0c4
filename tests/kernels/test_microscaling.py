"""Blocks of float4 against PyTorch's byte of an exponent, and against every level."""

import pytest
import torch

from mlsys_course.kernels import bytes_of_mxfp4, dequantize_mxfp4, quantize_mxfp4
from mlsys_course.substrate.formats import e2m1


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 100])
def test_every_entry_has_the_nearest_level(n, normal):
    x = (normal(n) * torch.exp2(normal(n) * 4)).float()
    packed, exponents = quantize_mxfp4(x)
    assert len(packed) + len(exponents) == bytes_of_mxfp4(n) and packed.dtype == exponents.dtype == torch.uint8
    scales = exponents.view(torch.float8_e8m0fnu).float()  # PyTorch's own reading of the byte
    levels = e2m1().magnitudes.float()
    levels = torch.cat([levels, -levels])
    got = dequantize_mxfp4(packed, exponents, n)
    whole = scales.repeat_interleave(32)[:n, None] * levels
    nearest = (whole - x[:, None]).abs().amin(1) if n else got
    torch.testing.assert_close((got - x).abs(), nearest.abs(), rtol=0, atol=0)
    for block, scale in zip(x.split(32) if n else [], scales, strict=True):
        assert 4 * scale <= block.abs().max() < 8 * scale


def test_bytes_of_a_block_by_hand():
    x = torch.tensor([[6.0, -0.5, 0.0], [1.6, -7.9, 0.1]])
    packed, exponents = quantize_mxfp4(x)
    assert packed.tolist() == [0x97, 0x30, 0x0F] and exponents.tolist() == [127]
    assert dequantize_mxfp4(packed, exponents, 6).tolist() == [6.0, -0.5, 0.0, 1.5, -6.0, 0.0]


def test_zeros_and_the_smallest():
    packed, exponents = quantize_mxfp4(torch.zeros(40))
    assert packed.tolist() == [0] * 20 and exponents.tolist() == [0, 0]
    tiny = torch.tensor([2.0**-140, -(2.0**-127), 2.0**-128])
    packed, exponents = quantize_mxfp4(tiny)
    assert exponents.tolist() == [0] and dequantize_mxfp4(packed, exponents, 3).tolist() == [0, -(2.0**-127), 2.0**-128]


def test_by_chance_it_is_right_on_average(normal):
    x, n = normal(64).float(), 512
    inside = x.abs() <= 6 * quantize_mxfp4(x)[1].view(torch.float8_e8m0fnu).float().repeat_interleave(32)
    found = [dequantize_mxfp4(*quantize_mxfp4(x, torch.full((64,), (i + 0.5) / n)), 64) for i in range(n)]
    torch.testing.assert_close(torch.stack(found).mean(0)[inside], x[inside], rtol=0, atol=2 / n)


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_what_no_scale_holds(bad):
    with pytest.raises(ValueError, match="infinite or NaN"):
        quantize_mxfp4(torch.tensor([1.0, bad]))
