"""AdamW whose moments lie in 8 bits between the steps: a quarter of float32's bytes."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..substrate.levels import dynamic_levels
from .block_quantization import dequantize_blocks, quantize_blocks

BLOCK = 256


def to_8_bits(x: Tensor, signed: bool) -> tuple[Tensor, Tensor, bool, torch.Size]:
    """Codes and scales of blocks of 256 entries."""
    return *quantize_blocks(x, dynamic_levels(signed), BLOCK), signed, x.shape


def from_8_bits(packed: tuple[Tensor, Tensor, bool, torch.Size]) -> Tensor:
    """What they stand for, in float32."""
    codes, scales, signed, shape = packed
    return dequantize_blocks(codes, scales, dynamic_levels(signed), BLOCK).view(shape)


def blockwise_adamw(
    parameter: Float[Tensor, "..."],
    gradient: Float[Tensor, "..."],
    state: tuple[Any, Any] | None,
    step: int,
    lr: float,
    weight_decay: float = 0.0,
    quantize: Callable[[Tensor, bool], Any] = to_8_bits,
    dequantize: Callable[[Any], Tensor] = from_8_bits,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
) -> tuple[Float[Tensor, "..."], tuple[Any, Any]]:
    """(parameter, state) after one step of AdamW; the state is ``quantize``'s two moments, None before step 1.

    Moments are made wide by ``dequantize(packed)``, updated and used in float32, and made narrow at the end:
    ``quantize(x, signed)``, the first with signed=True, the second, which is never negative, with False. ``step``
    counts from 1. Decay is decoupled: lr * weight_decay * parameter. The parameter keeps its dtype.
    Source: Dettmers et al. 2022, "8-bit optimizers via block-wise quantization". Lab 10, extension ``blockwise_adamw``.
    """
    wide = gradient.float()
    first, second = (torch.zeros_like(wide),) * 2 if state is None else (dequantize(packed) for packed in state)
    first = betas[0] * first + (1 - betas[0]) * wide
    second = betas[1] * second + (1 - betas[1]) * wide.square()
    root = (second / (1 - betas[1] ** step)).sqrt() + epsilon
    update = first / (1 - betas[0] ** step) / root
    moved = parameter.float() * (1 - lr * weight_decay) - lr * update
    return moved.to(parameter.dtype), (quantize(first, True), quantize(second, False))


def bytes_a_parameter(entries: int) -> float:
    """Of both moments: two codes, and two float32 scales a block."""
    return 2 + 8 * math.ceil(entries / BLOCK) / entries
