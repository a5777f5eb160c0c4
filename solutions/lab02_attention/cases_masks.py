"""Lab 2's cases for masks. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import ON_A_CARD, Given

Tensor = torch.Tensor
BF16 = torch.bfloat16


def causal_mask(draw: Draw) -> Sequence[Given]:
    sizes = draw.sample(range(4, 14), 4)
    T, S = draw.integer(2, 4), draw.integer(6, 12)
    return [
        Given("square", "square", {"T": sizes[0]}, public=True),
        Given("square, other size", "square", {"T": sizes[1]}),
        Given("S stated", "square", {"T": sizes[2], "S": sizes[2]}),
        Given("one token", "square", {"T": 1}),
        Given("cached keys", "cached keys", {"T": T, "S": S}, public=True),
        Given("cached keys, other size", "cached keys", {"T": sizes[3], "S": sizes[3] + T}),
        Given("one query, cached keys", "cached keys", {"T": 1, "S": S}),
    ]


def padding_mask(draw: Draw) -> Sequence[Given]:
    def batch(B: int, T: int, dtype: torch.dtype = torch.int64) -> dict[str, Any]:
        """Lengths from 1 to T - 1; the first is T - 1, where every mistake shows."""
        lengths = draw.integers(B, low=1, high=T).to(dtype)
        lengths[0] = T - 1
        return {"lengths": lengths, "T": T}

    B, T = draw.integer(3, 5), draw.integer(6, 11)
    with_ends = torch.tensor([0, T, draw.integer(1, T - 1)])
    return [
        Given("batch", "values", batch(B, T), public=True),
        Given("batch, other size", "values", batch(B + 1, T + 2)),
        Given("one sequence", "values", batch(1, T)),
        Given("int32", "values", batch(B, T, torch.int32)),
        Given("empty and full", "edges", {"lengths": with_ends, "T": T}, public=True),
        Given("one token", "edges", {"lengths": torch.tensor([1, 0, 1]), "T": 1}),
    ]


def window_mask(draw: Draw) -> Sequence[Given]:
    T, wide, T2 = draw.integer(7, 9), draw.integer(3, 4), draw.integer(2, 4)
    S = T2 + draw.integer(5, 8)
    return [
        Given("square", "square", {"T": T, "window": wide}, public=True),
        Given("square, other size", "square", {"T": T + 3, "window": 2}),
        Given("window of one", "square", {"T": T, "window": 1}, public=True),
        Given("wider than the sequence", "square", {"T": T, "window": T + 3}),
        Given("cached keys", "cached keys", {"T": T2, "window": wide, "S": S}, public=True),
        Given("one query, cached keys", "cached keys", {"T": 1, "window": wide, "S": S}),
    ]


def prefix_mask(draw: Draw) -> Sequence[Given]:
    def batch(B: int, T: int, dtype: torch.dtype = torch.int64) -> dict[str, Any]:
        """Prefixes from 2 to T - 2; with fewer than two tokens a prefix changes nothing."""
        return {"prefix": draw.integers(B, low=2, high=T - 1).to(dtype), "T": T}

    T = draw.integer(6, 9)
    return [
        Given("batch", "values", batch(3, T), public=True),
        Given("batch, other size", "values", batch(4, T + 2)),
        Given("one sequence", "values", batch(1, T)),
        Given("int32", "values", batch(2, T, torch.int32)),
        Given("none and all", "edges", {"prefix": torch.tensor([0, T, 1, 3]), "T": T}, public=True),
        Given("as on a card", "edges", {**batch(2, T), **ON_A_CARD}, public=True),
        Given("one token", "edges", {"prefix": torch.tensor([1, 0]), "T": 1}),
    ]


def document_mask(draw: Draw) -> Sequence[Given]:
    def packed(B: int, *lengths: int) -> Tensor:
        """Rows of documents one after the other, their numbers drawn anew in each row."""
        rows = [draw.sample(range(2, 50), len(lengths)) for _ in range(B)]
        return torch.tensor(
            [[n for n, length in zip(row, lengths, strict=True) for _ in range(length)] for row in rows]
        )

    a, b = draw.integer(2, 4), draw.integer(3, 4)
    return [
        Given("packed", "values", {"documents": packed(2, a, b, 2)}, public=True),
        Given("packed, other lengths", "values", {"documents": packed(3, b, 1, a)}, public=True),
        Given("int32", "values", {"documents": packed(1, a, b).int()}),
        Given("one document", "edges", {"documents": packed(2, a + b)}),
        Given("one token each", "edges", {"documents": packed(2, 1, 1, 1, 1)}, public=True),
        Given("one token", "edges", {"documents": packed(3, 1)}),
    ]
