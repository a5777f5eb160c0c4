"""Lab 5, sealed: exercises, points, and what each forbids. Cases and misconceptions stand beside."""

from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Choice, Exercise, Item, Part, Question, exercises_of
from mlsys_course import autodiff
from mlsys_course.desk.check.seen import unforeseen

from . import cases_gradient as engine
from . import cases_network as network
from . import cases_rules as rules
from . import cases_update as update
from . import mistakes
from . import mistakes_rules as wrong

FORBIDDEN = (
    "torch.Tensor.backward",
    "torch.Tensor.requires_grad_",
    "torch.autograd.backward",
    "torch.autograd.functional.jacobian",
    "torch.autograd.functional.jvp",
    "torch.autograd.functional.vjp",
    "torch.func.vjp",
    "torch.func.jvp",
    "torch.func.jacrev",
    "torch.func.jacfwd",
)
# Only where numbers are asked for: looked for in the text too, and "grad" is a natural name for a node.
OF_NUMBERS = ("torch.autograd.grad", "torch.func.grad")


def variants(draw: Draw) -> dict[str, Any]:
    """A function from many inputs to few outputs or the other way round, and four ways to its Jacobian."""
    small, large = draw.integer(2, 9), 100 * draw.integer(3, 90)
    n, m = draw.choice([(small, large), (large, small)])
    mode, other = ("forward", "reverse") if n < m else ("reverse", "forward")
    answers = [
        f"{mode} mode, {small} passes",
        f"{other} mode, {small} passes",
        f"{mode} mode, one pass",
        f"{other} mode, {large} passes",
    ]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": answers[i] for letter, i in zip("abcd", order, strict=True)}
    answer = "abcd"[order.index(0)]
    return {"n": n, "m": m, **options, "mode_answer": answer, "secret": draw.integer(0, 2**60)}


exercise = exercises_of(autodiff, forbidden=FORBIDDEN)


def core(secret: int) -> list[Exercise]:
    """The lab itself. What nodes come to and their slopes, where these have to be asked for, depend on ``secret``."""

    def computed(number: int, key: int, *inputs: torch.Tensor) -> torch.Tensor:
        return unforeseen(inputs[0].shape, secret, key, number, *inputs)

    def slopes(number: int, key: int, count: int) -> list[float]:
        return unforeseen((count,), secret, key, number).tolist()

    feeds = {"values": 4, "again": 4, "once": 2, "memory": 3, "feeds": 2}
    steps = {"chain": 4, "fan-out": 6, "edges": 2, "cost": 3}
    entries = {"arithmetic": 5, "functions": 5, "relu": 2}
    asked = {"computed": Part(computed, lambda number, key, *x: sum(one.numel() for one in x), 1000, secret=True)}
    told = {"slopes": Part(slopes, lambda number, key, count: count, 10, secret=True)}
    numbers = {"forbidden": FORBIDDEN + OF_NUMBERS}
    return [
        exercise("topological_order", {"order": 5, "depth": 3}, engine.order_cases, mistakes.ORDER),
        exercise("Evaluator", feeds, engine.evaluator_cases, mistakes.EVALUATOR, parts=asked, **numbers),
        exercise("elementwise_gradients", entries, rules.elementwise_cases, wrong.ELEMENTWISE),
        exercise("sum_to", {"values": 6, "edges": 2}, rules.sum_to_cases, wrong.SUM_TO),
        exercise("linear_gradients", {"reductions": 4, "shapes": 5, "matrices": 7}, rules.linear_cases, wrong.LINEAR),
        exercise("gradient", steps, engine.gradient_cases, mistakes.GRADIENT, parts=told),
        exercise(
            "cross_entropy_gradient", {"values": 6, "stability": 2}, network.cross_entropy_cases, wrong.CROSS_ENTROPY
        ),
        exercise("adamw_step", {"moments": 3, "update": 4, "decay": 3}, update.adamw_cases, mistakes.ADAMW),
    ]


def extensions() -> list[Exercise]:
    """For who wants more."""
    differences = {"forbidden": FORBIDDEN + OF_NUMBERS, "tolerance": {"float64": 1e-8}}  # they are not exact
    check, forward = {"differences": 3, "verdict": 4, "device": 1}, {"arithmetic": 3, "functions": 2, "linear": 3}
    norms, picks = {"softmax": 4, "norms": 6}, {"embedding": 2, "where": 2, "max": 2}
    more = {"kind": "extension"}
    return [
        exercise("check_gradient", check, update.check_cases, mistakes.CHECK, **differences, **more),
        exercise("normalization_gradients", norms, network.normalization_cases, wrong.NORMALIZATION, **more),
        exercise("selection_gradients", picks, network.selection_cases, wrong.SELECTION, **more),
        exercise("forward_rule", forward, rules.forward_cases, wrong.FORWARD, **more),
    ]


def exercises(v: dict) -> list[Item]:
    """Lab 5's items."""
    rubric = [
        (2, "says that the formula is written out for every use and the graph once, and quotes both from the figure"),
        (2, "explains linear growth of the backward graph: each forward node is asked once, for a few nodes"),
        (2, "explains what a graph costs that a program does not: fixed shapes, and a new graph for other ones"),
    ]
    return [
        *core(v["secret"]),
        Choice("mode_choice", 2, options=list("abcd"), answer=v["mode_answer"]),
        Question("why_graphs", rubric),
        *extensions(),
    ]
