"""Lab 0's exercises: right functions of any style pass; broken ones lose points, on public cases too."""

import math

import pytest
import torch

from autograder.draw import Draw
from autograder.exercise import Exercise
from mlsys_course import foundations
from tests.labs import TermLab

from .right_answers import RIGHT
from .wrong_answers import MUTANTS

LAB = TermLab("lab00_foundations")
PACKAGE, ITEMS, verdict = LAB.package, LAB.items, LAB.verdict


@pytest.mark.parametrize(("exercise", "candidate"), RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_right_answer_of_another_style_scores_full_marks(exercise, candidate):
    found = verdict(exercise, candidate)
    assert found.ok, [(r.case, r.wrong) for r in found.results if not r.ok]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_loses_points(name):
    found = verdict(*MUTANTS[name])
    assert found.score < found.max_score
    assert not verdict(*MUTANTS[name], public=True).ok


def as_it_stands(x, dim=-1):
    return torch.nan_to_num(torch.exp(x) / torch.exp(x).sum(dim, keepdim=True), nan=0.0)


def not_transposed(weights, z, a, grad):
    of_weights, of_biases = [], []
    for n in reversed(range(len(weights))):
        of_weights.insert(0, a[n].T @ grad)
        of_biases.insert(0, grad.sum(0))
        if n:
            grad = (grad @ weights[n]) * (z[n - 1] > 0)
    return of_weights, of_biases


def shapes_elsewhere(weights, z, a, grad):
    return foundations.backward(weights, z, a, grad)[0], [a[0] @ grad for _ in weights]


@pytest.mark.parametrize("public", [True, False])
def test_a_hint_speaks_of_the_mistake_that_was_made(public):
    assert verdict("softmax", as_it_stands, public).misconceptions == ["nothing subtracted, NaN made 0"]
    assert "not transposed" in verdict("backward", not_transposed, public).misconceptions
    for exercise in ("softmax", "log_softmax"):
        assert verdict(exercise, MUTANTS[f"{exercise} in 16 bits"][1], public).misconceptions == ["in 16 bits"]
    raised_elsewhere = verdict("backward", shapes_elsewhere, public)
    assert raised_elsewhere.score < raised_elsewhere.max_score
    assert "not transposed" not in raised_elsewhere.misconceptions


@pytest.mark.parametrize("attribute", ["softmax", "log_softmax"])
def test_pytorchs_own_is_refused(attribute):
    assert verdict(attribute, lambda x, dim=-1: getattr(x, attribute)(dim)).status == "forbidden"
    assert verdict("block_matmul", lambda a, b, block, multiply: a @ b).status == "forbidden"


def test_autograd_is_refused():
    def cheats(weights, z, a, grad):
        leaves = [w.clone().requires_grad_() for w in weights]
        foundations.forward(a[0], leaves, [w[0] for w in leaves])[0][-1].backward(grad)
        return [w.grad for w in leaves], [w[0] for w in leaves]

    assert verdict("backward", cheats).status == "forbidden"


def test_a_wrong_logarithm_costs_once():
    """The stand-in is right whatever the student's own log_softmax does, and it is what the function must use."""
    found = verdict("cross_entropy", lambda x, y, f: foundations.cross_entropy(x, y, lambda x, dim: f(x, dim) * 1.01))
    assert found.score < found.max_score
    assert verdict("cross_entropy", ITEMS["cross_entropy"].reference).ok


@pytest.mark.parametrize("term", range(8))
def test_the_choice_has_four_answers_and_one_is_right(term):
    v = PACKAGE.variants(Draw(bytes([term]), "variants"))
    options = [v[f"option_{letter}"] for letter in "abcd"]
    assert len(set(options)) == 4
    tiles = (v["n"] // v["b"]) ** 3
    assert int(v[f"option_{v['block_answer']}"].replace(",", "")) == tiles * 2 * v["b"] ** 2
    assert math.isclose(v["n"] % v["b"], 0)


def test_points_add_up():
    core = [item for item in ITEMS.values() if item.kind != "extension"]
    points = [sum(i.points.values()) if isinstance(i, Exercise) else i.points for i in core]
    assert sum(points) == 100 and sum(i.kind == "extension" for i in ITEMS.values()) == 3
