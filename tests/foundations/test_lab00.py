"""Lab 0's exercises: right functions of any style pass; broken ones lose points, on public cases too."""

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from autograder.cases import specification
from autograder.course import load_package
from autograder.draw import Draw
from autograder.exercise import Exercise
from mlsys_course import foundations
from mlsys_course.check import judge, run_case
from mlsys_course.check.edition import load_drivers

from .right_answers import RIGHT

LAB = Path(__file__).parents[2] / "solutions" / "lab00_foundations"
PACKAGE = load_package(LAB)
V = PACKAGE.variants(Draw(b"a term", "variants"))
ITEMS = {item.id: item for item in PACKAGE.exercises(V)}


class Lab:
    """What ``specification`` asks of a lab."""

    drivers = load_drivers(LAB)


@functools.cache
def cases(exercise: str, public: bool = False):
    item = ITEMS[exercise]
    given = item.cases(Draw(b"a term's", "lab00_foundations", exercise, "sealed"))
    return specification(Lab, item, [g for g in given if g.public or not public])


def verdict(exercise: str, candidate: Any, public: bool = False):
    """As graded, parts answered by the reference; or on the public kinds of cases only."""
    spec, driver = cases(exercise, public), Lab.drivers[exercise]
    parts = {name: part.reference for name, part in ITEMS[exercise].parts.items()}
    run = functools.partial(run_case, driver, candidate, parts=parts, forbidden=spec.forbidden)
    return judge(spec, {c.name: run(c.inputs) for c in spec.cases}, driver)


