"""What a student writes in lab 5 takes the component's place: a GPT trains on it, step by step as on the course's."""

import functools

import pytest
import torch

import mlsys_course.substrate.graph as G
from autograder.course import load_course
from mlsys_course import autodiff
from mlsys_course.autodiff import AdamW, Evaluator, TrainingStep, evaluate, gradient, rule_with, topological_order
from mlsys_course.substrate.graph.models import plain_gpt, plain_gpt_weights
from tests.conftest import ROOT
from tests.labs import SampleLab

B, T, C, H, V = 2, 6, 8, 2, 11
SOLUTION = SampleLab(load_course(ROOT, term="sample").lab("lab05")).solution
FAMILIES = ("elementwise_gradients", "linear_gradients", "cross_entropy_gradient")
FURTHER = ("normalization_gradients", "selection_gradients")


@functools.cache
def own() -> dict:
    """What the solution's cells define, in one namespace."""
    names: dict = {}
    exec("\n\n".join([SOLUTION[""], *(text for id, text in SOLUTION.items() if id)]), names)
    return names


def losses(steps: int = 4, step=autodiff.adamw_step, **parts) -> list[float]:
    """Of a small GPT that trains with ``parts`` in the course's place."""
    start = plain_gpt_weights(V, T, C, n_layers=2)
    w = {name: G.variable(name, x.shape) for name, x in start.items()}
    ids, targets = (G.variable(name, (B, T), torch.int64) for name in ("ids", "targets"))
    seen = G.constant(torch.ones(T, T).tril().log().clamp(min=-1e4))
    loss = G.cross_entropy(plain_gpt(G.one_hot(ids, V), w, H, G, G.transpose, seen), targets)
    train = TrainingStep(
        loss, {w[name]: x for name, x in start.items()}, AdamW(0.01, weight_decay=0.1, step=step), **parts
    )
    text = torch.randint(V, (B, T + 1), generator=torch.Generator().manual_seed(1))
    return [float(train({ids: text[:, :-1], targets: text[:, 1:]})) for _ in range(steps)]


def parts_of(names: dict) -> dict:
    """``TrainingStep``'s parts, all of them by ``names``."""
    rules = {name: names[name] for name in FAMILIES}
    return {
        "order": names["topological_order"],
        "gradient": names["gradient"],
        "rule": rule_with(names["sum_to"], **rules),
        "evaluator": names["Evaluator"],
        "step": names["adamw_step"],
    }


def test_a_gpt_trains_on_the_solution_as_on_the_component():
    right = losses()
    assert right[-1] < right[0]
    assert losses(**parts_of(own())) == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("part", ["order", "gradient", "rule", "evaluator", "step"])
def test_each_part_alone_takes_the_components_place(part):
    assert losses(**{part: parts_of(own())[part]}) == pytest.approx(losses(), rel=1e-5)


@pytest.mark.parametrize("name", [*FAMILIES, "gradient", "adamw_step", "Evaluator", "sum_to", "topological_order"])
def test_the_part_that_is_given_is_the_one_that_runs(name):
    """Each in turn calls home."""
    called = []
    names = dict(own())
    names[name] = lambda *given: called.append(name) or own()[name](*given)
    losses(1, **parts_of(names))
    assert called


@pytest.mark.parametrize("name", FAMILIES)
def test_a_wrong_rule_is_wrong_in_the_whole(name):
    def opposite(node, grad):
        return [None if x is None else -x for x in own()[name](node, grad)]

    assert losses(rule=rule_with(**{name: opposite})) != pytest.approx(losses(), rel=1e-4)


def test_extensions_take_the_components_place():
    x, table, ids = G.variable("x", (3, 4)), G.variable("table", (5, 4)), G.variable("ids", (3,), torch.int64)
    scale = G.variable("scale", (4,))
    normed = G.rms_norm(x, scale) * G.softmax(x) + G.log_softmax(x) * G.layer_norm(x, scale, scale)
    y = G.sum(G.where(x > 0, normed * G.embedding(table, ids), G.max(x, 1, keepdims=True)))
    feeds = {x: torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), scale: torch.arange(1.0, 5)}
    feeds |= {table: torch.ones(5, 4).cumsum(0), ids: torch.tensor([1, 4, 1])}
    wanted, order = [x, scale, table], topological_order([y])
    mine = own()["gradient"](y, wanted, order, rule_with(**{name: own()[name] for name in (*FAMILIES, *FURTHER)}))
    torch.testing.assert_close(evaluate(mine, feeds), evaluate(gradient(y, wanted), feeds), rtol=1e-4, atol=1e-5)
    directions = [G.constant(torch.ones(node.shape)) for node in wanted]
    smooth = G.sum(G.tanh(x @ G.transpose(table)) * G.exp(G.sin(x @ G.reshape(scale, (4, 1)))))
    along = autodiff.directional(smooth, wanted, directions, own()["forward_rule"])
    torch.testing.assert_close(
        evaluate([along], feeds), evaluate([autodiff.directional(smooth, wanted, directions)], feeds)
    )


def test_rules_that_nobody_knows_are_told():
    with pytest.raises(ValueError, match=r"no rules are called 'linear_gradient'; there are .*linear_gradients"):
        rule_with(linear_gradient=own()["linear_gradients"])


@pytest.mark.parametrize("family", ["elementwise_gradients", "linear_gradients", *FURTHER])
def test_a_family_refuses_what_is_not_its_own(family):
    x = G.variable("x", (3,))
    stranger = G.exp(x) if family != "elementwise_gradients" else G.sum(x)
    with pytest.raises(G.GraphError, match=f"no gradient through .*{stranger.operator.name} has none"):
        getattr(autodiff, family)(stranger, G.fill(stranger, 1.0))


def test_nothing_flows_to_whole_numbers():
    x, ids = G.variable("x", (3,)), G.variable("ids", (3,), torch.int64)
    for node in (x > 0, G.one_hot(ids, 4), G.cast(x, torch.int64)):
        assert autodiff.adjoints(node, G.fill(node, 1)) == [None] * len(node.inputs)


def test_an_order_that_is_given_is_the_one_that_is_kept():
    """The two exponentials in either order, which the sorted one never shows."""
    x = G.variable("x", (2,))
    one, two = G.exp(x), G.sin(x)
    y = one + two
    other = [x, two, one, y]
    assert Evaluator([y], other).nodes == [two, one, y] and Evaluator([y]).nodes == [one, two, y]
    asked = []
    gradient(y, [x], other, lambda node, grad: asked.append(node) or autodiff.adjoints(node, grad))
    assert asked == [y, one, two]
