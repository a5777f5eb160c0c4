"""Lab 1's cases of decoders that attend: the whole model, and input feeding. Sealed, as exercises.py."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls

from .cases_recurrent import BF16, F16, F64, cell_weights, right_padding


def seq2seq(draw: Draw) -> Sequence[Given]:
    B, T, S, Cx, C = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 6), draw.integer(4, 5), draw.integer(2, 3)

    def inputs(
        B: int = B, T: int = T, S: int = S, V: int = 7, Vs: int = 11, padded: bool = False, dtype=torch.float32,
        cotangent: bool = False, C: int = C, Cx: int = Cx, **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        cells = {kind: cell_weights(draw, Cx, C, dtype) for kind in ("encoder", "decoder")}
        given = {f"{kind}_{name}": w for kind, cell in cells.items() for name, w in cell.items()}
        shapes = {"source_embedding": (Vs, Cx), "target_embedding": (V, Cx), "output_bias": (V,)}
        shapes["output"] = (2 * C + 1, V)  # as wide as what the stand-in for attend returns
        given |= {name: draw.normal(*shape, dtype=dtype) for name, shape in shapes.items()}
        given |= {"source": draw.integers(B, S, high=Vs), "inputs": draw.integers(B, T, high=V)}
        given["mask"] = right_padding(draw, B, S) if padded else torch.ones(B, S, dtype=torch.bool)
        given |= {"cotangent": draw.normal(B, T, V, dtype=dtype)} if cotangent else {}
        return {**given, **more}

    sizes: list[dict[str, Any]] = [{}, {"B": C + 3, "T": S + 2, "V": 9}, {"B": 1, "Cx": C}, {"T": 1, "S": 1, "C": 1}]
    short = [inputs(**row, padded=row.get("S") != 1) for row in sizes[1:]]
    short.append(inputs(B=1, mask=torch.arange(S)[None] < 2))
    halves = [inputs(T=2, S=4, C=2, padded=True, dtype=dtype) for dtype in (BF16, F16)]
    return [
        Given("no padding", "values", inputs(), public=True),
        Given("one call after the other", "values", calls(*(inputs(**row) for row in sizes))),
        Given("float64", "values", inputs(dtype=F64), public=True),
        Given("16 bits", "values", calls(*halves)),
        Given("padding", "padding", inputs(padded=True), public=True),
        Given("padding, as long as the source", "padding", inputs(T=S, padded=True), public=True),
        Given("padding, one call after the other", "padding", calls(*short)),
        Given("gradient", "gradient", inputs(padded=True, dtype=F64, cotangent=True), public=True),
        Given("gradient, no padding", "gradient", inputs(B=1, T=1, dtype=F64, cotangent=True)),
    ]


def input_feeding(draw: Draw) -> Sequence[Given]:
    B, T, S, Cy = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 6), draw.integer(3, 4)
    C, Ch = draw.integer(2, 3), draw.integer(4, 5)

    def inputs(
        T: int = T, Ch: int = Ch, B: int = B, S: int = S, C: int = C, Cy: int = Cy, dtype: torch.dtype = torch.float32,
        cotangent: bool = False, padded: bool = False, **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        states = {"s_0": draw.normal(B, C, dtype=dtype), "h": draw.normal(B, S, Ch, dtype=dtype)}
        more = {"mask": right_padding(draw, B, S), **more} if padded else more
        more = {**more, "cotangent": draw.normal(B, T, Ch + C, dtype=dtype)} if cotangent else more
        return {"y": draw.normal(B, T, Cy, dtype=dtype), **states, **cell_weights(draw, Cy + Ch, C, dtype), **more}

    sizes: list[dict[str, Any]] = [{"T": 1}, {"T": 2, "S": 1, "B": 1, "Ch": C}, {"T": 4, "S": 3, "B": C + 2, "Cy": 1}]
    sizes += [{"T": 2, "Ch": Cy, "C": Cy}]
    between = torch.arange(S) % 2 == torch.arange(B)[:, None] % 2
    short = [inputs(T=2, mask=between), inputs(B=1, T=2, mask=between[1:2])]
    halves = [inputs(T=2, dtype=BF16), inputs(T=2, dtype=F16, padded=True)]
    return [
        Given("some steps", "values", inputs(), public=True),
        Given("equal widths", "values", inputs(Ch=Cy), public=True),
        Given("one call after the other", "values", calls(*(inputs(**row) for row in sizes))),
        Given("padded source", "mask", inputs(padded=True), public=True),
        Given("padding of every kind", "mask", calls(*short)),
        Given("gradient", "values", inputs(dtype=F64, cotangent=True), public=True),
        Given("gradient, many steps", "values", inputs(T=6, S=3, B=2, dtype=F64, cotangent=True, padded=True)),
        Given("16 bits", "values", calls(*halves)),
    ]
