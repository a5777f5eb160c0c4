"""Lab 2's cases for masks. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import ON_A_CARD, Given, calls

Tensor = torch.Tensor
BF16 = torch.bfloat16


def causal_mask(draw: Draw) -> Sequence[Given]:
    sizes = draw.sample(range(4, 14), 2)
    T, S = draw.integer(2, 4), draw.integer(6, 12)
    return [
        Given("square", "square", {"T": sizes[0]}, public=True),
        Given("cached keys", "cached keys", {"T": T, "S": S}, public=True),
        Given(
            "sizes, one call after the other",
            "square",
            calls(*({"T": n} for n in (5, 40, 5, 140, 300, 1, sizes[1])), {"T": 5, "S": 5}),
        ),
        Given(
            "cached keys, sizes",
            "cached keys",
            calls(*({"T": t, "S": n} for t, n in ((5, 9), (5, 6), (5, 300), (4, 4), (1, S)))),
        ),
    ]


INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]


def of_every_dtype(draw: Draw, name: str, T: int, *more: dict[str, Any]) -> dict[str, Any]:
    """Counts from 0 to T by every integer dtype, also where T is more than that holds; all alike, one and several."""
    counts = [torch.tensor([0, T, T // 2, 1], dtype=dtype) for dtype in INTEGERS]
    counts += [draw.integers(4, high=T + 1), torch.full((3,), T // 2), torch.full((3,), T), torch.zeros(2).long()]
    given = [{name: count, "T": T} for count in [*counts, torch.tensor([T - 1])]]
    return calls(*given, *more, *({name: torch.tensor([0, 127, 3], dtype=dtype), "T": 140} for dtype in INTEGERS[:2]))


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
        Given("empty and full", "edges", {"lengths": with_ends, "T": T}, public=True),
        Given("one token", "edges", {"lengths": torch.tensor([1, 0, 1]), "T": 1}),
        Given("dtypes, one call after the other", "values", of_every_dtype(draw, "lengths", T, batch(1, T + 2))),
    ]


def window_mask(draw: Draw) -> Sequence[Given]:
    T, wide, T2 = draw.integer(7, 9), draw.integer(3, 4), draw.integer(2, 4)
    S = T2 + draw.integer(5, 8)
    squares = [(T, 2), (T, 3), (T, T), (T, T - 1), (T, T + 3), (1, 1), (1, 5), (12, 7), (140, 130)]
    square = [{"T": n, "window": window, "S": n} for n, window in squares]
    some = [(T2, S - T2 + 2), (T2, S), (T2, S + 3), (T2, 1), (1, S + 1), (1, wide), (T2 + 1, 5), (2, 200)]
    cached = [{"T": n, "window": window, "S": S} for n, window in some]
    return [
        Given("square", "square", {"T": T, "window": wide}, public=True),
        Given("window of one", "square", {"T": T, "window": 1}, public=True),
        Given("cached keys", "cached keys", {"T": T2, "window": wide, "S": S}, public=True),
        Given("S stated, one call after the other", "square", calls(*square, {"T": T, "window": 2})),
        Given(
            "cached keys, one call after the other", "cached keys", calls(*cached, {"T": 2, "window": 260, "S": 300})
        ),
    ]


def prefix_mask(draw: Draw) -> Sequence[Given]:
    def batch(B: int, T: int, dtype: torch.dtype = torch.int64) -> dict[str, Any]:
        """Prefixes from 2 to T - 2; with fewer than two tokens a prefix changes nothing."""
        return {"prefix": draw.integers(B, low=2, high=T - 1).to(dtype), "T": T}

    T = draw.integer(6, 9)
    return [
        Given("batch", "values", batch(3, T), public=True),
        Given("none and all", "edges", {"prefix": torch.tensor([0, T, 1, 3]), "T": T}, public=True),
        Given("as on a card", "edges", {**batch(2, T), **ON_A_CARD}, public=True),
        Given("one token", "edges", {"prefix": torch.tensor([1, 0]), "T": 1}),
        Given("dtypes, one call after the other", "values", of_every_dtype(draw, "prefix", T, batch(1, T + 2))),
    ]


def document_mask(draw: Draw) -> Sequence[Given]:
    def packed(B: int, *lengths: int) -> Tensor:
        """Rows of documents one after the other, their numbers drawn anew in each row."""
        rows = [draw.sample(range(2, 50), len(lengths)) for _ in range(B)]
        return torch.tensor(
            [[n for n, length in zip(row, lengths, strict=True) for _ in range(length)] for row in rows]
        )

    a, b = draw.integer(2, 4), draw.integer(3, 4)
    apart = [[7, 7, 3, 7, 3, 3], [1, 2, 1, 2, 2, 1], [0, 0, 5, 0, 5, 5], [-1, 4, -1, -2, -2, 4]]
    large = [[2**24, 2**24 + 1, 2**24, 2**53, 2**53 + 1, 2**24 + 1], [-(2**40), 2**40, 2**40, -(2**40), 0, 1]]
    numbers = [
        torch.tensor(apart),
        torch.tensor(large),
        torch.tensor(apart[:3]).to(torch.uint8),
        torch.zeros(2, 6).long(),
    ]
    numbers += [
        torch.tensor([row], dtype=dtype) for row in apart[2:] for dtype in (torch.int8, torch.int16, torch.int32)
    ]
    return [
        Given("packed", "values", {"documents": packed(2, a, b, 2)}, public=True),
        Given("packed, other lengths", "values", {"documents": packed(3, b, 1, a)}, public=True),
        Given("one token each", "edges", {"documents": packed(2, 1, 1, 1, 1)}, public=True),
        Given(
            "any numbers, any order", "values", calls(*({"documents": n[:, draw.shuffled(range(6))]} for n in numbers))
        ),
        Given(
            "many tokens, few, one",
            "edges",
            calls(*({"documents": packed(*of)} for of in ((1, 70, 3, 67), (2, 2, 2), (2, a + b), (3, 1)))),
        ),
    ]
