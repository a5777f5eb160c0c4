"""Lab 5's exercises: right functions of any style pass, broken engines are caught by sealed cases and named."""

import functools
import math
import operator

import pytest
import torch

import mlsys_course.substrate.graph as G
from autograder.exercise import Exercise
from tests.labs import TermLab

from .right_answers import RIGHT, ReferenceCounts, counting_users, differences_at_once

LAB = TermLab("lab05_autodiff")
ITEMS, verdict = LAB.items, LAB.verdict


@pytest.mark.parametrize("exercise", RIGHT)
def test_a_right_answer_of_another_style_scores_full_marks(exercise):
    found = verdict(exercise, RIGHT[exercise])
    assert found.ok, [(r.case, r.wrong) for r in found.results if not r.ok]


# ---- the four broken engines, and others beyond the misconceptions ---------------------------------------------------

BROKEN = {
    ("gradient", "overwrites"): "overwriting instead of summing at fan-out",
    ("sum_to", "nothing summed"): "a missing unbroadcast",
    ("linear_gradients", "Jacobian not transposed"): "a transposed Jacobian",
    ("Evaluator", "stale values"): "a stale cache",
    ("Evaluator", "stale values by identity"): "a stale cache by identity",
}


@pytest.mark.parametrize(("exercise", "mistake"), BROKEN)
def test_a_broken_engine_is_caught_and_named(exercise, mistake):
    candidate = next(m.candidate for m in ITEMS[exercise].misconceptions if m.name == mistake)
    found = verdict(exercise, candidate)
    assert found.score < found.max_score and found.misconceptions[0] == mistake


def changed(exercise: str, operator: str, change):
    """The reference rule with one operator's adjoints changed."""
    reference = ITEMS[exercise].reference

    def rule(node, grad):
        passed = list(reference(node, grad))
        return change(node, grad, passed) if node.operator.name == operator else passed

    return rule


def sloppy_evaluator(**changes):
    """The lab's right evaluator with a method exchanged."""
    return type("Sloppy", (ReferenceCounts,), changes)


def first_feed_only(self, feeds):
    self.first = getattr(self, "first", feeds)
    return ReferenceCounts.__call__(self, self.first)


