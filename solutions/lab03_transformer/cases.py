"""Lab 3's cases of norms, feed-forward networks and blocks. Sealed."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given

Tensor = torch.Tensor
BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64


def layer_norm_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 5), draw.choice([6, 8, 10])

    def inputs(*shape: int, scale: float = 2.0, shift: float = 1.5, dtype=torch.float32, **more: Any) -> dict[str, Any]:
        x = (draw.normal(*shape, dtype=F64, scale=scale) + shift).to(dtype)
        return {
            "x": x,
            "gain": draw.normal(shape[-1], dtype=dtype),
            "bias": draw.normal(shape[-1], dtype=dtype),
            **more,
        }

    def far(rows: int) -> dict[str, Any]:
        """Whole numbers around some thousands: mean and deviations are exact in float32, squares are not."""
        x = draw.integers(rows, 16, low=-8, high=8) + draw.integer(3000, 4000)
        return {**inputs(rows, 16), "x": x.float()}

    constant = inputs(2, C)
    constant["x"] = torch.full((2, C), float(draw.integer(2, 9)))
    small = {"scale": 0.05, "shift": 0.0}
    return [
        Given("batch", "values", inputs(B, T, C), public=True),
        Given("one token", "values", inputs(C), public=True),
        Given("four dimensions", "values", inputs(2, B, T, C + 1)),
        Given("float64", "values", inputs(B, C, dtype=F64), public=True),
        Given("epsilon", "epsilon", inputs(T, C, epsilon=draw.number(0.2, 0.6)), public=True),
        Given("small numbers", "epsilon", inputs(B, T, C, epsilon=draw.number(0.001, 0.004), **small)),
        Given("all channels equal", "epsilon", constant),
        Given("far from zero", "stability", far(T), public=True),
        Given("far from zero, one token", "stability", far(1)),
        Given("gradient", "gradient", inputs(B, T, C, cotangent=draw.normal(B, T, C)), public=True),
        Given("gradient, epsilon", "gradient", inputs(T, C, epsilon=0.5, cotangent=draw.normal(T, C))),
        Given("bfloat16", "precision", inputs(B, T, 64, shift=draw.number(40, 60), dtype=BF16), public=True),
        Given("float16", "precision", inputs(T, 16, scale=400.0, dtype=F16), public=True),
        Given("bfloat16, many channels", "precision", inputs(2, 256, shift=draw.number(40, 60), dtype=BF16)),
        Given("one channel", "values", inputs(T, 1)),
        Given("gradient, all channels equal", "gradient", {**constant, "cotangent": draw.normal(2, C)}),
    ]


def rms_norm_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 5), draw.choice([6, 8, 10])

    def inputs(*shape: int, scale: float = 2.0, shift: float = 1.5, dtype=torch.float32, **more: Any) -> dict[str, Any]:
        x = (draw.normal(*shape, dtype=F64, scale=scale) + shift).to(dtype)
        return {"x": x, "gain": draw.normal(shape[-1], dtype=dtype), **more}

    small = {"scale": 0.05, "shift": 0.0}
    zeros = inputs(2, C)
    zeros["x"] = torch.zeros(2, C)
    return [
        Given("batch", "values", inputs(B, T, C), public=True),
        Given("one token", "values", inputs(C), public=True),
        Given("four dimensions", "values", inputs(2, B, T, C + 1)),
        Given("float64", "values", inputs(B, C, dtype=F64), public=True),
        Given("epsilon", "epsilon", inputs(T, C, epsilon=draw.number(0.2, 0.6)), public=True),
        Given("small numbers", "epsilon", inputs(B, T, C, epsilon=draw.number(0.001, 0.004), **small)),
        Given("zeros", "epsilon", zeros),
        Given("gradient", "gradient", inputs(B, T, C, cotangent=draw.normal(B, T, C)), public=True),
        Given("gradient, epsilon", "gradient", inputs(T, C, epsilon=0.5, cotangent=draw.normal(T, C))),
        Given("float16", "precision", inputs(T, 16, scale=400.0, dtype=F16), public=True),
        Given("bfloat16", "precision", inputs(B, T, 16, dtype=BF16)),
        Given("float16, many channels", "precision", inputs(2, 128, scale=500.0, dtype=F16)),
        Given("one channel", "values", inputs(T, 1)),
        Given("gradient at zeros", "gradient", {**zeros, "cotangent": draw.normal(2, C)}),
    ]


def feed_forward_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 5), draw.integer(4, 6)

    def inputs(*leading: int, width: int = 0, dtype=torch.float32, **more: Any) -> dict[str, Any]:
        width = width or 3 * C
        shapes = {"x": (*leading, C), "w_1": (C, width), "b_1": (width,), "w_2": (width, C), "b_2": (C,)}
        scales = {"w_1": C**-0.5, "w_2": width**-0.5}
        return {n: draw.normal(*s, scale=scales.get(n, 1.0), dtype=dtype) for n, s in shapes.items()} | more

    def of_shape(leading: Sequence[int], **more: Any) -> dict[str, Any]:
        return inputs(*leading, dtype=BF16, **more)

    gelu, tanh = {"activation": "gelu"}, {"activation": "gelu_tanh"}
    shapes: dict[str, Sequence[Any]] = {"activation": ["relu", "gelu", "gelu_tanh"], "leading": [[T], [], [B, T]]}
    return [
        Given("batch", "relu", inputs(B, T), public=True),
        Given("one token", "relu", inputs(), public=True),
        Given("narrow", "relu", inputs(T, width=C - 2, activation="relu")),
        Given("float64", "relu", inputs(B, T, dtype=F64)),
        Given("gelu", "gelu", inputs(B, T, **gelu), public=True),
        Given("gelu, float64", "gelu", inputs(T, dtype=F64, **gelu), public=True),
        Given("gelu, one token", "gelu", inputs(**gelu)),
        Given("gelu by tanh", "gelu", inputs(B, T, **tanh), public=True),
        Given("gelu by tanh, float64", "gelu", inputs(T, dtype=F64, **tanh), public=True),
        Given("gradient", "gradient", inputs(B, T, cotangent=draw.normal(B, T, C)), public=True),
        Given("gradient, gelu", "gradient", inputs(T, cotangent=draw.normal(T, C), **gelu)),
        Given("bfloat16", "precision", inputs(B, T, dtype=BF16), public=True),
        Given("bfloat16, gelu", "precision", inputs(T, dtype=BF16, **gelu)),
        Given("gradient, gelu by tanh", "gradient", inputs(T, cotangent=draw.normal(T, C), **tanh)),
        Given("bfloat16, all of it", "precision", {"each": [of_shape(**row) for row in crossed(shapes)]}),
    ]


def swiglu_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 5), draw.integer(4, 6)

    def inputs(*leading: int, width: int = 0, gate: float = 1.5, dtype=torch.float32, **more: Any) -> dict[str, Any]:
        width = width or 3 * C
        shapes = {"x": (*leading, C), "w_gate": (C, width), "w_up": (C, width), "w_down": (width, C)}
        scales = {"w_gate": gate * C**-0.5, "w_up": C**-0.5, "w_down": width**-0.5}
        return {n: draw.normal(*s, scale=scales.get(n, 1.0), dtype=dtype) for n, s in shapes.items()} | more

    def saturated(*leading: int) -> dict[str, Any]:
        """Gates of some hundreds, exact in float32; the gradient goes to their matrix too."""
        given = inputs(*leading, cotangent=draw.normal(*leading, C))
        given["w_gate"] = draw.integers(C, 3 * C, low=-60, high=61).float()
        given["x"] = draw.integers(*leading, C, low=-4, high=5).float()
        given["x"][..., 0] = 4.0
        return {**given, "w_up": 0.05 * given["w_up"], "w_down": 0.05 * given["w_down"]}

    return [
        Given("batch", "values", inputs(B, T), public=True),
        Given("one token", "values", inputs(), public=True),
        Given("as wide as x", "values", inputs(B, T, width=C), public=True),
        Given("float64", "precision", inputs(T, dtype=F64), public=True),
        Given("large gates", "stability", saturated(T), public=True),
        Given("large gates, batch", "stability", saturated(B, T)),
        Given("gradient", "gradient", inputs(B, T, cotangent=draw.normal(B, T, C)), public=True),
        Given("gradient, one token", "gradient", inputs(cotangent=draw.normal(C))),
        Given("bfloat16", "precision", inputs(B, T, dtype=BF16), public=True),
        Given("bfloat16, one token", "precision", inputs(1, dtype=BF16)),
    ]


def block_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 5), draw.integer(4, 6)

    def inputs(position: str, count: int = 2, dtype=torch.float32, **more: Any) -> dict[str, Any]:
        weights = draw.normal(count, C, C, scale=C**-0.5, dtype=dtype)
        stretch = draw.uniform(count, C, low=0.5, high=1.5).to(dtype)
        x = draw.normal(B, T, C, dtype=dtype)
        return {"x": x, "weights": weights, "stretch": stretch, "norm_position": position, **more}

    counts: dict[str, Sequence[Any]] = {"position": ["pre", "post"], "count": [0, 1, 2, 3]}

    return [
        Given("pre", "pre", inputs("pre"), public=True),
        Given("pre, float64", "pre", inputs("pre", dtype=F64)),
        Given("pre, gradient", "gradient", inputs("pre", cotangent=draw.normal(B, T, C)), public=True),
        Given("post", "post", inputs("post"), public=True),
        Given("post, float64", "post", inputs("post", dtype=F64)),
        Given("post, gradient", "gradient", inputs("post", cotangent=draw.normal(B, T, C))),
        Given("three sublayers, pre", "edges", inputs("pre", 3), public=True),
        Given("three sublayers, post", "edges", inputs("post", 3)),
        Given("one sublayer", "edges", inputs(draw.choice(["pre", "post"]), 1)),
        Given("no sublayer", "edges", inputs("pre", 0), public=True),
        Given("any number, either", "edges", {"each": [inputs(**row) for row in crossed(counts)]}),
    ]
