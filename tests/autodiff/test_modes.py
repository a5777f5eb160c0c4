"""Forward mode against PyTorch's jvp, symbolic differentiation against sympy, and the judges themselves."""

import itertools

import pytest
import sympy
import torch

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import (
    check_gradient,
    directional,
    evaluate,
    gradient,
    numerical_gradient,
)
from mlsys_course.substrate.graph import GraphError
from mlsys_course.substrate.graph.calculus import differentiate, graph_size, written_size

from . import operators as ops
from .test_gradient import inputs_of

F64 = torch.float64


@pytest.mark.parametrize("name", ops.fixed())
def test_directional_is_pytorchs_jvp(name):
    twice, shapes = ops.fixed()[name]
    tensors = inputs_of(twice, shapes)
    nodes = [G.variable(f"x{n}", tuple(x.shape), x.dtype) for n, x in enumerate(tensors)]
    moving = [n for n, x in enumerate(tensors) if x.is_floating_point()]
    directions = [torch.linspace(-1, 1.3, tensors[n].numel(), dtype=F64).reshape(tensors[n].shape) for n in moving]
    along = [G.variable(f"d{n}", nodes[n].shape, F64) for n in moving]

    def theirs(*given):
        whole = list(tensors)
        for n, x in zip(moving, given, strict=True):
            whole[n] = x
        return twice.theirs(*whole)

    _, right = torch.autograd.functional.jvp(theirs, tuple(tensors[n] for n in moving), tuple(directions))
    ours = directional(twice.ours(*nodes), [nodes[n] for n in moving], along)
    feeds = {**dict(zip(nodes, tensors, strict=True)), **dict(zip(along, directions, strict=True))}
    torch.testing.assert_close(evaluate([ours], feeds)[0], right, rtol=1e-9, atol=1e-9)
    if len(moving) > 1:  # one input moves, the others stand still
        _, right = torch.autograd.functional.jvp(
            lambda x: theirs(x, *[tensors[n] for n in moving[1:]]), (tensors[moving[0]],), (directions[0],)
        )
        ours = directional(twice.ours(*nodes), [nodes[moving[0]]], along[:1])
        torch.testing.assert_close(evaluate([ours], feeds)[0], right, rtol=1e-9, atol=1e-9)


def test_directional_of_what_does_not_move():
    x, y = G.variable("x", (2,)), G.variable("y", (2,))
    assert evaluate([directional(y * 2, [x], [x])], {x: torch.ones(2), y: torch.ones(2)})[0].tolist() == [0, 0]
    with pytest.raises(GraphError, match="shape and dtype"):
        directional(x, [x], [G.variable("d", (3,))])


def test_a_gradient_moves_along_a_direction_as_the_hessian_says():
    x, d = G.variable("x", (3,), F64), G.variable("d", (3,), F64)
    y = G.sum(G.exp(x) * G.sin(x))
    found = directional(gradient(y, [x])[0], [x], [d])
    at, along = torch.tensor([0.2, -1.0, 0.7], dtype=F64), torch.tensor([1.0, 0.5, -2.0], dtype=F64)
    right = torch.autograd.functional.hvp(lambda x: (x.exp() * x.sin()).sum(), at, along)[1]
    torch.testing.assert_close(evaluate([found], {x: at, d: along})[0], right)


def formulas(x, exp, log, sin, cos):
    return [
        x * x + 3 * x - 1,
        sin(x * x) / (2 + cos(x)),
        exp(-x) * log(x) * x,
        (x + 0.5) ** 3 / x,
        4 * x * (1 - x) * (1 - 2 * x) ** 2,
        2 / x - 1 / (x * x),
    ]


def test_symbolic_differentiation_is_sympys():
    s = sympy.Symbol("x")
    x = G.variable("x", (), F64)
    ours = formulas(x, G.exp, G.log, G.sin, G.cos)
    for mine, other in zip(ours, formulas(s, sympy.exp, sympy.log, sympy.sin, sympy.cos), strict=True):
        (found,) = evaluate([differentiate(mine, x)], {x: torch.tensor(0.37, dtype=F64)})
        assert float(found) == pytest.approx(float(sympy.diff(other, s).subs(s, 0.37)))
    with pytest.raises(GraphError, match="no rule of calculus"):
        differentiate(G.tanh(x), x)


def test_formulas_swell_and_graphs_do_not():
    x = G.variable("x", (), F64)
    y, written, shared = x, [], []
    for _ in range(7):
        y = y * (1 - y) * 4
        written.append(written_size(differentiate(y, x)))
        shared.append(graph_size(gradient(y, [x])[0]))
    assert all(b > 2 * a for a, b in itertools.pairwise(written))
    steps = [b - a for a, b in itertools.pairwise(shared)]
    assert len(set(steps)) == 1 and written[-1] > 50 * shared[-1]
    assert written_size(x * x) == 3 and graph_size(x * x) == 2


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_check_passes_what_is_right_and_catches_what_is_not(scale):
    x = torch.tensor([[0.3, -2.0], [40.0, 1.1]], dtype=F64)

    def f(x):
        return scale * (x.sin() * x.flip(0)).sum()

    leaf = x.clone().requires_grad_()
    f(leaf).backward()
    right = leaf.grad
    found, agrees = check_gradient(f, x, right)
    assert agrees
    torch.testing.assert_close(found, right, rtol=1e-7, atol=1e-7 * scale)
    for wrong in [right * 1.001, -right, right.T, right[0], right * 0, right * torch.nan]:
        assert not check_gradient(f, x, wrong)[1]
    assert torch.equal(x, torch.tensor([[0.3, -2.0], [40.0, 1.1]], dtype=F64))


def test_a_constant_functions_gradient_is_zero_and_nothing_else():
    x = torch.ones(2, dtype=F64)
    assert numerical_gradient(lambda x: torch.tensor(3.0), x).tolist() == [0, 0]
    assert check_gradient(lambda x: torch.tensor(3.0), x, torch.zeros(2))[1]
    assert not check_gradient(lambda x: torch.tensor(3.0), x, torch.full((2,), 1e-9))[1]
