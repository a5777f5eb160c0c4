"""Blocks against ``bitsandbytes``: levels, codes and scales."""

import pytest
import torch

from mlsys_course.memory import bytes_of_blocks, dequantize_blocks, quantize_blocks
from mlsys_course.substrate.levels import dynamic_levels, normal_float


def theirs():
    return pytest.importorskip("bitsandbytes").functional


def test_the_levels_are_those_of_bitsandbytes():
    torch.testing.assert_close(normal_float(), theirs().get_4bit_type("nf4", device="cpu"), atol=3e-7, rtol=0)
    for signed in (True, False):
        torch.testing.assert_close(dynamic_levels(signed), theirs().create_dynamic_map(signed), atol=1e-7, rtol=0)


@pytest.mark.parametrize("signed", [True, False])
def test_eight_bits_are_those_of_bitsandbytes(signed, normal):
    x = normal(1000).float() ** 3
    x, levels = x if signed else x.abs(), dynamic_levels(signed)
    codes, scales = quantize_blocks(x, levels, 256)
    want, state = theirs().quantize_blockwise(x, code=levels, blocksize=256)
    torch.testing.assert_close(scales, state.absmax)
    got, other = (dequantize_blocks(each, scales, levels, 256) for each in (codes, want))
    torch.testing.assert_close(other, theirs().dequantize_blockwise(want, state))
    large = x.abs() > 2e-3 * scales.repeat_interleave(256)[: len(x)]  # below, its search stops early
    assert (codes[large] == want[large]).float().mean() > 0.98
    assert bool(((got - x).abs() <= (other - x).abs() + 1e-6).all())


def test_four_bits_are_those_of_bitsandbytes(normal):
    x = normal(16, 64).float()
    packed, state = theirs().quantize_4bit(x, blocksize=64, quant_type="nf4")
    codes, scales = quantize_blocks(x, normal_float(), 64)
    got = dequantize_blocks(codes, scales, normal_float(), 64).view_as(x)
    torch.testing.assert_close(got, theirs().dequantize_4bit(packed, state), atol=1e-5, rtol=1e-5)
    assert packed.numel() + 4 * scales.numel() == bytes_of_blocks(x.numel(), 4, 64)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (64,), (65,)])
def test_no_level_is_nearer(shape, normal):
    x, levels = normal(*shape, 1)[..., 0], normal_float()
    codes, scales = quantize_blocks(x, levels, 16)
    assert codes.shape == (x.numel(),) and len(scales) == -(-x.numel() // 16)
    got = dequantize_blocks(codes, scales, levels, 16)
    whole = scales.repeat_interleave(16)[: x.numel(), None] * levels
    best = (whole - x.flatten().float()[:, None]).abs().min(dim=1).values if x.numel() else got
    torch.testing.assert_close((got - x.flatten().float()).abs(), best.abs(), atol=1e-6, rtol=1e-5)


def test_zeros_stay_zeros_and_nan_is_refused():
    x = torch.tensor([0.0, 0.0, 0.0, 5.0, 0.0, -1.0])
    codes, scales = quantize_blocks(x, normal_float(), 2)
    assert dequantize_blocks(codes, scales, normal_float(), 2).tolist() == x.tolist() and scales.tolist() == [0, 5, 1]
    for bad in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="infinite or NaN"):
            quantize_blocks(torch.tensor([1.0, bad]), normal_float(), 2)
