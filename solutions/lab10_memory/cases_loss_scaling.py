"""Lab 10, sealed: cases of the loss scale."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given


def settings(draw: Draw, **fixed: float) -> dict[str, float]:
    """Constructor arguments: powers of two unless ``fixed``."""
    drawn = {
        "initial_scale": 2.0 ** draw.integer(12, 15),
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": draw.integer(3, 5),
    }
    return {**drawn, **fixed}


def gradients(draw: Draw, low: float = -28.0, high: float = -16.0, negative: float = 0.5) -> list[torch.Tensor]:
    """Gradients of three parameters as a model has them: magnitudes spread over many powers of two."""
    shapes = [(draw.integer(2, 5), draw.integer(2, 5)), (draw.integer(3, 9),), ()]
    return [
        torch.exp2(draw.uniform(*shape, low=low, high=high)) * torch.where(draw.uniform(*shape) < negative, -1.0, 1.0)
        for shape in shapes
    ]


def steps(draw: Draw, pattern: str, **magnitude: float) -> list[dict[str, Any]]:
    """A step for each letter: ``g`` good, ``+`` or ``-`` an infinity, ``n`` a NaN; capitals in the last tensor."""
    found = []
    for letter in pattern:
        tensors = gradients(draw, **magnitude)
        poison = {"+": math.inf, "-": -math.inf, "n": math.nan, "P": math.inf, "N": math.nan}.get(letter)
        if poison is not None:
            flat = tensors[-1 if letter.isupper() else 0].view(-1)
            flat[draw.integer(0, len(flat) - 1)] = poison
        found.append({"loss": draw.uniform(low=0.5, high=4.0), "gradients": tensors})
    return found


def case(
    name: str,
    aspect: str,
    returns: Sequence[str],
    settings: dict[str, float],
    steps: list[dict[str, Any]],
    public: bool = False,
    dtype: str = "float16",
    **more: int,
) -> Given:
    inputs = {"settings": settings, "steps": steps, "dtype": dtype, "unit": 2.0**28, "returns": list(returns), **more}
    return Given(name, aspect, inputs, public)


def cases(draw: Draw) -> list[Given]:
    """By aspect: unscaling, overflow, growth, resume."""
    value, flag, scale = ["scaled_loss", "gradients"], ["skipped", "loss_scale"], ["loss_scale"]
    calm = settings(draw, growth_interval=100)
    s, huge = settings(draw), settings(draw, initial_scale=2.0**30, growth_interval=40)
    interval = int(s["growth_interval"])
    few, early = draw.integer(1, interval - 1), draw.integer(1, interval - 1)
    broken = "g" * few + "+" + "g" * (2 * interval + 1)
    kinds = "".join(draw.shuffled("+-nPNgg"))
    top = 15.9 - math.log2(calm["initial_scale"])  # finite in float16, and just so
    return [
        case("first steps", "unscaling", value, calm, steps(draw, "ggg"), True),
        case("over growths", "unscaling", ["gradients"], s, steps(draw, "g" * (2 * interval + 2)), True),
        case("bfloat16", "unscaling", value, calm, steps(draw, "ggg", low=-40.0), dtype="bfloat16"),
        case("float32", "unscaling", value, calm, steps(draw, "gg"), dtype="float32"),
        case("infinities and NaN", "overflow", flag, calm, steps(draw, "g" + kinds + "g"), True),
        # All of one sign, so that any sum or norm overflows.
        case(
            "large but finite", "overflow", flag, calm, steps(draw, "gg", low=top - 0.3, high=top, negative=0.0), True
        ),
        case("all overflow", "overflow", flag, calm, steps(draw, "".join(draw.shuffled("+-nPN")))),
        case("one NaN", "overflow", [*flag, "gradients"], calm, steps(draw, "gNg")),
        case("scale far too large", "overflow", flag, huge, steps(draw, "g" * 24, low=-13.0, high=-9.0)),
        case("good steps only", "growth", scale, s, steps(draw, "g" * (3 * interval + 1)), True),
        case("overflow breaks a count", "growth", scale, s, steps(draw, broken), True),
        case("overflow after a growth", "growth", scale, s, steps(draw, "g" * interval + "+" + "g" * interval)),
        case("interval of one", "growth", scale, settings(draw, growth_interval=1), steps(draw, "gg+ggPg")),
        case(
            "no powers of two",
            "growth",
            scale,
            settings(
                draw, initial_scale=1000.0, growth_factor=draw.number(1.2, 1.9), backoff_factor=draw.number(0.2, 0.7)
            ),
            steps(draw, "".join(draw.shuffled("g" * 16 + "++"))),
        ),
        case("checkpoint inside a count", "resume", flag, s, resumed(draw, early, interval), True, resume_at=early),
        case("checkpoint before any step", "resume", flag, s, resumed(draw, 0, interval), resume_at=0),
        case(
            "checkpoint after an overflow",
            "resume",
            flag,
            s,
            steps(draw, "g" * interval + "+" + "g" * (interval - 1) + "g+" + "g" * interval),
            resume_at=interval + 2,
        ),
        case("what is not given", "growth", scale, {"growth_interval": 2}, steps(draw, "gg+gg")),
        several("what was given stays", "unscaling", [
            case("", "", ["gradients", "given", "a list"], s, steps(draw, "gg"), dtype=dtype)
            for dtype in ("float32", "float16", "bfloat16")
        ]),
        several("without entries", "unscaling", [
            case("", "", ["gradients", *flag], s, without(steps(draw, "gg"), place)) for place in (0, 2)
        ]),
        several("without entries, and bad", "overflow", [
            case("", "", flag, s, without(steps(draw, letter), place)) for place, letter in ((2, "+g"), (0, "Ng"))
        ]),
        several("large, and not of float16", "overflow", [
            case("", "", flag, {**calm, "initial_scale": 2.0},
                 steps(draw, "g+g", low=low, high=low + 0.9, negative=sign), dtype=dtype)
            for dtype in ("float32", "bfloat16") for low, sign in ((126.0, 0.0), (126.0, 1.0), (70.0, 0.5), (16.0, 0.5))
        ]),
        several("far down and far up", "overflow", [
            case("", "", scale, {**s, "initial_scale": first}, steps(draw, "+" * down + "g" * interval + "+"))
            for first, down in ((4.0, 6), (2.0**-20, 3))
        ]),
        case("far up", "growth", scale, settings(draw, initial_scale=2.0**22, growth_interval=1),
             steps(draw, "g" * 9, low=-30.0, high=-26.0), dtype="float32"),
        several("beside others", "growth", [
            case("", "", ["loss_scale", "others"], s, steps(draw, broken), others=2),
            case("", "", scale, {}, steps(draw, "gg+g"), calm=1999),
            case("", "", scale, s, steps(draw, "g+" + "g" * interval), calm=interval - 1),
        ]),
        several("what was loaded", "resume", [
            case("", "", [*scale, "state"], s, resumed(draw, done, interval), resume_at=done) for done in (0, early)
        ]),
    ]  # fmt: skip


def several(name: str, aspect: str, calls: Sequence[Given]) -> Given:
    """Several cases as one."""
    return Given(name, aspect, {"each": [one.inputs for one in calls]})


def without(steps: list[dict[str, Any]], place: int) -> list[dict[str, Any]]:
    """With one more gradient, of a parameter that has no entry."""
    for step in steps:
        step["gradients"].insert(place, torch.zeros(0, 3))
    return steps


def resumed(draw: Draw, done: int, interval: int) -> list[dict[str, Any]]:
    """``done`` steps, then growth soon, an overflow, and another growth."""
    return steps(draw, "g" * done + "g" * (interval - done) + "+" + "g" * (2 * interval + 1))
