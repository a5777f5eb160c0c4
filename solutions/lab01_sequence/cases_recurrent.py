"""Lab 1's cases of recurrent networks: forward, backward, and the extensions. Sealed, as exercises.py."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given
from mlsys_course import sequence as component

Tensor = torch.Tensor
BF16, F64 = torch.bfloat16, torch.float64


def cell_weights(draw: Draw, Cx: int, C: int, dtype: torch.dtype = torch.float32, gain: float = 1.0) -> dict:
    """w_xh, w_hh and b of a cell whose states neither vanish nor sit at 1."""
    return {
        "w_xh": draw.normal(Cx, C, scale=0.8 * Cx**-0.5, dtype=dtype),
        "w_hh": draw.normal(C, C, scale=gain * C**-0.5, dtype=dtype),
        "b": draw.normal(C, scale=0.5, dtype=dtype),
    }


def right_padding(draw: Draw, B: int, T: int) -> Tensor:
    """(B, T), True at tokens: the first sequence has two steps of padding, the last has none."""
    lengths = draw.integers(B, low=1, high=T + 1)
    lengths[0], lengths[-1] = T - 2, T
    return torch.arange(T) < lengths[:, None]


def rnn_cell(draw: Draw) -> Sequence[Given]:
    B, Cx, C = draw.integer(3, 4), draw.integer(5, 7), draw.integer(3, 4)

    def inputs(B: int = B, Cx: int = Cx, dtype: torch.dtype = torch.float32, large: float = 1.0) -> dict[str, Any]:
        x, h = draw.normal(B, Cx, scale=large, dtype=dtype), draw.uniform(B, C, low=-1, high=1, dtype=dtype)
        return {"x": x, "h": h, **cell_weights(draw, Cx, C, dtype)}

    return [
        Given("batch", "values", inputs(), public=True),
        Given("as wide as the state", "values", inputs(Cx=C), public=True),
        Given("one sequence", "values", inputs(B=1)),
        Given("large inputs", "values", inputs(large=400.0), public=True),
        Given("float64", "precision", inputs(dtype=F64), public=True),
        Given("bfloat16", "precision", inputs(dtype=BF16), public=True),
        Given("bfloat16, one sequence", "precision", inputs(B=1, dtype=BF16)),
        Given("gradient", "gradient", {**inputs(), "cotangent": draw.normal(B, C)}, public=True),
        Given("gradient, other width", "gradient", {**inputs(Cx=C + 1, B=2), "cotangent": draw.normal(2, C)}),
    ]


def rnn(draw: Draw) -> Sequence[Given]:
    B, T, Cx, C = draw.integer(3, 4), draw.integer(5, 6), draw.integer(4, 5), draw.integer(2, 3)

    def inputs(B: int = B, T: int = T, dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        x, h_0 = draw.normal(B, T, Cx, dtype=dtype), draw.uniform(B, C, low=-1, high=1, dtype=dtype)
        return {"x": x, "h_0": h_0, **cell_weights(draw, Cx, C, dtype), **more}

    padded = right_padding(draw, B, T)
    front = padded.flip(1)
    gaps = torch.ones(B, T, dtype=torch.bool)
    gaps[0, 1:3] = gaps[1, 0] = gaps[-1, -1] = False
    none = torch.tensor([[True] * 3, [False] * 3])
    cotangent = draw.normal(B, T, C)
    return [
        Given("sequence", "values", inputs(), public=True),
        Given("longer sequence", "values", inputs(T=T + 4)),
        Given("one token", "values", inputs(T=1), public=True),
        Given("one sequence", "values", inputs(B=1)),
        Given("float64", "values", inputs(dtype=F64), public=True),
        Given("bfloat16", "values", inputs(dtype=BF16, T=4)),
        Given("padding at the end", "padding", inputs(mask=padded), public=True),
        Given("padding in front", "padding", inputs(mask=front), public=True),
        Given("padding anywhere", "padding", inputs(mask=gaps)),
        Given("no token at all", "padding", inputs(B=2, T=3, mask=none)),
        Given("gradient", "gradient", inputs(cotangent=cotangent), public=True),
        Given("gradient, padding", "gradient", inputs(cotangent=cotangent, mask=padded), public=True),
        Given("empty sequence", "empty", inputs(T=0), public=True),
        Given("empty sequences, one", "empty", inputs(B=1, T=0)),
    ]


def rnn_backward(draw: Draw) -> Sequence[Given]:
    B, T, Cx, C = draw.integer(2, 3), draw.integer(4, 6), draw.integer(4, 5), draw.integer(2, 3)

    def inputs(*returns: str, B: int = B, T: int = T, dtype: torch.dtype = F64, last: bool = False) -> dict[str, Any]:
        """With ``last`` the loss depends on the last state only."""
        weights = cell_weights(draw, Cx, C, dtype, gain=1.4)
        x, h_0 = draw.normal(B, T, Cx, dtype=dtype), draw.uniform(B, C, low=-1, high=1, dtype=dtype)
        given = {"x": x, "h_0": h_0, "states": component.rnn(x, h_0, **weights)}
        d_states = draw.normal(B, T, C, dtype=dtype)
        if last:
            d_states[:, :-1] = 0
        del weights["b"]
        return {**given, "d_states": d_states, **weights, "returns": list(returns)}

    weights = ("w_xh", "w_hh", "b")
    return [
        Given("x", "x", inputs("x"), public=True),
        Given("x, last state only", "x", inputs("x", last=True), public=True),
        Given("x, longer", "x", inputs("x", T=T + 5)),
        Given("x, float32", "x", inputs("x", dtype=torch.float32)),
        Given("initial state", "h_0", inputs("h_0"), public=True),
        Given("initial state, last state only", "h_0", inputs("h_0", last=True)),
        Given("initial state, longer", "h_0", inputs("h_0", T=T + 3)),
        Given("weights", "weights", inputs(*weights), public=True),
        Given("weights, longer", "weights", inputs(*weights, T=T + 5)),
        Given("weights, last state only", "weights", inputs(*weights, last=True)),
        Given("weights, float32", "weights", inputs(*weights, dtype=torch.float32)),
        Given("one token", "edges", inputs("x", "h_0", *weights, T=1), public=True),
        Given("one sequence", "edges", inputs("x", "h_0", *weights, B=1)),
    ]


def jacobian_product(draw: Draw) -> Sequence[Given]:
    T, C = draw.integer(5, 6), draw.integer(3, 4)

    def inputs(T: int = T, C: int = C, dtype: torch.dtype = F64, gain: float = 1.3) -> dict[str, Any]:
        weights = cell_weights(draw, C, C, dtype, gain)
        states = component.rnn(draw.normal(1, T, C, dtype=dtype), draw.normal(1, C, dtype=dtype), **weights)
        return {"states": states[0], "w_hh": weights["w_hh"]}

    return [
        Given("sequence", "values", inputs(), public=True),
        Given("other width", "values", inputs(C=C + 2)),
        Given("float32", "values", inputs(dtype=torch.float32)),
        Given("long and exploding", "values", inputs(T=12, C=5, gain=3.5)),
        Given("two tokens", "edges", inputs(T=2), public=True),
        Given("one token", "edges", inputs(T=1), public=True),
        Given("one channel", "edges", inputs(C=1)),
    ]


def lstm_cell(draw: Draw) -> Sequence[Given]:
    B, Cx, C = draw.integer(3, 4), draw.integer(5, 6), draw.integer(3, 4)

    def inputs(
        B: int = B, Cx: int = Cx, C: int = C, dtype: torch.dtype = torch.float32, large: float = 1.0
    ) -> dict[str, Any]:
        shapes = {"w_x": (Cx, 4 * C), "w_h": (C, 4 * C), "b": (4 * C,)}
        weights = {name: draw.normal(*shape, scale=0.7, dtype=dtype) for name, shape in shapes.items()}
        states = {"h": draw.uniform(B, C, low=-1, high=1, dtype=dtype), "c": draw.normal(B, C, scale=1.5, dtype=dtype)}
        return {"x": draw.normal(B, Cx, scale=large, dtype=dtype), **states, **weights}

    return [
        Given("batch", "values", inputs(), public=True),
        Given("one sequence", "values", inputs(B=1)),
        Given("as wide as the state", "values", inputs(Cx=C), public=True),
        Given("large inputs", "values", inputs(large=200.0), public=True),
        Given("float64", "values", inputs(dtype=F64)),
        Given("gradient", "gradient", {**inputs(), "cotangent": draw.normal(B, 2 * C)}, public=True),
        Given("gradient, other width", "gradient", {**inputs(Cx=C + 3), "cotangent": draw.normal(B, 2 * C)}),
        Given("a wide state", "values", inputs(C=draw.integer(7, 9))),
        Given("one channel", "values", inputs(C=1)),
        Given("bfloat16", "values", inputs(dtype=BF16)),
    ]


def bidirectional(draw: Draw) -> Sequence[Given]:
    B, T, Cx, C = draw.integer(2, 3), draw.integer(5, 6), draw.integer(3, 5), draw.integer(2, 3)

    def inputs(
        B: int = B, T: int = T, C_back: int = C, dtype: torch.dtype = torch.float32, **more: Any
    ) -> dict[str, Any]:
        ways = {"forward": cell_weights(draw, Cx, C, dtype), "backward": cell_weights(draw, Cx, C_back, dtype)}
        weights = {f"{way}_{name}": w for way, cell in ways.items() for name, w in cell.items()}
        return {"x": draw.normal(B, T, Cx, dtype=dtype), **weights, **more}

    return [
        Given("sequence", "values", inputs(), public=True),
        Given("two widths", "values", inputs(C_back=C + 1), public=True),
        Given("one token", "values", inputs(T=1)),
        Given("padding", "padding", inputs(mask=right_padding(draw, B, T)), public=True),
        Given("padding, other lengths", "padding", inputs(mask=right_padding(draw, B, T + 2), T=T + 2)),
        Given("float64", "values", inputs(dtype=F64)),
    ]


def multi_layer(draw: Draw) -> Sequence[Given]:
    B, T, Cx, C = draw.integer(2, 3), draw.integer(4, 5), draw.integer(4, 5), draw.integer(2, 3)

    def inputs(*widths: int, T: int = T, dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        layers = [list(cell_weights(draw, a, b, dtype).values()) for a, b in pairwise(widths)]
        return {"x": draw.normal(B, T, widths[0], dtype=dtype), "layers": layers, **more}

    return [
        Given("two layers", "values", inputs(Cx, C + 1, C), public=True),
        Given("three layers of one width", "values", inputs(C, C, C, C), public=True),
        Given("three widths", "values", inputs(Cx, C, C + 2, C + 1)),
        Given("one layer", "values", inputs(Cx, C)),
        Given("padding", "padding", inputs(C, C, C, mask=right_padding(draw, B, T)), public=True),
        Given("padding, three layers", "padding", inputs(Cx, C, C, C, mask=right_padding(draw, B, T))),
        Given("float64", "values", inputs(Cx, C, C + 1, dtype=F64)),
    ]


def clip_by_norm(draw: Draw) -> Sequence[Given]:
    def inputs(share: float, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> dict[str, Any]:
        """A bound of ``share`` times the norm."""
        shapes = {"w": (draw.integer(3, 5), 4), "u": (2, 3), "b": (draw.integer(3, 6),)}
        gradients = {name: draw.normal(*shape, scale=scale, dtype=dtype) for name, shape in shapes.items()}
        norm = sum(g.double().square().sum().item() for g in gradients.values()) ** 0.5
        return {"gradients": gradients, "max_norm": share * norm}

    zero = {"gradients": {"w": torch.zeros(2, 3), "b": torch.zeros(3)}, "max_norm": 1.0}
    return [
        Given("too large", "clipped", inputs(0.3), public=True),
        Given("much too large", "clipped", inputs(0.01, scale=50.0)),
        Given("float16, large entries", "clipped", inputs(0.5, dtype=torch.float16, scale=150.0), public=True),
        Given("bfloat16", "clipped", inputs(0.5, dtype=BF16)),
        Given("small enough", "as it is", inputs(2.5), public=True),
        Given("small enough, less than 1", "as it is", inputs(1.5, scale=0.01)),
        Given("zero", "as it is", zero, public=True),
        Given("one number", "clipped", {"gradients": {"s": draw.normal(1).reshape(()) + 9}, "max_norm": 2.0}),
    ]
