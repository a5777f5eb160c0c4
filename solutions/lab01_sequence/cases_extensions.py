"""Lab 1's cases of the extensions around recurrent networks. Sealed, as exercises.py."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls

from .cases_recurrent import BF16, F16, F64, any_padding, cell_weights, right_padding, saturated

Tensor = torch.Tensor


def lstm_cell(draw: Draw) -> Sequence[Given]:
    B, Cx, C = draw.integer(3, 4), draw.integer(5, 6), draw.integer(3, 4)

    def inputs(
        B: int = B, Cx: int = Cx, C: int = C, dtype: torch.dtype = torch.float32, large: float = 1.0,
        memory: float = 1.5, **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        shapes = {"w_x": (Cx, 4 * C), "w_h": (C, 4 * C), "b": (4 * C,)}
        weights = {name: draw.normal(*shape, scale=0.7, dtype=dtype) for name, shape in shapes.items()}
        h, c = draw.uniform(B, C, low=-1, high=1, dtype=dtype), draw.normal(B, C, scale=memory, dtype=dtype)
        return {"x": draw.normal(B, Cx, scale=large, dtype=dtype), "h": h, "c": c, **weights, **more}

    def differentiated(given: dict[str, Any]) -> dict[str, Any]:
        B, C = given["h"].shape
        return {**given, "cotangent": draw.normal(B, 2 * C, dtype=given["h"].dtype)}

    def hundreds(dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        return saturated(draw, inputs(dtype=dtype, **more), "w_x")

    def halves(dtype: torch.dtype) -> list[dict[str, Any]]:
        return [inputs(B=1, dtype=dtype), differentiated(hundreds(dtype))]

    others = [inputs(again=True), inputs(C=draw.integer(7, 9)), inputs(1, 1, 1), inputs(B=C, Cx=C), inputs(B=4 * C)]
    others += [inputs(memory=30.0, strided=True), hundreds()]
    slopes = [inputs(Cx=C + 3, memory=30.0), inputs(B=1, C=1), hundreds()]
    precise = [inputs(dtype=F64, memory=30.0), inputs(dtype=F64, large=600.0)]
    return [
        Given("batch", "values", inputs(), public=True),
        Given("as wide as the state", "values", inputs(Cx=C), public=True),
        Given("large inputs", "values", inputs(large=200.0), public=True),
        Given("one call after the other", "values", calls(*others)),
        Given("16 bits", "values", calls(*halves(BF16), *halves(F16))),
        Given("gradient", "gradient", differentiated(inputs()), public=True),
        Given("gradients, one after the other", "gradient", calls(*map(differentiated, slopes))),
        Given("gradient, float64", "gradient", calls(*map(differentiated, precise))),
    ]


def lengths_of(draw: Draw, B: int, T: int) -> list[Tensor]:
    """(B, T) each, True at tokens, a token and more in a row, padding behind: short and long in every order."""
    counts = [1 + n * (T - 1) // max(1, B - 1) for n in range(B)]
    orders = [counts, counts[::-1], draw.shuffled(counts), [1] * B, [T] * B, [max(1, T - 2)] * B]
    return [torch.arange(T) < torch.tensor(each)[:, None] for each in orders]


def bidirectional(draw: Draw) -> Sequence[Given]:
    B, T, Cx, C = draw.integer(2, 3), draw.integer(5, 6), draw.integer(3, 5), draw.integer(2, 3)

    def inputs(
        B: int = B, T: int = T, C_back: int = C, C: int = C, dtype: torch.dtype = torch.float32, **more: Any
    ) -> dict[str, Any]:
        ways = {"forward": cell_weights(draw, Cx, C, dtype), "backward": cell_weights(draw, Cx, C_back, dtype)}
        weights = {f"{way}_{name}": w for way, cell in ways.items() for name, w in cell.items()}
        return {"x": draw.normal(B, T, Cx, dtype=dtype), **weights, **more}

    def short(**more: Any) -> dict[str, Any]:
        return inputs(mask=right_padding(draw, B, T), **more)

    sizes = [inputs(1, 1), inputs(C=C + 2), inputs(T + 1, T + 1, C_back=1), inputs(C=Cx, C_back=Cx)]
    lengths = [*lengths_of(draw, 4, T)[:3], lengths_of(draw, 2, T)[5]]
    padded = [inputs(len(mask), T, C_back=C + 1, mask=mask) for mask in lengths]
    padded += [inputs(1, T, C=C + 1, mask=torch.arange(T)[None] < T - 2)]
    halves = [short(dtype=dtype) for dtype in (BF16, F16)]
    return [
        Given("sequence", "values", inputs(), public=True),
        Given("two widths", "values", inputs(C_back=C + 1), public=True),
        Given("one call after the other", "values", calls(*sizes)),
        Given("padding", "padding", short(), public=True),
        Given("padding of every length", "padding", calls(*padded)),
        Given("float64", "values", calls(inputs(dtype=F64), short(dtype=F64))),
        Given("16 bits", "values", calls(*halves)),
    ]


def multi_layer(draw: Draw) -> Sequence[Given]:
    B, T, Cx, C = draw.integer(2, 3), draw.integer(4, 5), draw.integer(4, 5), draw.integer(2, 3)

    def inputs(*widths: int, B: int = B, T: int = T, dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        layers = [list(cell_weights(draw, a, b, dtype).values()) for a, b in pairwise(widths)]
        return {"x": draw.normal(B, T, widths[0], dtype=dtype), "layers": layers, **more}

    stacks = [(Cx, C + 1, C), (Cx, C, C + 2, C + 1), (C, C + 2), (C,) * 5]
    masks = any_padding(draw, B, T)
    sizes = [*(inputs(*stack) for stack in stacks[:3]), inputs(1, 1, 1, B=1, T=1)]
    padded = [inputs(Cx, C, C, mask=mask) for mask in (masks[2], masks[5])]
    padded += [inputs(*stack, mask=masks[3]) for stack in stacks[1:]]
    padded += [inputs(C, C, C, B=T, mask=draw.booleans(T, T))]
    narrow = [inputs(Cx, C, C + 1, dtype=dtype, mask=masks[0]) for dtype in (BF16, F16)]
    return [
        Given("two layers", "values", inputs(Cx, C + 1, C), public=True),
        Given("three layers of one width", "values", inputs(C, C, C, C), public=True),
        Given("one call after the other", "values", calls(*sizes)),
        Given("padding", "padding", inputs(C, C, C, mask=right_padding(draw, B, T)), public=True),
        Given("padding of every kind", "padding", calls(*padded)),
        Given("float64", "values", calls(inputs(Cx, C, C + 1, dtype=F64), inputs(C, C, dtype=F64, mask=masks[0]))),
        Given("16 bits", "values", calls(*narrow)),
    ]


def clip_by_norm(draw: Draw) -> Sequence[Given]:
    def inputs(
        share: float, dtype: torch.dtype = torch.float32, scale: float = 1.0, zero: str = "", **more: Any
    ) -> dict[str, Any]:
        """A bound of ``share`` times the norm; ``zero`` names a gradient that is 0, and ``more`` are further shapes."""
        shapes = {"w": (draw.integer(3, 5), 4), "u": (2, 3), "b": (draw.integer(3, 6),), **more}
        gradients = {name: draw.normal(*shape, scale=scale, dtype=dtype) for name, shape in shapes.items()}
        if zero:
            gradients[zero].zero_()
        norm = sum(g.double().square().sum().item() for g in gradients.values()) ** 0.5
        return {"gradients": gradients, "max_norm": share * norm}

    def nothing(dtype: torch.dtype, max_norm: float = 1.0) -> dict[str, Any]:
        return {
            "gradients": {"w": torch.zeros(2, 3, dtype=dtype), "b": torch.zeros(3, dtype=dtype)},
            "max_norm": max_norm,
        }

    def alone(dtype: torch.dtype = torch.float32, max_norm: float = 2) -> dict[str, Any]:
        return {"gradients": {"s": (draw.normal(1).reshape(()) + 9).to(dtype)}, "max_norm": max_norm}

    more: dict[str, Any] = {"s": (1,), "a": (2, 1, 3), "d": (1, 1)}
    others = [inputs(0.01, scale=50.0), inputs(0.3, **more), alone(), *(inputs(0.4, zero=name) for name in "wub")]
    precise = [inputs(0.5, F64), inputs(0.9, F64, 1e-4), inputs(0.5, F64, zero="w"), alone(F64), inputs(0.999, F64)]
    large = [inputs(0.5, F16, 150.0), inputs(0.1, F16, 5000.0), inputs(0.5, F16, a=(40, 40)), alone(F16)]
    small = [inputs(1.5), inputs(1.5, scale=0.01), inputs(40.0, **more), inputs(1.5, zero="u"), alone(max_norm=20)]
    return [
        Given("too large", "clipped", inputs(0.3), public=True),
        Given("one call after the other", "clipped", calls(*others)),
        Given("float16, large entries", "clipped", inputs(0.5, dtype=F16, scale=150.0), public=True),
        Given("float16", "clipped", calls(*large)),
        Given("bfloat16", "clipped", calls(nothing(BF16), inputs(0.5, BF16, a=(40, 40)), alone(BF16))),
        Given("float64", "clipped", calls(*precise)),
        Given("small enough", "as it is", inputs(2.5), public=True),
        Given("small enough, one call after the other", "as it is", calls(*small, inputs(0.5))),
        Given("zero", "as it is", nothing(torch.float32), public=True),
        Given("zero, float64", "as it is", calls(nothing(F64, 1e-3), inputs(1.5, F64), inputs(1.0 + 1e-6, F64, 1e-3))),
    ]
