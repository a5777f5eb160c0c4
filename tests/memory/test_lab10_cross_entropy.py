"""Lab 10's second exercise: any right and thrifty function passes, and costs are told apart."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from autograder.cases import check_limits, only_mistakes, outcome_of
from autograder.course import load_package
from autograder.draw import Draw
from autograder.exercise import Exercise
from mlsys_course.desk.check import Case, Specification, Verdict, decode, encode, judge
from mlsys_course.desk.check.edition import load_drivers
from mlsys_course.desk.check.meter import run_measured

LAB = Path(__file__).parents[2] / "solutions" / "lab10_memory"
EXERCISE: Exercise = next(
    item for item in load_package(LAB).exercises({"memory_answer": "a"}) if item.id == "chunked_cross_entropy"
)
DRIVER = load_drivers(LAB)["chunked_cross_entropy"]
TOLD_BY_COST = ("all_logits_at_once", "collects_gradients_of_logits", "autograd_keeps_each_chunk")


def by_autograd(hidden, weight, targets, chunk=256, ignore_index=-100):
    """Backward after each chunk, by autograd."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    h, w = hidden.clone().requires_grad_(), weight.to(wide).requires_grad_()
    n, loss = (targets != ignore_index).sum().clamp(min=1), 0.0
    for rows, y in zip(h.split(chunk), targets.split(chunk), strict=True):
        part = F.cross_entropy(rows.to(wide) @ w.T, y, ignore_index=ignore_index, reduction="sum") / n
        part.backward()
        loss = loss + part.detach()
    return loss, h.grad, w.grad.to(weight.dtype)


def one_hot(hidden, weight, targets, chunk=256, ignore_index=-100, inside=None):
    """By hand, with more tensors than are needed."""
    n = max(1, int((targets != ignore_index).sum()))
    inside = inside or torch.promote_types(hidden.dtype, torch.float32)
    h, w = hidden.to(inside), weight.to(inside)
    losses, rows, grad_weight = [h.new_zeros(())], [h[:0]], torch.zeros_like(w)  # of no token, too
    for start in range(0, len(targets), chunk):
        y, part = targets[start : start + chunk], h[start : start + chunk]
        counts = (y != ignore_index)[:, None].to(inside)
        p = torch.softmax(part @ w.T, dim=-1)
        truth = F.one_hot(y.where(y != ignore_index, 0), len(w))
        log_p = torch.log_softmax(part @ w.T, dim=-1)
        losses.append((counts * truth * log_p).sum())
        gradient = counts * (p - truth) / n
        rows.append(gradient @ w)
        grad_weight += torch.einsum("nv,nc->vc", gradient, part)
    wide = torch.promote_types(hidden.dtype, torch.float32)
    return (-sum(losses) / n).to(wide), torch.cat(rows).to(hidden.dtype), grad_weight.to(weight.dtype)


def one_hot_in_float64(*args, **settings):
    return one_hot(*args, **settings, inside=torch.float64)


def one_hot_at_once(hidden, weight, targets, chunk=256, ignore_index=-100):
    return one_hot(hidden, weight, targets, max(1, len(targets)), ignore_index)


def in_place_at_once(hidden, weight, targets, chunk=256, ignore_index=-100):
    """One tensor of all logits, changed in place: as dear as all chunks kept."""
    return EXERCISE.reference(hidden, weight, targets, max(1, len(targets)), ignore_index)


def loss_only(hidden, weight, targets, chunk=256, ignore_index=-100):
    return EXERCISE.reference(hidden, weight, targets, chunk, ignore_index)[0], None, None


@functools.cache
def specification(secret: bytes) -> Specification:
    """All sealed cases, with what the misconceptions that are told by cost come to."""
    cases = []
    for given in EXERCISE.cases(Draw(secret, "lab10_memory", "chunked_cross_entropy", "sealed")):
        right = run_measured(DRIVER, EXERCISE.reference, given.inputs, given.limits)
        check_limits(EXERCISE.id, given, right)
        dear = [m for m in EXERCISE.misconceptions if m.name in TOLD_BY_COST and given.aspect == "memory"]
        mistakes = {m.name: outcome_of(DRIVER, EXERCISE, m.candidate, given.inputs, {}, given.limits) for m in dear}
        cases.append(Case(given.name, given.aspect, given.inputs, right.outputs, mistakes, given.limits))
    hints = {m.name: m.hint for m in EXERCISE.misconceptions}
    whole = Specification(EXERCISE.id, EXERCISE.kind, EXERCISE.points, cases, hints)
    return replace(whole, cases=[only_mistakes(whole, case, DRIVER) for case in cases])


def verdict(candidate: Any, secret: bytes = b"one term's") -> Verdict:
    cases = specification(secret).cases  # inputs are copied: requires_grad_() may have been called on them
    outcomes = {c.name: run_measured(DRIVER, candidate, decode(encode(c.inputs)), c.limits) for c in cases}
    return judge(specification(secret), outcomes, DRIVER)


@pytest.mark.parametrize("secret", [b"one term's", b"another's"])
@pytest.mark.parametrize("candidate", [EXERCISE.reference, by_autograd, one_hot, one_hot_in_float64])
def test_right_and_thrifty_in_any_way_scores_full_marks(candidate, secret):
    found = verdict(candidate, secret)
    assert found.ok, [(r.case, r.wrong) for r in found.results if not r.ok]
    margins = [leaf.error for result in found.results for leaf in result.leaves]
    assert max(margins) < 0.5, "a tolerance too narrow for right answers"
    assert found.score == found.max_score == 15


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (EXERCISE.misconceptions[0].candidate, "all_logits_at_once"),
        (one_hot_at_once, "all_logits_at_once"),
        (EXERCISE.misconceptions[1].candidate, "collects_gradients_of_logits"),
        (EXERCISE.misconceptions[2].candidate, "autograd_keeps_each_chunk"),
        (in_place_at_once, None),  # as dear as chunks that are kept, but of more rows at a time: nobody's mistake
    ],
    ids=["at once", "at once by hand", "collected", "kept", "at once in place"],
)
def test_right_but_not_thrifty_loses_the_memory_points_and_is_told_why(candidate, name):
    found = verdict(candidate)
    assert (found.status, found.score) == ("wrong", 11)
    assert {r.aspect for r in found.results if not r.ok} == {"memory"}
    assert found.misconceptions == ([name] if name else [])


def test_a_loss_without_gradients_keeps_its_points():
    found = verdict(loss_only)
    assert found.score == 4 and {r.aspect for r in found.results if not r.ok} == {
        "gradients",
        "padding",
        "memory",
        "device",
    }
