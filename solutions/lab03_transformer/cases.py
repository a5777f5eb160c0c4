"""Lab 3's cases of norms, feed-forward networks and blocks. Sealed."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given, calls

Tensor = torch.Tensor
BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64


def with_cotangent(draw: Draw, inputs: dict[str, Any], scale: float = 1.0) -> dict[str, Any]:
    """The inputs of a call whose gradients are asked for."""
    return {**inputs, "cotangent": draw.normal(*inputs["x"].shape, scale=scale, dtype=inputs["x"].dtype)}


def again(draw: Draw, inputs: Any, C: int, **more: Any) -> dict[str, Any]:
    """Calls with other numbers of one shape, then other shapes, axes of size 1 and of T = C, and another layout."""
    shapes = [(2, 3), (2, 3), (3, C), (1, 1), (2, 1, 2), ()]
    found = [inputs(*shape, C, **more) for shape in shapes]
    return calls(*found, with_cotangent(draw, inputs(2, 3, C, **more)), {**inputs(2, 3, C, **more), "strided": True})


def tiny(inputs: Any, T: int, C: int) -> dict[str, Any]:
    """Numbers whose squares are as small as an epsilon that nobody would leave out, or has none beside them."""
    return calls(*(inputs(T, C, scale=1e-4, shift=0.0, dtype=F64, epsilon=epsilon) for epsilon in (0.0, 1e-9, 1e-5)))


def halves(draw: Draw, inputs: Any, T: int, C: int, dtype: torch.dtype) -> dict[str, Any]:
    """In 16 bits with the gradient, twice, and without."""
    return calls(*(with_cotangent(draw, inputs(T, C, dtype=dtype)) for _ in range(2)), inputs(T, C, dtype=dtype))


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

    def far(rows: int, dtype=torch.float32, size: int = 32, low: int = 3000, **more: Any) -> dict[str, Any]:
        """Whole numbers far from 0, tokens on both sides: mean and deviations are exact, squares are not."""
        side = torch.tensor([[1.0], [-1.0]]).repeat(rows, 1)[:rows]
        x = draw.integers(rows, 16, low=-size, high=size) + draw.integer(low, low + low // 3) * side
        return {**inputs(rows, 16, dtype=dtype, **more), "x": x.to(dtype)}

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
        Given("very small numbers", "epsilon", tiny(inputs, T, C)),
        Given("all channels equal", "epsilon", constant),
        Given("far from zero", "stability", far(T), public=True),
        Given("far from zero, one token", "stability", calls(*(far(1) for _ in range(4)))),
        Given("gradient", "gradient", inputs(B, T, C, cotangent=draw.normal(B, T, C)), public=True),
        Given("gradient, epsilon", "gradient", inputs(T, C, epsilon=0.5, cotangent=draw.normal(T, C))),
        Given("bfloat16", "precision", inputs(B, T, 64, shift=draw.number(40, 60), dtype=BF16), public=True),
        Given("float16", "precision", inputs(T, 16, scale=400.0, dtype=F16), public=True),
        Given("bfloat16, many channels", "precision", inputs(2, 256, shift=draw.number(40, 60), dtype=BF16)),
        Given("bfloat16, gradient", "precision", halves(draw, inputs, T, C, BF16)),
        Given("float16, gradient", "precision", calls(*halves(draw, inputs, T, C, F16)["each"], far(T, F16, 4, 300))),
        Given("one channel", "values", inputs(T, 1)),
        Given("one call after the other", "values", again(draw, inputs, C)),
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
        Given("very small numbers", "epsilon", tiny(inputs, T, C)),
        Given("zeros", "epsilon", zeros),
        Given("gradient", "gradient", inputs(B, T, C, cotangent=draw.normal(B, T, C)), public=True),
        Given("gradient, epsilon", "gradient", inputs(T, C, epsilon=0.5, cotangent=draw.normal(T, C))),
        Given("float16", "precision", inputs(T, 16, scale=400.0, dtype=F16), public=True),
        Given("bfloat16", "precision", calls(inputs(B, T, 16, dtype=BF16), inputs(2, 1024, dtype=BF16))),
        Given("bfloat16, gradient", "precision", halves(draw, inputs, T, C, BF16)),
        Given("float16, gradient", "precision", halves(draw, inputs, T, C, F16)),
        Given("float16, many channels", "precision", inputs(2, 128, scale=500.0, dtype=F16)),
        Given("one channel", "values", inputs(T, 1)),
        Given("one call after the other", "values", again(draw, inputs, C)),
        Given("gradient at zeros", "gradient", {**zeros, "cotangent": draw.normal(2, C)}),
    ]


def feed_forward_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 5), draw.integer(4, 6)

    def inputs(*leading: int, width: int = 0, dtype=torch.float32, **more: Any) -> dict[str, Any]:
        width = width or 3 * C
        shapes = {"x": (*leading, C), "w_1": (C, width), "b_1": (width,), "w_2": (width, C), "b_2": (C,)}
        scales = {"w_1": C**-0.5, "w_2": width**-0.5}
        return {n: draw.normal(*s, scale=scales.get(n, 1.0), dtype=dtype) for n, s in shapes.items()} | more

    def of_shape(leading: Sequence[int], dtype=torch.float32, cotangent: bool = False, **more: Any) -> dict[str, Any]:
        given = inputs(*leading, dtype=dtype, **more)
        return with_cotangent(draw, given) if cotangent else given

    def at_zero(**more: Any) -> dict[str, Any]:
        """A token of zeros, and a unit that it leaves at 0: both GELUs have a slope there."""
        given = with_cotangent(draw, inputs(T, **more))
        given["x"][0], given["b_1"][0] = 0.0, 0.0
        return given

    gelu, tanh = {"activation": "gelu"}, {"activation": "gelu_tanh"}
    leading = [[T], [], [1], [B, T], [1, 1], [2, B, 1]]
    shapes: dict[str, Sequence[Any]] = {"activation": ["relu", "gelu", "gelu_tanh"], "leading": leading}
    shapes |= {"width": [3 * C, C, 1], "cotangent": [False, True]}
    bfloat16 = {"activation": shapes["activation"], "leading": [[T], [], [B, T]], "cotangent": [False, True]}
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
        Given("gradient, gelu", "gradient", calls(inputs(T, cotangent=draw.normal(T, C), **gelu), at_zero(**gelu))),
        Given("bfloat16", "precision", inputs(B, T, dtype=BF16), public=True),
        Given("bfloat16, gelu", "precision", inputs(T, dtype=BF16, **gelu)),
        Given(
            "gradient, gelu by tanh", "gradient", calls(inputs(T, cotangent=draw.normal(T, C), **tanh), at_zero(**tanh))
        ),
        Given("bfloat16, all of it", "precision", calls(*(of_shape(**row, dtype=BF16) for row in crossed(bfloat16)))),
        Given("float16", "precision", calls(*(of_shape(**row, dtype=F16) for row in crossed(bfloat16)))),
        Given(
            "all of it", "relu", calls(*(of_shape(**row) for row in crossed(shapes)), inputs(B, T) | {"strided": True})
        ),
    ]


def swiglu_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 5), draw.integer(4, 6)

    def inputs(*leading: int, width: int = 0, gate: float = 1.5, dtype=torch.float32, **more: Any) -> dict[str, Any]:
        width = width or 3 * C
        shapes = {"x": (*leading, C), "w_gate": (C, width), "w_up": (C, width), "w_down": (width, C)}
        scales = {"w_gate": gate * C**-0.5, "w_up": C**-0.5, "w_down": width**-0.5}
        return {n: draw.normal(*s, scale=scales.get(n, 1.0), dtype=dtype) for n, s in shapes.items()} | more

    def inputs_of(*shape: int) -> dict[str, Any]:
        return inputs(*shape[:-1])

    def saturated(*leading: int) -> dict[str, Any]:
        """Gates of some hundreds, exact in float32; the gradient goes to their matrix too."""
        given = inputs(*leading, cotangent=draw.normal(*leading, C))
        given["w_gate"] = draw.integers(C, 3 * C, low=-60, high=61).float()
        given["x"] = draw.integers(*leading, C, low=-4, high=5).float()
        given["x"][..., 0] = 4.0
        return {**given, "w_up": 0.05 * given["w_up"], "w_down": 0.05 * given["w_down"]}

    def halves_saturated(dtype: torch.dtype) -> dict[str, Any]:
        """Gates up to 480 that 16 bits hold exactly; all else has one sign, so that no order of sums loses digits."""
        given = inputs(1, dtype=dtype, cotangent=draw.uniform(1, C, low=0.5, high=1.0).to(dtype))
        given["w_gate"] = (8 * draw.integers(C, 3 * C, low=-3, high=4)).to(dtype)
        given["w_gate"][:, :2] = torch.tensor([24.0, -24.0])
        given["x"] = torch.full((1, C), 4.0, dtype=dtype)
        given |= {name: (0.05 * given[name].abs()).to(dtype) for name in ("w_up", "w_down")}
        return given

    def at_zero() -> dict[str, Any]:
        """A token of zeros: its gates are 0, and have a slope."""
        given = with_cotangent(draw, inputs(T))
        given["x"][0] = 0.0
        return given

    def narrow(dtype: torch.dtype) -> list[dict[str, Any]]:
        return [
            *(with_cotangent(draw, inputs(*leading, dtype=dtype)) for leading in ([2], [1, 2])),
            inputs(dtype=dtype),
        ]

    return [
        Given("batch", "values", inputs(B, T), public=True),
        Given("one token", "values", inputs(), public=True),
        Given("as wide as x", "values", inputs(B, T, width=C), public=True),
        Given("float64", "precision", inputs(T, dtype=F64), public=True),
        Given("large gates", "stability", saturated(T), public=True),
        Given("large gates, batch", "stability", saturated(B, T)),
        Given("gradient", "gradient", inputs(B, T, cotangent=draw.normal(B, T, C)), public=True),
        Given("gradient, one token", "gradient", calls(inputs(cotangent=draw.normal(C)), at_zero())),
        Given("bfloat16", "precision", inputs(B, T, dtype=BF16), public=True),
        Given("bfloat16, one token", "precision", calls(inputs(1, dtype=BF16), *narrow(BF16))),
        Given("float16", "precision", calls(*narrow(F16), inputs(B, T, dtype=F16))),
        Given("large gates, 16 bits", "stability", calls(halves_saturated(BF16), halves_saturated(F16))),
        Given("one call after the other", "values", again(draw, inputs_of, C)),
    ]


def block_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 5), draw.integer(4, 6)

    def inputs(position: str, count: int = 2, dtype=torch.float32, **more: Any) -> dict[str, Any]:
        weights = draw.normal(count, C, C, scale=C**-0.5, dtype=dtype)
        stretch = draw.uniform(count, C, low=0.5, high=1.5).to(dtype)
        x = draw.normal(B, T, C, dtype=dtype)
        return {"x": x, "weights": weights, "stretch": stretch, "norm_position": position, **more}

    counts: dict[str, Sequence[Any]] = {"position": ["pre", "post"], "count": [0, 1, 2, 3, 5], "modules": [False, True]}

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
        Given("any number, either", "edges", calls(*(inputs(**row) for row in crossed(counts)))),
    ]
