"""Lab 5, sealed: exercises, points, and what each forbids. Cases and misconceptions stand beside."""

from collections.abc import Sequence
from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Exercise, Item, Question
from mlsys_course import autodiff
from mlsys_course.autodiff.forward import tangent
from mlsys_course.substrate.graph import Node

from . import cases_gradient as engine
from . import cases_rules as rules
from . import mistakes_gradient, mistakes_network, mistakes_rules, mistakes_training

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
    return {"n": n, "m": m, **options, "mode_answer": "abcd"[order.index(0)]}


def rule_of(node: Node, grad: Node) -> Sequence[Node | None]:
    """The component's rule, its sums over broadcasting left to the driver."""
    return autodiff.RULES[type(node.operator)](node, grad)


def evaluator(outputs: Sequence[Node], order: Sequence[Node]) -> autodiff.Evaluator:
    """The component's, which finds the order itself."""
    return autodiff.Evaluator(outputs)


def gradient(output: Node, inputs: Sequence[Node], order: Sequence[Node], rule: autodiff.Rule) -> list[Node]:
    """The component's, with the rule given."""
    return autodiff.gradient(output, inputs, rule)


def adamw_step(weight, grad, m, v, t, lr, beta1, beta2, epsilon, weight_decay):
    """The component's update, as the exercise has it."""
    optimizer = autodiff.AdamW(lr, (beta1, beta2), epsilon, weight_decay)
    after, moments = optimizer.update(weight, grad, [m, v], t)
    return [after, *moments]


def forward_rule(node: Node, tangents: Sequence[Node | None]) -> Node:
    """The component's, which takes the tangents by node."""
    return tangent(node, {x: t for x, t in zip(node.inputs, tangents, strict=True) if t is not None})


def core() -> list[Exercise]:
    """The lab itself."""
    return [
        exercise("topological_order", autodiff.topological_order, {"order": 5, "depth": 3}, engine.order_cases),
        exercise(
            "Evaluator",
            evaluator,
            {"values": 4, "again": 4, "once": 2, "memory": 3, "feeds": 2},
            engine.evaluator_cases,
        ),
        exercise(
            "elementwise_gradients",
            rule_of,
            {"arithmetic": 5, "functions": 5, "relu": 2},
            rules.elementwise_cases,
            mistakes=mistakes_rules.ELEMENTWISE,
        ),
        exercise(
            "sum_to", autodiff.sum_to, {"values": 6, "edges": 2}, rules.sum_to_cases, mistakes=mistakes_rules.SUM_TO
        ),
        exercise(
            "linear_gradients",
            rule_of,
            {"reductions": 4, "shapes": 5, "matrices": 7},
            rules.linear_cases,
            mistakes=mistakes_rules.LINEAR,
        ),
        exercise(
            "gradient",
            gradient,
            {"chain": 4, "fan-out": 6, "edges": 2, "cost": 3},
            engine.gradient_cases,
        ),
        exercise(
            "cross_entropy_gradient",
            rule_of,
            {"values": 6, "stability": 2},
            rules.cross_entropy_cases,
            mistakes=mistakes_network.CROSS_ENTROPY,
        ),
        exercise(
            "adamw_step",
            adamw_step,
            {"moments": 3, "update": 4, "decay": 3},
            engine.adamw_cases,
            mistakes=mistakes_training.ADAMW,
        ),
    ]


def extensions() -> list[Exercise]:
    """For who wants more."""
    return [
        exercise(
            "check_gradient",
            autodiff.check_gradient,
            {"differences": 4, "verdict": 4},
            engine.check_cases,
            mistakes=mistakes_training.CHECK,
            kind="extension",
            tolerance={"float64": 1e-8},  # differences are not exact
        ),
        exercise(
            "normalization_gradients",
            rule_of,
            {"softmax": 4, "norms": 6},
            rules.normalization_cases,
            mistakes=mistakes_network.NORMALIZATION,
            kind="extension",
        ),
        exercise(
            "selection_gradients",
            rule_of,
            {"embedding": 2, "where": 2, "max": 2},
            rules.selection_cases,
            mistakes=mistakes_network.SELECTION,
            kind="extension",
        ),
        exercise(
            "forward_rule",
            forward_rule,
            {"arithmetic": 3, "functions": 2, "linear": 3},
            rules.forward_cases,
            mistakes=mistakes_network.FORWARD,
            kind="extension",
        ),
    ]


def exercise(id: str, reference, points, cases, *, mistakes=None, kind: str = "core", tolerance=None) -> Exercise:
    """An exercise of this lab: autograd is forbidden in each."""
    return Exercise(
        id=id,
        component="mlsys_course.autodiff",
        reference=reference,
        points=points,
        cases=cases,
        misconceptions=mistakes if mistakes is not None else mistakes_gradient.OF[id],
        kind=kind,
        tolerance=tolerance or {},
        forbidden=FORBIDDEN + (OF_NUMBERS if id in ("Evaluator", "check_gradient") else ()),
    )


def exercises(v: dict) -> list[Item]:
    """Lab 5's items."""
    rubric = [
        (2, "says that the formula is written out for every use and the graph once, and quotes both from the figure"),
        (2, "explains linear growth of the backward graph: each forward node is asked once, for a few nodes"),
        (2, "explains what a graph costs that a program does not: fixed shapes, and a new graph for other ones"),
    ]
    return [
        *core(),
        Choice("mode_choice", 2, options=list("abcd"), answer=v["mode_answer"]),
        Question("why_graphs", rubric),
        *extensions(),
    ]
