"""Four bits a number: blocks of float4 with a power of two each, packed two to a byte."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..parameter_server.quantize import pack_codes, quantize, unpack_codes
from ..substrate.formats import e2m1

BLOCK = 32
BIAS = 127  # of the byte that holds a block's exponent


def quantize_mxfp4(
    x: Float[Tensor, "*shape"], u: Float[Tensor, "*shape"] | float = 0.5, quantize=quantize
) -> tuple[UInt8[Tensor, " N"], UInt8[Tensor, " M"]]:
    """(packed, exponents) of x's entries in the order of the flattened tensor, in blocks of 32, the last one shorter.

    A block's scale is 2**e, where 2**(e + 2) is the largest power of two that is not above its largest magnitude:
    float4's largest power of two is 4. The byte e + 127 stands in ``exponents``; e is at least -127, as in a block of
    zeros. Entries are divided by the scale; a code of four bits is the place of the magnitude's level among 0, 0.5, 1,
    1.5, 2, 3, 4, 6, as ``quantize(magnitudes, levels, u)`` says it, so what is above 6 becomes 6; and 8 more for
    entries below 0. Entry 2i has the low four bits of byte i, entry 2i + 1 the high ones; a last odd one stands alone.
    ``quantize`` is lab 8's: u = 1/2 takes the nearest level, uniform draws are right on average, but for what is cut.
    Source: OCP Microscaling formats 1.0, section 6.3; Rouhani et al. 2023, algorithm 1.
    Lab 12, exercise ``quantize_mxfp4``.

    Raises:
        ValueError: an entry is infinite or NaN, and would spoil its block.
    """
    flat = x.detach().float().flatten()
    if not bool(flat.isfinite().all()):
        raise ValueError("an entry is infinite or NaN, which no scale can hold; look for its cause")
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)  # (M, 32)
    largest = blocks.abs().amax(1) if len(flat) else blocks.sum(1)
    exponents = (torch.frexp(largest).exponent - 3).where(largest > 0, torch.tensor(-BIAS)).clamp(min=-BIAS)  # (M,)
    shares = torch.ldexp(blocks, -exponents[:, None]).view(-1)[: len(flat)]
    draws = u.flatten() if isinstance(u, Tensor) else u
    codes = quantize(shares.abs(), e2m1().magnitudes.float(), draws) + 8 * (flat < 0)
    return pack_codes(codes, 4), (exponents + BIAS).to(torch.uint8)


def dequantize_mxfp4(packed: UInt8[Tensor, " N"], exponents: UInt8[Tensor, " M"], n: int) -> Float[Tensor, " n"]:
    """The n numbers that the bytes stand for, float32, flat."""
    codes = unpack_codes(packed, 4, n)
    magnitudes = e2m1().magnitudes.float()[codes % 8]
    signed = magnitudes.where(codes < 8, -magnitudes)
    return torch.ldexp(signed, exponents.int().repeat_interleave(BLOCK)[:n] - BIAS)


def bytes_of_mxfp4(n: int) -> int:
    """Bytes of n entries: half a byte each, and one for each block."""
    return -(-n // 2) + -(-n // BLOCK)
