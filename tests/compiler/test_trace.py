"""Traced functions do what they do on tensors, or are refused."""

import random
import sys

import pytest
import torch
from hypothesis import given, settings

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import evaluate, gradient, topological_order
from mlsys_course.compiler import compiled, jit, program, trace
from tests.compiler.graphs import F64, programs, values


def test_a_trace_is_the_function(normal):
    x, w = normal(3, 4), normal(4, 2)
    inputs, outputs = trace(lambda x, n, w: (x @ w * n, x, 2.5, torch.ones(2)), [x, 3, w])
    assert [node.kind for node in inputs] == [((3, 4), F64), ((4, 2), F64)]
    found = evaluate(outputs, {inputs[0]: 2 * x, inputs[1]: w})
    torch.testing.assert_close(found, [6 * x @ w, 2 * x, torch.tensor(2.5), torch.ones(2)])


def prints(x):
    print("here")
    return x


def draws(x):
    return x + torch.rand(3)


def draws_in_python(x):
    return x * random.random()


def writes(x):
    x += 1
    return x


def writes_an_entry(x):
    x[0] = 1
    return x


def decides(x):
    return x if G.sum(x) > 0 else -x


def asks(x):
    return x * float(G.sum(x))


def asks_by_method(x):
    return x * x.sum().item()


def shape_by_value(x):
    return x[x > 0]


def says(x):
    return "a word"


REFUSED = [prints, draws, draws_in_python, writes, writes_an_entry, decides, asks, asks_by_method, shape_by_value, says]


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_what_a_graph_cannot_do_is_refused(function, capsys):
    out = sys.stdout
    with pytest.raises(G.GraphError, match=r"line|:"):
        trace(function, [torch.ones(3)])
    assert sys.stdout is out and not capsys.readouterr().out


def test_guards_are_exact():
    asked = []

    def specialize(function, arguments):
        asked.append(arguments)
        return compiled(function, arguments)

    f = jit(lambda x, n: x * n, specialize)
    x = torch.ones(3)
    for value, traces in [(2, 1), (2, 1), (2.0, 2), (True, 3), (1, 4), (2, 4), (-0.0, 5), (0.0, 6)]:
        torch.testing.assert_close(f(x * 5, value), x * 5 * value)
        assert f.traces == len(asked) == traces
    torch.testing.assert_close(f(torch.ones(4), 2), torch.full((4,), 2.0))
    torch.testing.assert_close(f(x.double(), 2), x.double() * 2)
    assert f.traces == 8
    fails = jit(decides)
    for _ in range(2):
        with pytest.raises(G.GraphError):
            fails(x)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(programs())
def test_a_program_is_its_graph(drawn):
    inputs, outputs = drawn
    run = program(inputs, topological_order(outputs), outputs)
    generator = torch.Generator().manual_seed(3)
    feeds = [torch.randn(3, 3, generator=generator, dtype=F64) for _ in inputs]
    torch.testing.assert_close(run(*feeds), values(outputs, inputs))


def test_a_training_step_is_one_program(normal):
    x, w = normal(5, 3), normal(3, 2)

    def step(x, w):
        loss = G.mean(G.tanh(x @ w) ** 2)
        return loss, w - gradient(loss, [w])[0] * 0.5

    leaf = w.clone().requires_grad_()
    loss = (x @ leaf).tanh().square().mean()
    loss.backward()
    found = jit(step)(x, w)
    torch.testing.assert_close(found, [loss.detach(), w - 0.5 * leaf.grad])
