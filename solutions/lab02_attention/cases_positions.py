"""Lab 2's cases for positions. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given, calls

Tensor = torch.Tensor
BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64


def sinusoidal(draw: Draw) -> Sequence[Given]:
    T, C = draw.integer(6, 20), 2 * draw.integer(3, 10)
    bases = draw.sample([20.0, 50.0, 500.0, 2000.0], 2)
    every = [2000.0, 3000.0, 20.0, 20000.0, 2.0, bases[1]]
    return [
        Given("even width", "values", {"T": T, "C": C}, public=True),
        Given("base", "base", {"T": T, "C": C, "base": bases[0]}, public=True),
        Given("one position", "edges", {"T": 1, "C": C}, public=True),
        Given(
            "some hundred rows",
            "values",
            calls(*({"T": rows, "C": width} for rows, width in ((300, 4), (7, 6), (9, C + 4), (7, 4)))),
        ),
        Given(
            "bases, one call after the other",
            "base",
            calls(*({"T": T, "C": C, "base": base} for base in every), {"T": T, "C": C}),
        ),
        Given("wide", "edges", calls({"T": 3, "C": 64}, {"T": T, "C": 2}, {"T": 64, "C": 64})),
    ]


def rotary(draw: Draw) -> Sequence[Given]:
    B, H, T, D = draw.integer(2, 3), draw.integer(2, 3), draw.choice([5, 7, 9]), 2 * draw.integer(3, 6)
    near, far = draw.sample(range(3, 25), 2), draw.sample(range(300, 480), 2)
    base = draw.choice([50.0, 500.0, 2000.0])

    def together(leading: Sequence[int], width: int, **stated: Any) -> dict[str, Any]:
        return {"x": draw.normal(*leading, 4, width), **{name: value for name, value in stated.items() if value}}

    def halves(dtype: torch.dtype) -> dict[str, Any]:
        """In 16 bits, with the gradient, at one shape and two offsets, and at none."""
        inputs = [{"x": draw.normal(T, D, dtype=dtype), "offset": offset} for offset in (far[0], far[1], 0)]
        return calls(*({**given, "cotangent": draw.normal(T, D, dtype=dtype)} for given in inputs))

    def row(offset: int, **more: Any) -> dict[str, Any]:
        """One token; of one pair, so that its angle is a whole number, which float32 holds exactly."""
        return {"x": draw.normal(B, 1, 2), "offset": offset, **more}

    def at(*offsets: int, T: int = T, D: int = D, **more: Any) -> list[dict[str, Any]]:
        return [{"x": draw.normal(B, T, D), "offset": offset, **more} for offset in offsets]

    known = [*at(near[0], near[1], 0), *at(near[0], base=base), *at(near[0], base=2 * base), *at(near[1], T=D)]
    fields: dict[str, Sequence[Any]] = {"leading": [[B], [], [B, H]], "width": [D, 2], "offset": [0, near[0]]}
    fields["base"] = [None, base]
    return [
        Given("batch and heads", "values", {"x": draw.normal(B, H, T, D)}, public=True),
        Given("float64", "values", {"x": draw.normal(B, T, D, dtype=torch.float64)}),
        Given("offset", "offset", {"x": draw.normal(B, T, D), "offset": near[0]}, public=True),
        Given("base", "base", {"x": draw.normal(B, T, D), "base": base}, public=True),
        Given(
            "bfloat16", "precision", {"x": draw.normal(B, T, D, scale=4.0, dtype=BF16), "offset": far[0]}, public=True
        ),
        Given("gradient", "gradient", {"x": draw.normal(B, T, D), "cotangent": draw.normal(B, T, D)}, public=True),
        Given("all together", "base", calls(*(together(**row) for row in crossed(fields)))),
        Given("gradient, one pair", "gradient", {"x": draw.normal(T, 2), "cotangent": draw.normal(T, 2), "offset": 2}),
        Given("one call after the other", "offset", calls(*known, *at(5, T=1, D=4), *at(0, T=1), *at(500, T=20, D=4))),
        Given("far away", "offset", calls(*(row(offset) for offset in (2049, 70_001, 511, 513, 1_000_003)))),
        Given("bfloat16, gradient", "precision", halves(BF16)),
        Given("float16, gradient", "precision", halves(F16)),
    ]


def learned(draw: Draw) -> Sequence[Given]:
    L, C, T = draw.integer(9, 12), draw.choice([4, 6, 8]), draw.integer(3, 5)
    offset = draw.integer(2, 4)

    def inputs(T: int, offset: int | None = None, **more: Any) -> dict[str, Any]:
        stated = {} if offset is None else {"offset": offset}
        return {"table": draw.normal(L, C), "T": T, **stated, **more}

    def of(dtype: torch.dtype, T: int, offset: int) -> dict[str, Any]:
        return {
            "table": draw.normal(L, C, dtype=dtype),
            "T": T,
            "offset": offset,
            "cotangent": draw.normal(T, C).to(dtype),
        }

    ends = calls(
        inputs(T, L - T),
        inputs(L, 0),
        inputs(T, L - T + 1),
        inputs(1, L),
        inputs(2, L - 1),
        inputs(2, L - 2),
        inputs(1, L + 3),
    )
    other = {"table": draw.normal(L + 4, C), "T": L + 1}
    again = [
        inputs(T),
        inputs(T),
        inputs(T, offset),
        inputs(1, L - 1),
        inputs(L),
        inputs(T, offset, cotangent=draw.normal(T, C)),
        other,
    ]
    again.append(inputs(T, cotangent=draw.normal(T, C)))

    return [
        Given("from the start", "rows", inputs(T), public=True),
        Given("offset", "rows", inputs(T, offset), public=True),
        Given("gradient", "rows", inputs(T, offset, cotangent=draw.normal(T, C)), public=True),
        Given("beyond the table", "beyond", inputs(L + 1), public=True),
        Given("offset beyond the table", "beyond", inputs(T, L - T + 1), public=True),
        Given("up to its end", "beyond", ends),
        Given("one call after the other", "rows", calls(*again)),
        Given("float64", "rows", calls(of(F64, T, 0), of(F64, 1, 2))),
        Given("16 bits", "rows", calls(of(BF16, T, 0), of(F16, 1, 2))),
    ]
