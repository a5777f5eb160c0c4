"""Lab 2's cases for attention itself. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given

Tensor = torch.Tensor
BF16 = torch.bfloat16


def attention(draw: Draw) -> Sequence[Given]:
    def qkv(*leading: int, T: int, S: int, D: int, Dv: int | None = None, **options: Any) -> dict[str, Any]:
        shapes = {"q": (T, D), "k": (S, D), "v": (S, Dv or D)}
        return {name: draw.normal(*leading, *shape, **options) for name, shape in shapes.items()}

    def whole(B: int, T: int, S: int) -> dict[str, Any]:
        """Scores in the hundreds, exact in float32 whatever the order of operations: whole numbers, and sqrt(D) = 4."""
        large = {name: draw.integers(B, rows, 16, low=-16, high=17).float() for name, rows in (("q", T), ("k", S))}
        return {**large, "v": draw.normal(B, S, 16)}

    def lowest(B: int, T: int, S: int) -> dict[str, Any]:
        """Scores down to some -10^11, still exact, and a query may attend to its two lowest only."""
        given = whole(B, T, S)
        mask = torch.zeros(B, T, S, dtype=torch.bool)
        mask.scatter_(-1, (given["q"] @ given["k"].mT).argsort(-1)[..., :2], True)
        return {**given, "q": given["q"] * 2**30, "mask": mask}

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
        Given("no leading dimension", "values", qkv(T=T, S=T, D=D)),
        Given("one query, one key", "values", qkv(B, T=1, S=1, D=D)),
        Given("strided", "values", {**qkv(B, H, T=T, S=T, D=D), "heads_last": True}),
        Given("large scores", "stability", whole(B, T=T, S=S), public=True),
        Given("large scores, square", "stability", whole(B, T=S, S=S)),
        Given("large scores, masked", "stability", lowest(B, T=T, S=S), public=True),
        Given("large scores, masked, square", "stability", lowest(B, T=S, S=S)),
        Given("mask", "mask", {**qkv(B, H, T=T, S=S, D=D), "mask": some(T, S)}, public=True),
        Given("mask of keys", "mask", {**qkv(B, H, T=T, S=S, D=D), "mask": some(B, 1, 1, S)}),
        Given("float64", "precision", qkv(B, T=T, S=S, D=D, dtype=torch.float64), public=True),
        Given("float64, mask", "mask", {**qkv(B, T=T, S=S, D=D, dtype=torch.float64), "mask": some(B, T, S)}),
    ]
    for name, public in (("a query without keys", True), ("queries without keys", False)):
        mask = some(B, T, S)
        mask[: 1 if public else B, draw.integer(0, T - 1)] = False
        inputs = {**qkv(B, T=T, S=S, D=D), "mask": mask, "cotangent": draw.normal(B, T, D)}
        given.append(Given(name, "empty rows", inputs, public))
    for name, rows in (("gradient", T), ("gradient, one query", 1)):
        inputs = {**qkv(B, H, T=rows, S=S, D=D), "mask": some(rows, S), "cotangent": draw.normal(B, H, rows, D)}
        given.append(Given(name, "gradient", inputs, public=rows > 1))
    given.append(Given("bfloat16", "precision", qkv(B, H, T=T, S=S, D=D, dtype=BF16), public=True))
    masks = {"none": (), "rows": (T, S), "keys": (B, 1, 1, S), "sentences": (B, 1, T, S), "all": (B, H, T, S)}

    def shaped(mask: str, rows: int) -> dict[str, Any]:
        shape = tuple({T: rows}.get(size, size) for size in masks[mask])
        tensors = qkv(B, H, T=rows, S=S, D=D)
        return {**tensors, "mask": some(*shape)} if shape else tensors

    fields: dict[str, Sequence[Any]] = {"mask": [*masks], "rows": [T, 1, S]}
    given.append(Given("masks of every shape", "mask", {"each": [shaped(**row) for row in crossed(fields)]}))
    given.append(Given("bfloat16, mask", "precision", {**qkv(B, T=T, S=S, D=D, dtype=BF16), "mask": some(T, S)}))
    return given