MUTANTS = {
    "order without outputs that others need": ("topological_order", lambda o: counting_users(o[-1:])),
    "order by shape of the name": ("topological_order", lambda o: sorted(counting_users(o), key=lambda n: n.label)),
    "order without variables": ("topological_order", lambda o: [n for n in counting_users(o) if n.inputs]),
    "evaluator keeps its first feeds": ("Evaluator", sloppy_evaluator(__call__=first_feed_only)),
    "evaluator returns a number": (
        "Evaluator",
        sloppy_evaluator(__call__=lambda self, f: ReferenceCounts.__call__(self, f)[:1]),
    ),
    "evaluator doubles": (
        "Evaluator",
        sloppy_evaluator(__call__=lambda self, f: [x * 2 for x in ReferenceCounts.__call__(self, f)]),
    ),
    "divide for equal signs": (
        "elementwise_gradients",
        changed("elementwise_gradients", "divide", lambda n, g, p: p[::-1]),
    ),
    "sqrt of the adjoint": (
        "elementwise_gradients",
        changed("elementwise_gradients", "sqrt", lambda n, g, p: [G.sqrt(g * g) * p[0] / g]),
    ),
    "power of two only": (
        "elementwise_gradients",
        changed("elementwise_gradients", "power", lambda n, g, p: [g * n.inputs[0] * 2.0]),
    ),
    "sin for small x": (
        "elementwise_gradients",
        changed("elementwise_gradients", "sin", lambda n, g, p: [g * (1 - n.inputs[0] ** 2 / 2)]),
    ),
    "sum_to of the first stretched axis": (
        "sum_to",
        lambda g, s: G.sum(g, 0, keepdims=len(g.shape) == len(s)) if g.shape != s else g,
    ),
    "sum_to of leading ones": (
        "sum_to",
        lambda g, s: G.reshape(G.sum(g, [k for k, n in enumerate(g.shape) if n != 1]), s) if not s else g,
    ),
    "sum where axes come last": (
        "linear_gradients",
        changed(
            "linear_gradients",
            "sum",
            lambda n, g, p: [
                G.broadcast_to(
                    G.reshape(g, (*g.shape, *[1] * (len(n.inputs[0].shape) - len(g.shape)))), n.inputs[0].shape
                )
            ],
        ),
    ),
    "steps of a slice forgotten": (
        "linear_gradients",
        changed(
            "linear_gradients",
            "slice",
            lambda n, g, p: [
                G.pad(
                    g,
                    n.inputs[0].shape,
                    tuple((a, a + s, 1) for (a, _, _), s in zip(n.operator.bounds, g.shape, strict=True)),
                )
            ],
        ),
    ),
    "left side of matmul only": (
        "linear_gradients",
        changed("linear_gradients", "matmul", lambda n, g, p: [p[0], G.fill(n.inputs[1], 0.0)]),
    ),
    "broadcast divided": ("linear_gradients", changed("linear_gradients", "broadcast_to", lambda n, g, p: [g * 0.5])),
    "gradient of the first input": (
        "gradient",
        lambda o, i, order, rule: [ITEMS["gradient"].reference(o, i, order, rule)[0]] * len(i),
    ),
    "gradient without a seed": (
        "gradient",
        lambda o, i, order, rule: [x * 2 for x in ITEMS["gradient"].reference(o, i, order, rule)],
    ),
    "loss divided by rows of the first axis": (
        "cross_entropy_gradient",
        changed(
            "cross_entropy_gradient",
            "cross_entropy",
            lambda n, g, p: [p[0] * (math.prod(n.inputs[1].shape) / max(1, (n.inputs[1].shape or (1,))[0])), None],
        ),
    ),
    "targets shifted by one": (
        "cross_entropy_gradient",
        changed(
            "cross_entropy_gradient",
            "cross_entropy",
            lambda n, g, p: [G.concatenate([p[0][..., 1:], p[0][..., :1]], -1), None],
        ),
    ),
    "beta2 for both": (
        "adamw_step",
        lambda w, g, m, v, t, lr, b1, b2, e, d: ITEMS["adamw_step"].reference(w, g, m, v, t, lr, b2, b2, e, d),
    ),
    "always agrees": ("check_gradient", lambda f, x, c: (differences_at_once(f, x, c)[0], c.shape == x.shape)),
    "order of a sum of tangents": (
        "forward_rule",
        lambda n, t: ITEMS["forward_rule"].reference(n, [None if a is None else a * a for a in t]),
    ),
    "softmax along the last axis": (
        "normalization_gradients",
        changed("normalization_gradients", "softmax", lambda n, g, p: [n * (g - G.sum(n * g, -1, keepdims=True))]),
    ),
    "rms_norm as layer_norm": (
        "normalization_gradients",
        changed("normalization_gradients", "rms_norm", lambda n, g, p: [p[0] - G.mean(p[0], -1, keepdims=True), p[1]]),
    ),
    "embedding's first row": (
        "selection_gradients",
        changed("selection_gradients", "embedding", lambda n, g, p: [p[0] * 0.5, None]),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_loses_points(name):
    exercise, candidate = MUTANTS[name]
    found = verdict(exercise, candidate)
    assert found.score < found.max_score


def averaged(output, inputs, order, rule):
    """Partial adjoints are collected, and their mean is passed on."""
    partials, found = {output: [G.fill(output, 1.0)]}, {}
    for node in reversed(order):
        if node in partials:
            found[node] = functools.reduce(operator.add, partials[node]) / len(partials[node])
            for x, part in zip(node.inputs, rule(node, found[node]) if node.inputs else [], strict=True):
                if part is not None:
                    partials.setdefault(x, []).append(part)
    return [found[x] if x in found else G.fill(x, 0.0) for x in inputs]


def multiplied(output, inputs, order, rule):
    """Partial adjoints are multiplied as they come."""
    found = {output: G.fill(output, 1.0)}
    for node in reversed(order):
        if node in found and node.inputs:
            for x, part in zip(node.inputs, rule(node, found[node]), strict=True):
                if part is not None:
                    found[x] = found[x] * part if x in found else part
    return [found[x] if x in found else G.fill(x, 0.0) for x in inputs]


def counted_from_zero(weight, grad, m, v, t, *settings):
    return ITEMS["adamw_step"].reference(weight, grad, m, v, t - 1, *settings)


def flattened(f, x, claimed):
    """Compared entry by entry where there are as many."""
    if claimed.numel() != x.numel():
        return ITEMS["check_gradient"].reference(f, x, claimed.flatten()[:0])
    return ITEMS["check_gradient"].reference(f, x, claimed.reshape(x.shape))


def by_keyword(function):
    """The same with settings by name, as the driver gives them."""

    def step(weight, grad, m, v, t, lr, beta1, beta2, epsilon, weight_decay):
        return function(weight, grad, m, v, t, lr, beta1, beta2, epsilon, weight_decay)

    return step


OWN_HINTS = {
    ("gradient", "averages"): averaged,
    ("gradient", "multiplies"): multiplied,
    ("adamw_step", "steps from 0 on"): by_keyword(counted_from_zero),
    ("check_gradient", "as many entries"): flattened,
}


@pytest.mark.parametrize(("exercise", "mistake"), OWN_HINTS)
def test_a_hint_is_true_of_who_gets_it(exercise, mistake):
    found = verdict(exercise, OWN_HINTS[exercise, mistake])
    assert found.score < found.max_score and found.misconceptions == [mistake], found.misconceptions


def test_a_dropped_axis_is_told_as_a_shape():
    def dropped(grad, shape):
        found = ITEMS["sum_to"].reference(grad, shape)
        return G.reshape(found, tuple(size for size in found.shape if size != 1))

    said = {r.case: r.wrong for r in verdict("sum_to", dropped).results}
    assert said["a stretched axis"][0].startswith("sum has shape (")
    assert "missing" not in " ".join(word for words in said.values() for word in words)


def test_autograd_is_refused():
    def cheats(node, grad):
        torch.zeros(1, requires_grad=True).sum().backward()
        return ITEMS["elementwise_gradients"].reference(node, grad)

    assert verdict("elementwise_gradients", cheats).status == "forbidden"


def test_points_add_up():
    core = [item for item in ITEMS.values() if item.kind != "extension"]
    points = [sum(i.points.values()) if isinstance(i, Exercise) else i.points for i in core]
    assert sum(points) == 100 and sum(i.kind == "core" for i in core) == 8
    assert sum(i.kind == "extension" for i in ITEMS.values()) >= 4
