"""Secure aggregation: a server that learns the sum and nobody's own part."""

from collections.abc import Mapping, Sequence

from jaxtyping import Int
from torch import Tensor

MODULUS = 1 << 32


def mask_update(update: Int[Tensor, " n"], rank: int, masks: Mapping[int, Int[Tensor, " n"]]) -> Int[Tensor, " n"]:
    """What a rank sends: its update under the masks that it shares with each other rank, modulo 2**32.

    ``masks[other]`` is known to both and to nobody else. The lower rank of a pair adds it, the higher subtracts it, so
    that all masks cancel in the sum over ranks. update: whole numbers, negative ones too; returns numbers in
    [0, 2**32), int64.
    Source: Bonawitz et al. 2017, "Practical secure aggregation". Lab 8, exercise ``mask_update``.
    """
    masked = update.clone()
    for other, mask in masks.items():
        masked += mask if rank < other else -mask
    return masked.remainder(MODULUS)


def unmasked_sum(sent: Sequence[Int[Tensor, " n"]]) -> Int[Tensor, " n"]:
    """The sum of the updates behind what all ranks sent, where it lies in [-2**31, 2**31)."""
    half = MODULUS // 2
    return (sum(sent) + half).remainder(MODULUS) - half  # type: ignore[operator, union-attr]
