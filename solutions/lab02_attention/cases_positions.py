"""Lab 2's cases for positions. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given

Tensor = torch.Tensor
BF16 = torch.bfloat16


def sinusoidal(draw: Draw) -> Sequence[Given]:
    T, C = draw.integer(6, 20), 2 * draw.integer(3, 10)
    bases = draw.sample([20.0, 50.0, 500.0, 2000.0], 2)
    return [
        Given("even width", "values", {"T": T, "C": C}, public=True),
        Given("other width", "values", {"T": T + 7, "C": C + 4}),
        Given("longer", "values", {"T": draw.integer(40, 60), "C": 8}),
        Given("base", "base", {"T": T, "C": C, "base": bases[0]}, public=True),
        Given("other base", "base", {"T": T + 1, "C": C + 2, "base": bases[1]}),
        Given("one position", "edges", {"T": 1, "C": C}, public=True),
        Given("one pair", "edges", {"T": T, "C": 2}),
    ]


def rotary(draw: Draw) -> Sequence[Given]:
    B, H, T, D = draw.integer(2, 3), draw.integer(2, 3), draw.integer(5, 9), 2 * draw.integer(3, 6)
    near, far = draw.sample(range(3, 25), 2), draw.sample(range(300, 480), 2)
    base = draw.choice([50.0, 500.0, 2000.0])

    def together(leading: Sequence[int], width: int, **stated: Any) -> dict[str, Any]:
        return {"x": draw.normal(*leading, 4, width), **{name: value for name, value in stated.items() if value}}

    fields: dict[str, Sequence[Any]] = {"leading": [[B], [], [B, H]], "width": [D, 2], "offset": [0, near[0]]}
    fields["base"] = [None, base]
    return [
        Given("batch and heads", "values", {"x": draw.normal(B, H, T, D)}, public=True),
        Given("no leading dimension", "values", {"x": draw.normal(T, D)}),
        Given("one pair", "values", {"x": draw.normal(B, T, 2)}),
        Given("float64", "values", {"x": draw.normal(B, T, D, dtype=torch.float64)}),
        Given("offset", "offset", {"x": draw.normal(B, T, D), "offset": near[0]}, public=True),
        Given("one token at an offset", "offset", {"x": draw.normal(B, H, 1, D), "offset": near[1]}),
        Given("base", "base", {"x": draw.normal(B, T, D), "base": base}, public=True),
        Given("base and offset", "base", {"x": draw.normal(T, D), "base": base + 50, "offset": near[1]}),
        Given(
            "bfloat16", "precision", {"x": draw.normal(B, T, D, scale=4.0, dtype=BF16), "offset": far[0]}, public=True
        ),
        Given("bfloat16, other", "precision", {"x": draw.normal(H, T, D, scale=4.0, dtype=BF16), "offset": far[1]}),
        Given("gradient", "gradient", {"x": draw.normal(B, T, D), "cotangent": draw.normal(B, T, D)}, public=True),
        Given("all together", "base", {"each": [together(**row) for row in crossed(fields)]}),
        Given("gradient, one pair", "gradient", {"x": draw.normal(T, 2), "cotangent": draw.normal(T, 2), "offset": 2}),
    ]


def learned(draw: Draw) -> Sequence[Given]:
    L, C, T = draw.integer(9, 12), draw.choice([4, 6, 8]), draw.integer(3, 5)
    offset = draw.integer(2, 4)

    def inputs(T: int, offset: int | None = None, **more: Any) -> dict[str, Any]:
        stated = {} if offset is None else {"offset": offset}
        return {"table": draw.normal(L, C), "T": T, **stated, **more}

    return [
        Given("from the start", "rows", inputs(T), public=True),
        Given("offset", "rows", inputs(T, offset), public=True),
        Given("the last row", "rows", inputs(1, L - 1)),
        Given("the whole table", "rows", inputs(L)),
        Given("gradient", "rows", inputs(T, offset, cotangent=draw.normal(T, C)), public=True),
        Given("bfloat16", "rows", {"table": draw.normal(L, C, dtype=BF16), "T": T, "offset": 1}),
        Given("beyond the table", "beyond", inputs(L + 1), public=True),
        Given("offset beyond the table", "beyond", inputs(T, L - T + 1), public=True),
        Given("far beyond the table", "beyond", inputs(1, L + 3)),
    ]
