"""The evaluator: again and again, on any device, holding no more than it must; bad feeds are named."""

import gc
import weakref

import pytest
import torch

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import EvaluationError, Evaluator, FeedError, evaluate, gradient
from mlsys_course.desk.check.meter import peak_bytes

X, Y = G.variable("x", (2, 3)), G.variable("y", (3,))


def test_each_run_is_of_its_own_feeds(device):
    run = Evaluator([G.exp(X) * Y, X + 1])
    for n in range(3):
        x, y = torch.full((2, 3), float(n), device=device), torch.full((3,), float(n + 1), device=device)
        product, shifted = run({X: x, Y: y})
        torch.testing.assert_close(product, x.exp() * y)
        torch.testing.assert_close(shifted, x + 1)
    x = torch.zeros(2, 3, device=device)
    before = run({X: x, Y: torch.ones(3, device=device)})[0]
    x += 1  # the same tensor with other numbers
    assert not torch.equal(before, run({X: x, Y: torch.ones(3, device=device)})[0])


def test_each_node_is_computed_once_a_run(monkeypatch):
    calls = []

    class Counting(G.Operator):
        def infer(self, *inputs):
            return inputs[0]

        def compute(self, x):
            calls.append(x)
            return x + 1

    y = Counting()(X)
    run = Evaluator([y * y + y, y])
    assert calls == []
    run({X: torch.zeros(2, 3)})
    run({X: torch.zeros(2, 3)})
    assert len(calls) == 2


def test_outputs_may_be_feeds_constants_and_twice_the_same():
    one = G.constant(torch.ones(2))
    x = torch.randn(2, 3)
    found = evaluate([X, one, X, one], {X: x})
    assert torch.equal(found[0], x) and torch.equal(found[2], x) and found[1].tolist() == found[3].tolist() == [1, 1]
    assert evaluate([], {}) == []


def test_a_constant_stays_the_graphs_own():
    one = G.constant(torch.ones(2))
    run = Evaluator([one, one + 1, *gradient(G.sum(Y), [Y])])
    for _ in range(2):
        got = run({})
        assert [x.tolist() for x in got] == [[1, 1], [2, 2], [1, 1, 1]]
        for x in got:
            x.zero_()


def test_values_are_let_go_at_their_last_use():
    n = 1 << 16
    x = G.variable("x", (n,))
    y = x
    for _ in range(20):
        y = G.sin(y)
    assert peak_bytes(Evaluator([y]), {x: torch.zeros(n)}) <= 2 * 4 * n


def test_nothing_outlives_a_run():
    run = Evaluator([G.sum(G.exp(X))])
    x = torch.zeros(2, 3)
    gone = weakref.ref(x)
    run({X: x})
    del x
    gc.collect()
    assert gone() is None


def test_a_backward_pass_holds_what_it_needs_and_no_more():
    n, depth = 1 << 14, 30
    x = G.variable("x", (n,))
    y = x
    for _ in range(depth):
        y = G.sin(y)
    run = Evaluator(gradient(G.sum(y), [x]))
    assert peak_bytes(run, {x: torch.zeros(n)}) <= (depth + 4) * 4 * n


def test_feeds_and_inputs_stay_as_they_are():
    x, y = torch.randn(2, 3), torch.randn(3)
    copies = x.clone(), y.clone()
    evaluate([G.softmax(X) * Y, *gradient(G.sum(G.gelu(X * Y)), [X, Y])], {X: x, Y: y})
    assert torch.equal(x, copies[0]) and torch.equal(y, copies[1])


WRONG = {
    "missing": ({X: torch.ones(2, 3)}, r"no feed for y, made at .*test_evaluator.py:\d+; give a tensor"),
    "shape": ({X: torch.ones(3, 2), Y: torch.ones(3)}, r"x takes float32\[2, 3\], not float32\[3, 2\]"),
    "dtype": ({X: torch.ones(2, 3).double(), Y: torch.ones(3)}, r"x takes float32\[2, 3\], not float64\[2, 3\]"),
    "a number": ({X: 1.0, Y: torch.ones(3)}, "not a float; give a tensor"),
    "a name": ({"x": torch.ones(2, 3)}, "no variable; feed what `variable"),
    "a node": ({X: torch.ones(2, 3), Y: torch.ones(3), X + 1: torch.ones(2, 3)}, "no variable"),
    "device": ({X: torch.ones(2, 3), Y: torch.ones(3, device="meta")}, "bring all to one device"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_feed_is_named(name):
    feeds, words = WRONG[name]
    with pytest.raises(FeedError, match=words):
        evaluate([X * Y], feeds)


def test_a_feed_that_is_not_needed_is_no_harm():
    assert evaluate([Y + 0], {X: torch.ones(2, 3), Y: torch.zeros(3)})[0].tolist() == [0, 0, 0]


def test_an_operator_that_fails_on_values_is_named():
    ids = G.variable("ids", (2,), torch.int64)
    feeds = {ids: torch.tensor([0, 5]), X: torch.ones(2, 3)}
    words = r"embedding of float32\[2, 3\] and int64\[2\], made at .*test_evaluator.py:\d+: .*"
    with pytest.raises(EvaluationError, match=words):
        evaluate([G.embedding(X, ids)], feeds)
    with pytest.raises(EvaluationError, match="cross_entropy"):
        evaluate([G.cross_entropy(X, ids)], {ids: torch.tensor([0, -100]), X: torch.ones(2, 3)})
