"""Lab 5, sealed: cases of what is built on the engine: the weight update, and checking gradients."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

from .cases_gradient import F64, normal
from .cases_kinds import several


def adamw_cases(draw: Draw) -> Sequence[Given]:
    def case(
        name: str,
        aspect: str,
        returns,
        steps=3,
        shape=(2, 3),
        public=False,
        scale=1.0,
        dtype=F64,
        still=False,
        **changed: float,
    ) -> Given:
        settings = {
            "lr": draw.number(0.05, 0.2),
            "beta1": draw.number(0.7, 0.9),
            "beta2": draw.number(0.92, 0.97),
            "epsilon": 1e-8,
            "weight_decay": 0.0,
        }
        gradients = [(normal(draw, *shape) * scale).to(dtype) for _ in range(steps)]
        if still:
            for one in gradients:
                one.view(-1)[0] = 0
        inputs = {"weight": (normal(draw, *shape) + 2).to(dtype), "gradients": gradients, "returns": list(returns)}
        return Given(name, aspect, {**inputs, "settings": {**settings, **changed}}, public)

    every = ["weight", "m", "v"]
    others = [
        case("", "", ["weight"], 3, (3,), beta2=0.0),
        case("", "", ["weight"], 3, (4,), still=True, epsilon=draw.number(0.1, 0.3)),
    ]
    return [
        case("moments", "moments", ["m", "v"], public=True),
        case("moments, large gradients", "moments", ["m", "v"], 4, (5,), scale=30.0),
        case("moments without axes", "moments", ["m", "v"], 2, ()),
        case("first step", "update", ["weight"], 1, public=True),
        case("several steps", "update", ["weight"], 5, public=True),
        case("small gradients", "update", ["weight"], 3, public=True, scale=1e-3, epsilon=1e-2),
        case("small gradients, other epsilon", "update", ["weight"], 4, (4,), scale=1e-4, epsilon=2e-4),
        case("betas of 0", "update", ["weight"], 3, public=True, beta1=0.0, beta2=0.0),
        case("one beta of 0", "update", ["weight"], 2, beta1=0.0),
        case("decay", "decay", ["weight"], 3, public=True, weight_decay=0.4),
        case("decay, all", "decay", every, 4, weight_decay=draw.number(0.5, 0.9)),
        case("decay, small gradients", "decay", every, 2, (3,), scale=1e-2, weight_decay=0.7, epsilon=1e-3),
        case("float32", "update", ["weight"], 3, dtype=torch.float32),
        several("the other beta of 0, and an entry without a gradient", "update", [one.inputs for one in others]),
        case("decay without axes", "decay", every, 3, (), weight_decay=draw.number(0.2, 0.6)),
        case("float32, decay", "decay", every, 2, (3, 1), dtype=torch.float32, weight_decay=0.5),
    ]


def check_cases(draw: Draw) -> Sequence[Given]:
    def case(name: str, aspect: str, function: str, x: torch.Tensor, public: bool = False, unit: float | None = None):
        c = draw.uniform(*x.shape, low=0.5, high=2.0, dtype=F64)
        right = true_gradient(function, x, c)
        inputs: dict[str, Any] = {"function": function, "coefficients": c, "x": x}
        if unit:
            return Given(name, aspect, {**inputs, "claimed": [right], "unit": unit}, public)
        return Given(name, aspect, {**inputs, "claimed": draw.shuffled([right, *wrong_gradients(draw, right)])}, public)

    def x(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return normal(draw, *shape) * scale

    others = [
        case("", "", "large entries", -x(3, scale=1e4).abs() - 3e4, unit=1e-3),
        case("", "", "neighbours", x(1, 1), unit=1.0),
    ]
    return [
        case("sines", "differences", "sines", x(2, 3), True, 1.0),
        case("neighbours", "differences", "neighbours", x(4), True, 1.0),
        case("product", "differences", "product", x(3) + 2, unit=1.0),
        case("tiny values", "differences", "tiny", x(3), unit=1e-9),
        case("large entries", "differences", "large entries", x(3, scale=1e4) + 3e4, unit=1e-3),
        case("no axes", "differences", "sines", x(), unit=1.0),
        several("large negative entries, and a single one", "differences", [one.inputs for one in others]),
        case("a step that shows", "differences", "cubes", x(4, scale=1e-5), unit=1e-10),
        case("sines, judged", "verdict", "sines", x(5), True),
        case("quadratic, judged", "verdict", "quadratic", x(2, 2), True),
        case("tiny values, judged", "verdict", "tiny", x(4), True),
        case("constant, judged", "verdict", "constant", x(3)),
        case("large entries, judged", "verdict", "large entries", x(3, scale=1e4) + 3e4),
        case("neighbours, judged", "verdict", "neighbours", x(3, 3)),
        case("sines without axes, judged", "verdict", "sines", x()),
    ]


def true_gradient(function: str, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """The gradients of the drivers' functions, by hand."""
    return {
        "sines": lambda: c * x.cos(),
        "product": lambda: (c * x).prod() / x,
        "neighbours": lambda: c * x.roll(1, -1) + (c * x).roll(-1, -1),
        "quadratic": lambda: 2 * c * (x - 1),
        "tiny": lambda: 1e-9 * c * x.exp(),
        "large entries": lambda: 3e-12 * c * x**2,
        "constant": lambda: 0 * x,
        "cubes": lambda: 3 * c * x**2,
    }[function]()


def wrong_gradients(draw: Draw, right: torch.Tensor) -> list[torch.Tensor]:
    """Off in one entry, everywhere by a little, of another shape, not a number, infinite; and two close to the limit.

    Of other shapes there are ones that broadcast, and ones of as many entries.
    """
    largest = float(right.abs().max()) or 1.0
    near, far = right + 0.8e-5 * largest, right - 1.2e-5 * largest
    shapes = [right.flatten()[:-1], right[None], right[..., None], torch.stack([right, right])]
    one, poisoned, infinite = right.clone(), right.clone(), right.clone()
    one.view(-1)[draw.integer(0, right.numel() - 1)] += 1e-3 * largest
    poisoned.view(-1)[-1] = torch.nan
    infinite.view(-1)[0] = torch.inf
    return [one, right + 2e-4 * largest, near, far, poisoned, infinite, *shapes]
