"""Lab 1's cases of decoders that attend: the whole model, and input feeding. Sealed, as exercises.py."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import ON_A_CARD, Given, calls

from .cases_recurrent import BF16, F16, F64, any_padding, cell_weights, right_padding


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

    sizes: list[dict[str, Any]] = [{}, {"B": B + 1, "T": T + 2, "S": S + 1, "V": 9}, {"B": 1}, {"T": 1}, {"C": 1}]
    sizes += [{"B": C + 3}, {"T": S}, {"Cx": C}, {"V": 5, "Vs": 5}, {"V": 1, "B": 1, "T": 1}, {"B": C, "S": C}]
    sizes += [{"T": S + 2}, {"B": S, "T": S}, {"Cx": 1}, {"V": 13, "Vs": 4}]
    short = [inputs(**row, padded=True) for row in sizes]
    short += [inputs(B=n, mask=(torch.arange(S) < length).repeat(n, 1)) for n, length in ((B, 1), (1, 2))]
    slopes = [inputs(**row, padded=padded, cotangent=True) for row in sizes[:5] for padded in (False, True)]
    ways: list[dict[str, Any]] = [{}, {"padded": True}, {"padded": True, "cotangent": True}]
    halves = [{"dtype": dtype, **way} for dtype in (BF16, F16) for way in ways]
    return [
        Given("no padding", "values", inputs(), public=True),
        Given("one call after the other", "values", calls(*(inputs(**row) for row in sizes), inputs(S=1, T=1))),
        Given("float64", "values", inputs(dtype=F64), public=True),
        Given("16 bits", "values", calls(*(inputs(T=2, S=4, C=2, **row) for row in halves))),
        Given("padding", "padding", inputs(padded=True), public=True),
        Given("padding, as long as the source", "padding", inputs(T=S, padded=True), public=True),
        Given("padding, one call after the other", "padding", calls(*short)),
        Given("gradient", "gradient", inputs(padded=True, dtype=F64, cotangent=True), public=True),
        Given("gradient, no padding", "gradient", calls(inputs(dtype=F64, cotangent=True), inputs(B=1, dtype=F64))),
        Given("gradients, one after the other", "gradient", calls(*slopes)),
        Given("as on a card", "values", {**inputs(padded=True), **ON_A_CARD}, public=True),
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

    sizes: list[dict[str, Any]] = [{}, {}, {"T": 1}, {"S": 1}, {"B": 1}, {"B": 1, "T": 1, "S": 1}, {"T": S + 2}]
    sizes += [{"Ch": C}, {"Ch": 1}, {"C": 1}, {"Cy": 1}, {"B": C + 2}, {"T": S}, {"Ch": Cy, "C": Cy}, {"T": 1, "B": 1}]
    whole = torch.ones(B, S, dtype=torch.bool)
    masks = [m for m in any_padding(draw, B, S) if m.any(1).all()]
    short = [inputs(mask=m) for m in masks] + [inputs(B=S, T=S, padded=True), inputs(B=1, mask=whole[:1].tril())]
    long = [inputs(T=n, S=3, dtype=F64, cotangent=True, padded=padded) for n, padded in ((T, True), (11, False))]
    ways: list[dict[str, Any]] = [{}, {"padded": True}, {"padded": True, "cotangent": True}]
    halves = [{"dtype": dtype, **way} for dtype in (BF16, F16) for way in ways]
    return [
        Given("some steps", "values", inputs(), public=True),
        Given("equal widths", "values", inputs(Ch=Cy), public=True),
        Given("one call after the other", "values", calls(*(inputs(**row) for row in sizes))),
        Given("padded source", "mask", inputs(padded=True), public=True),
        Given("padding of every kind", "mask", calls(*short)),
        Given("gradient", "values", inputs(dtype=F64, cotangent=True), public=True),
        Given("gradient, many steps", "values", calls(*long, inputs(T=1, B=1, dtype=F64, cotangent=True))),
        Given("float64", "mask", calls(inputs(dtype=F64, padded=True), inputs(dtype=F64, B=1))),
        Given("16 bits", "values", calls(*(inputs(T=3, **row) for row in halves))),
        Given("as on a card", "values", {**inputs(padded=True), **ON_A_CARD}, public=True),
    ]