@pytest.mark.parametrize(("exercise", "candidate"), RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_right_answer_of_another_style_scores_full_marks(exercise, candidate):
    found = verdict(exercise, candidate)
    assert found.ok, [(r.case, r.wrong) for r in found.results if not r.ok]


def padded_first_only(table, ids, padding=None):
    """Clears the first place only where padding stands."""
    found = foundations.look_up(table, ids, padding).clone()
    plain = foundations.look_up(table, ids)
    if padding is not None and found.ndim == 2:
        first = (ids == padding).nonzero().flatten()[:1]
        plain[first] = 0
        return plain
    return found


def two_axes_only(x, dim=-1):
    if x.ndim > 2:
        x = x.reshape(-1, x.shape[-1])
    return foundations.softmax(x, dim)


def rounded_maximum(x, dim=-1):
    """A shift by 700 at most."""
    e = (x.float() - x.float().amax(dim, keepdim=True).clamp(max=700)).exp() if x.numel() else x.float()
    return torch.nan_to_num(e / e.sum(dim, keepdim=True), nan=0.0).to(x.dtype)


def some_columns(a, b, block, multiply):
    found = foundations.block_matmul(a, b, block, multiply)
    found[:, 2 * block[2] :] = 0
    return found


def square_tiles(a, b, block, multiply):
    return foundations.block_matmul(a, b, (max(block),) * 3, multiply)


def thrown_away(a, b, block, multiply):
    """Calls multiply as asked, and takes the product from elsewhere."""
    foundations.block_matmul(a, b, block, multiply)
    return torch.matmul(a, b)


def reference(exercise):
    return ITEMS[exercise].reference


def times(factor, exercise, part):
    """The reference with one of its two results multiplied."""

    def candidate(*args):
        results = list(reference(exercise)(*args))
        changed = results[part]
        results[part] = [x * factor for x in changed] if isinstance(changed, list) else changed * factor
        return results

    return candidate


def first_two_slopes(weights, z, a, grad):
    return foundations.backward(weights, [*z[:-2], z[-2].abs() + 1, z[-1]] if len(z) > 1 else z, a, grad)


def first_example(weights, z, a, grad):
    return foundations.backward(weights, [x[:1] for x in z], [x[:1] for x in a], grad[:1])


def leaky(x, weights, biases):
    z, a = foundations.forward(x, weights, biases)
    return z, [a[0], *(torch.nn.functional.leaky_relu(value, 0.01) for value in z[:-1])]


def wrong_input(x, weights, biases):
    z, a = foundations.forward(x, weights, biases)
    return z, [torch.zeros_like(x), *a[1:]]


MUTANTS = {
    "one_hot from 1": ("one_hot", lambda ids, n: foundations.one_hot(ids, n + 1)[..., 1:]),
    "one_hot refuses the last class": ("one_hot", lambda ids, n: foundations.one_hot(ids, n - 1)),
    "one_hot accepts one more": ("one_hot", lambda ids, n: foundations.one_hot(ids, n + 1)[..., :n]),
    "one_hot in float64": ("one_hot", lambda ids, n: foundations.one_hot(ids, n).double()),
    "one_hot adds an axis": ("one_hot", lambda ids, n: foundations.one_hot(ids.reshape(-1, 1), n)),
    "look_up shifted": ("look_up", lambda t, i, p=None: foundations.look_up(t.roll(1, 0), i, p)),
    "look_up first padding": ("look_up", padded_first_only),
    "look_up minus one for padding": ("look_up", lambda t, i, p=None: foundations.look_up(t, i, p) - (p is not None)),
    "softmax of two axes": ("softmax", two_axes_only),
    "softmax of halves": ("softmax", lambda x, dim=-1: foundations.softmax(x / 2, dim)),
    "softmax through 16 bits": ("softmax", lambda x, dim=-1: foundations.softmax(x.bfloat16(), dim).to(x.dtype)),
    "softmax shifts by 700 at most": ("softmax", rounded_maximum),
    "softmin": ("softmax", lambda x, dim=-1: foundations.softmax(-x.nan_to_num(neginf=1e30), dim)),
    "log_softmax along 0": ("log_softmax", lambda x, dim=0: foundations.log_softmax(x, dim)),
    "log_softmax clamped": ("log_softmax", lambda x, dim=-1: foundations.log_softmax(x, dim).clamp(min=-100)),
    "loss doubled": ("cross_entropy", times(2.0, "cross_entropy", 0)),
    "gradient doubled": ("cross_entropy", times(2.0, "cross_entropy", 1)),
    "cross_entropy of the first row": ("cross_entropy", lambda x, y, f: foundations.cross_entropy(x[:1], y[:1], f)),
    "product without far columns": ("block_matmul", some_columns),
    "square tiles": ("block_matmul", square_tiles),
    "product from elsewhere": ("block_matmul", thrown_away),
    "b transposed": ("block_matmul", lambda a, b, s, f: foundations.block_matmul(b.T, a.T, s, f).T),
    "leaky relu": ("forward", leaky),
    "a[0] is zeros": ("forward", wrong_input),
    "biases doubled": ("forward", lambda x, w, b: foundations.forward(x, w, [2 * one for one in b])),
    "weights doubled": ("backward", times(2.0, "backward", 0)),
    "biases negative": ("backward", times(-1.0, "backward", 1)),
    "slope of the last hidden layer forgotten": ("backward", first_two_slopes),
    "first example only": ("backward", first_example),
    "pipeline reversed": ("pipeline", lambda *s: lambda x: foundations.pipeline(*s)(x)[::-1]),
    "pipeline without the last": ("pipeline", lambda *s: lambda x: foundations.pipeline(*s)(x)[: max(1, len(x) - 1)]),
    "softmax_gradient halved": ("softmax_gradient", lambda y, g, d=-1: foundations.softmax_gradient(y, g / 2, d)),
    "smoothing doubled": ("smooth_cross_entropy", lambda x, y, s, f: foundations.cross_entropy(x, y, f, min(1, 2 * s))),
    "momentum of 0.9": ("momentum_step", lambda p, g, v, lr, m: foundations.momentum_step(p, g, v, lr, 0.9)),
    "nesterov": (
        "momentum_step",
        lambda p, g, v, lr, m: foundations.momentum_step(p, [x * (1 + m) for x in g], [m * x for x in v], lr, m),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_loses_points(name):
    found = verdict(*MUTANTS[name])
    assert found.score < found.max_score
    assert not verdict(*MUTANTS[name], public=True).ok


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
    assert verdict("cross_entropy", reference("cross_entropy")).ok


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
