"""Tensors end to end in one dimension, cut into P shards of one size."""

import itertools
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..substrate.errors import CourseProblem

Piece = tuple[int, int, int]  # number of the tensor; first entry, and the one behind the last


class ShardError(CourseProblem, ValueError):
    """Sizes, worlds or saved shards that do not fit together."""


def shard_size(n: int, world_size: int) -> int:
    """Entries of each shard of ``n``: ceil(n / P), so that the last shards may be padded."""
    if world_size < 1:
        raise ShardError(f"world_size={world_size}; there is at least one rank")
    if n < 0:
        raise ShardError(f"n={n} entries; a tensor has none at least")
    return -(-n // world_size)


def partition(sizes: Sequence[int], world_size: int) -> list[list[Piece]]:
    """What each rank holds of tensors that lie end to end: by rank (number, start, stop) of each piece, in order.

    ``sizes`` are entries by tensor. Rank r has entries r s to (r + 1) s of all, s = ceil(n / P); behind the last entry
    is padding, which is no piece, so in a world larger than n ranks have none. Raises ShardError for a world without
    ranks or a negative size. Lab 11, exercise ``partition``.
    """
    if any(size < 0 for size in sizes):
        raise ShardError(f"sizes={list(sizes)}; a tensor has no negative number of entries")
    held = shard_size(sum(sizes), world_size)
    firsts = [0, *itertools.accumulate(sizes)]
    ranks: list[list[Piece]] = []
    for low in range(0, held * world_size, held or 1):
        overlaps = [
            (k, max(low, first) - first, min(low + held, first + size) - first)
            for k, (first, size) in enumerate(zip(firsts, sizes, strict=False))
        ]
        ranks.append([(k, start, stop) for k, start, stop in overlaps if start < stop])
    return ranks or [[] for _ in range(world_size)]


def flat_padded(tensors: Iterable[Tensor], world_size: int) -> Shaped[Tensor, " n_padded"]:
    """All entries end to end, a copy, with zeros behind them to a multiple of P."""
    flat = [tensor.detach().reshape(-1) for tensor in tensors]
    n = sum(map(len, flat))
    return torch.cat([*flat, flat[0].new_zeros(shard_size(n, world_size) * world_size - n)])


def pieces_of(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Views of ``flat``, one for each shape; padding is left out."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    return [piece.view(torch.Size(shape)) for piece, shape in zip(flat[: sum(sizes)].split(sizes), shapes, strict=True)]


def write_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """The inverse of ``flat_padded``: each tensor's entries are overwritten."""
    with torch.no_grad():
        for tensor, piece in zip(tensors, pieces_of(flat, [tensor.shape for tensor in tensors]), strict=True):
            tensor.copy_(piece)
