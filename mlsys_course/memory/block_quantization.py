"""Tensors in four or eight bits: codes of a table of levels, and a scale for every block of entries."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def quantize_blocks(
    x: Float[Tensor, "..."], levels: Float[Tensor, " L"], block: int
) -> tuple[UInt8[Tensor, " N"], Float[Tensor, " M"]]:
    """(codes, scales): of each entry, in the order of the flattened tensor, the index of the nearest level.

    ``block`` entries in a row, the last block fewer, share a scale: the largest magnitude among them, in float32. An
    entry over its scale gets the nearest of ``levels``, which ascend from -1 or 0 to 1, at most 256; of two as near the
    lower one. A block of zeros has the scale 0, and the codes of zeros. Arithmetic is float32.
    Source: Dettmers et al. 2022, "8-bit optimizers via block-wise quantization", section 2.1.
    Lab 10, extension ``quantize_blocks``.

    Raises:
        ValueError: an entry is infinite or NaN: no level stands for it, and its block would be lost.
    """
    flat = x.detach().float().flatten()
    if not bool(flat.isfinite().all()):
        raise ValueError(
            "an entry is infinite or NaN, which no level stands for; skip this step, or look for its cause"
        )
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % block)).view(-1, block)
    scales = blocks.abs().amax(dim=1)
    shares = blocks / scales.where(scales > 0, 1.0)[:, None]
    levels = levels.float().to(x.device)
    middles = (levels[1:] + levels[:-1]) / 2
    codes = torch.searchsorted(middles, shares.flatten()[: len(flat)])  # how many middles lie below
    return codes.to(torch.uint8), scales


def dequantize_blocks(
    codes: UInt8[Tensor, " N"], scales: Float[Tensor, " M"], levels: Float[Tensor, " L"], block: int
) -> Float[Tensor, " N"]:
    """What the codes stand for: each one's level times its block's scale, float32, flat."""
    return levels.float().to(codes.device)[codes.long()] * scales.repeat_interleave(block)[: len(codes)]


def bytes_of_blocks(entries: int, bits: int, block: int) -> int:
    """Bytes of so many entries: their codes, packed, and a float32 scale for each block."""
    return math.ceil(entries * bits / 8) + 4 * math.ceil(entries / block)
