"""Lab 2's cases for attention itself. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls

Tensor = torch.Tensor
BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64


def attention(draw: Draw) -> Sequence[Given]:
    def qkv(*leading: int, T: int, S: int, D: int, Dv: int | None = None, **options: Any) -> dict[str, Any]:
        shapes = {"q": (T, D), "k": (S, D), "v": (S, Dv or D)}
        return {name: draw.normal(*leading, *shape, **options) for name, shape in shapes.items()}

    def whole(B: int, T: int, S: int, dtype=torch.float32, most: int = 16) -> dict[str, Any]:
        """Scores in the hundreds, exact in the dtype whatever the order of operations: whole numbers, sqrt(D) = 4."""
        rows = {"q": T, "k": S}
        large = {name: draw.integers(B, count, 16, low=-most, high=most + 1).to(dtype) for name, count in rows.items()}
        return {**large, "v": draw.normal(B, S, 16, dtype=dtype)}

    def lowest(B: int, T: int, S: int, times: float = 2.0**30, dtype=torch.float32, most: int = 16) -> dict[str, Any]:
        """Scores down to some -10^11, or lower, still exact, and a query may attend to its two lowest only."""
        given = whole(B, T, S, dtype, most)
        mask = torch.zeros(B, T, S, dtype=torch.bool)
        mask.scatter_(-1, (given["q"] @ given["k"].mT).argsort(-1)[..., :2], True)
        return {**given, "q": given["q"] * times, "mask": mask}

    def some(*shape: int) -> Tensor:
        """A drawn mask whose rows each hold a True and a False."""
        mask = draw.booleans(*shape)
        mask[..., 0], mask[..., -1] = True, False
        return mask

    B, H, T, S = draw.integer(2, 3), draw.integer(2, 3), draw.integer(5, 6), draw.integer(7, 8)
    D = draw.choice([8, 12, 16])
    given = [
        Given("one head", "values", qkv(B, T=T, S=S, D=D), public=True),
        Given("batch and heads", "values", qkv(B, H, T=T, S=S, D=D, Dv=D + 3), public=True),
        Given("strided", "values", {**qkv(B, H, T=T, S=T, D=D), "heads_last": True}),
        Given("large scores", "stability", whole(B, T=T, S=S), public=True),
        Given("large scores, masked", "stability", lowest(B, T=T, S=S), public=True),
        Given("large scores, square", "stability", calls(whole(B, T=S, S=S), lowest(B, T=S, S=S))),
        Given("mask", "mask", {**qkv(B, H, T=T, S=S, D=D), "mask": some(T, S)}, public=True),
        Given("float64", "precision", qkv(B, T=T, S=S, D=D, dtype=torch.float64), public=True),
        Given("float64, mask", "mask", {**qkv(B, T=T, S=S, D=D, dtype=torch.float64), "mask": some(B, T, S)}),
    ]
    mask = some(B, T, S)
    mask[0, draw.integer(0, T - 1)] = False
    inputs = {**qkv(B, T=T, S=S, D=D), "mask": mask, "cotangent": draw.normal(B, T, D)}
    given.append(Given("a query without keys", "empty rows", inputs, public=True))
    for name, rows in (("gradient", T), ("gradient, one query", 1)):
        inputs = {**qkv(B, H, T=rows, S=S, D=D), "mask": some(rows, S), "cotangent": draw.normal(B, H, rows, D)}
        given.append(Given(name, "gradient", inputs, public=rows > 1))
    given.append(Given("bfloat16", "precision", qkv(B, H, T=T, S=S, D=D, dtype=BF16), public=True))
    masks = {"none": (), "rows": (T, S), "keys": (B, 1, 1, S), "sentences": (B, 1, T, S), "all": (B, H, T, S)}
    masks |= {"heads": (H, T, S), "head rows": (H, T, 1), "one row": (S,)}

    def shaped(mask: str, rows: int) -> dict[str, Any]:
        shape = tuple({T: rows}.get(size, size) for size in masks[mask])
        tensors = qkv(B, H, T=rows, S=S, D=D)
        return {**tensors, "mask": some(*shape) if shape[-1] > 1 else draw.booleans(*shape)} if shape else tensors

    def empty(mask: str, rows: int = T) -> dict[str, Any]:
        """The same with a row that sees nothing, and gradients."""
        given = shaped(mask, rows)
        given["mask"][(0,) * (given["mask"].ndim - 2) + (-1,) if mask != "one row" else ...] = False
        return {**given, "cotangent": draw.normal(B, H, rows, D)}

    def many(S: int, dtype=torch.float32) -> dict[str, Any]:
        """So many keys that 16 bits cannot add up what they weigh, and values whose mean is not 0."""
        given = qkv(2, T=2, S=S, D=8, dtype=dtype)
        return {**given, "v": given["v"] + 2}

    def halves(dtype: torch.dtype) -> dict[str, Any]:
        """In 16 bits: gradients, masks, many keys, and numbers of one shape twice."""
        plain, masked = qkv(B, H, T=T, S=S, D=D, dtype=dtype), qkv(B, H, T=T, S=S, D=D, dtype=dtype)
        masked |= {"mask": some(B, 1, 1, S), "cotangent": draw.normal(B, H, T, D, dtype=dtype)}
        return calls(plain, masked, many(900 if dtype == BF16 else 3000, dtype))

    sizes = [(T, S), (T, S), (1, 20), (S, T), (3, 70), (D, D), (1, 1)]
    given += [
        Given(
            "one call after the other",
            "values",
            calls(*(qkv(B, H, T=t, S=s, D=D) for t, s in sizes), qkv(T=T, S=T, D=D)),
        ),
        Given("empty rows of every shape", "empty rows", calls(*(empty(mask) for mask in masks if masks[mask]))),
        Given("large scores, float64", "stability", calls(lowest(B, T, S, 2.0**80, F64), whole(B, T, S, F64))),
        Given("large scores, bfloat16", "stability", calls(lowest(B, T, S, 2.0**80, BF16, 4), whole(B, T, S, BF16, 4))),
        Given("large scores, float16", "stability", calls(lowest(B, T, S, 8.0, F16, 8), whole(B, T, S, F16, 8))),
        Given("bfloat16, all of it", "precision", halves(BF16)),
        Given("float16", "precision", halves(F16)),
    ]

    pairs = [(mask, rows) for mask in masks for rows in ((T, 1, S) if mask in ("rows", "all") else (T, S))]
    given.append(Given("masks of every shape", "mask", calls(*(shaped(*pair) for pair in pairs))))
    return given
