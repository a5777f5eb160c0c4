"""Graphs that cannot be: the operator, what it was given, and the line are named. The order of nodes."""

import itertools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import backpropagate, directional, evaluate, gradient, topological_order
from mlsys_course.autodiff.traces import adjoint_trace
from mlsys_course.substrate.graph import GraphError
from mlsys_course.substrate.graph.calculus import differentiate, graph_size, written_size
from mlsys_course.substrate.graph.draw import draw, layers

A, B = G.variable("a", (3, 4)), G.variable("b", (5, 6))
IDS = G.variable("ids", (7,), torch.int64)
WRONG = {
    "matmul": (lambda: A @ B, r"matmul of float32\[3, 4\] and float32\[5, 6\].*4 columns do not meet 5 rows"),
    "matmul of a vector": (lambda: A @ G.variable("v", (4,)), "two axes or more"),
    "add": (lambda: A + B, r"add of float32\[3, 4\] and float32\[5, 6\].*do not broadcast"),
    "dtypes": (lambda: A * G.variable("d", (4,), torch.float64), r"float32 and torch.float64 differ; cast"),
    "exp of whole numbers": (lambda: G.exp(IDS), "needs floating-point inputs"),
    "half of whole numbers": (lambda: IDS / 2, r"0.5 beside torch.int64; cast"),
    "mean of whole numbers": (lambda: G.mean(IDS), "needs floating-point inputs"),
    "where without a condition": (lambda: G.where(IDS, A, A), "the condition must be bool"),
    "axis": (lambda: G.sum(A, 2), r"axis 2 of a with shape \(3, 4\).*it has 2 axes"),
    "axis twice": (lambda: G.sum(A, (1, -1)), "name each axis once"),
    "max of nothing": (lambda: G.max(G.variable("e", (0, 2)), 0), "no largest entry"),
    "reshape": (lambda: G.reshape(A, (5, 2)), "not as many entries"),
    "reshape, rest": (lambda: G.reshape(A, (5, -1)), "not as many entries"),
    "reshape, no rest": (lambda: G.reshape(G.variable("e", (0, 2)), (0, -1)), "any size would do"),
    "broadcast": (lambda: G.broadcast_to(A, (3, 5)), "do not broadcast"),
    "transpose": (lambda: G.transpose(A, (0, 0)), "does not name each of its 2 axes once"),
    "transpose of a vector": (lambda: G.transpose(IDS), "needs two axes"),
    "concatenate": (lambda: G.concatenate([A, B]), "sizes must be equal but along axis 0"),
    "concatenate nothing": (lambda: G.concatenate([]), "one node or more"),
    "index": (lambda: A[3], "index 3 along axis 0"),
    "index of a tensor": (lambda: A[IDS], "no entry of it"),
    "indices": (lambda: A[0, 0, 0], "too many indices"),
    "step": (lambda: A[::-1], "steps must be 1 or more"),
    "pad": (lambda: G.pad(A, (5, 4), ((0, 5, 2), (0, 3, 1))), r"a place of shape \(3, 3\)"),
    "embedding": (lambda: G.embedding(A, B), "ids must be int64 or int32"),
    "embedding in three axes": (lambda: G.embedding(G.variable("t", (2, 2, 2)), IDS), "two axes"),
    "cross_entropy": (lambda: G.cross_entropy(A, IDS), "one axis more than targets"),
    "layer_norm": (lambda: G.layer_norm(A, G.variable("s", (3,)), G.variable("s", (4,))), r"last axis, \(4,\)"),
    "exponent": (lambda: A**A, "write exp"),
    "a string": (lambda: A + "1", "give a node, a tensor or a number"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named_with_its_line(name):
    build, words = WRONG[name]
    with pytest.raises(GraphError, match=words) as caught:
        build()
    assert "test_graph.py:" in str(caught.value)


def test_a_gradients_nodes_are_said_to_be_made_where_the_forward_node_was():
    y = G.sum(G.tanh(A))
    line = y.inputs[0].made_where
    found = gradient(y, [A])
    assert {node.made_where for node in topological_order(found) if node.operator.name == "multiply"} == {line}
    assert (A + 1).made_where != line


NUMBER = {
    "plus": lambda x, n: x + n,
    "number plus": lambda x, n: n + x,
    "minus": lambda x, n: x - n,
    "number minus": lambda x, n: n - x,
    "times": lambda x, n: x * n,
    "number times": lambda x, n: n * x,
    "over": lambda x, n: x / n,
    "greater": lambda x, n: x > n,
    "at most": lambda x, n: x <= n,
    "where": lambda x, n: (torch if isinstance(x, torch.Tensor) else G).where(x > x, x, n),
    "equal": lambda x, n: x == n if isinstance(x, torch.Tensor) else G.equal(x, n),
}
DTYPES = [torch.bool, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("numbers", [(3, 3.0, True, 2.5), (3.0, 3, 2.5, True), (1, True, 1.0), (1.0, True, 1)], ids=str)
def test_a_number_beside_a_node_is_what_it_is_in_pytorch_or_refused(dtype, numbers):
    """Whatever equal number of another type the same operator was asked for before."""
    x, values = G.variable("x", (3,), dtype), torch.tensor([0, 1, 5]).to(dtype)
    for (name, calculate), number in itertools.product(NUMBER.items(), numbers):
        try:
            node = calculate(x, number)
        except GraphError as problem:
            assert not dtype.is_floating_point and "cast(x, dtype) first" in str(problem), (name, number, problem)
            continue
        assert dtype.is_floating_point or not isinstance(number, float), (name, number)
        (got,) = evaluate([node], {x: values})
        assert got.dtype == node.dtype, (name, number)
        torch.testing.assert_close(got, calculate(values, +number if "minus" in name else number))


SCALAR = G.variable("s")
BRANCHES = {
    "if": lambda x: x if x > 0 else 0 * x,
    "max": lambda x: max(x, 0),
    "chain": lambda x: 0 < x < 1,
    "and": lambda x: x > 0 and x < 1,
    "not": lambda x: not x,
    "or": lambda x: x or 1,
    "sorted": lambda x: sorted([x, x + 1]),
    "bool": bool,
    "equal": lambda x: x == 0,
    "not equal": lambda x: x != 0.5,
    "equal to a tensor": lambda x: x == torch.zeros(3, 4),
    "a tensor equal to it": lambda x: torch.zeros(3, 4) == x,
    "in numbers": lambda x: x in [1, 2],
    "number in": lambda x: 1 in x,
}


@pytest.mark.parametrize("name", BRANCHES)
@pytest.mark.parametrize("x", [SCALAR, A], ids=["scalar", "matrix"])
def test_python_takes_no_branch_by_a_node(name, x):
    words = "unpacking" if name == "number in" and not x.shape else r"write (where|equal)\("
    with pytest.raises(GraphError, match=words) as caught:
        BRANCHES[name](x)
    assert "test_graph.py:" in str(caught.value)


def test_nodes_are_still_keys_and_members():
    x, y = G.variable("x"), G.variable("x")
    assert x == x and x != y and x in [y, x] and y not in {x: 1} and x != "x" and x is not None
    assert {x: 1, y: 2}[y] == 2


def test_a_node_unpacks_into_its_rows():
    table = torch.arange(12.0).reshape(3, 4)
    a, b, c = A
    assert [node.shape for node in (a, b, c)] == [(4,)] * 3
    torch.testing.assert_close(torch.stack(evaluate([a, b, c], {A: table})), table)
    first, *others = G.variable("m", (5,))
    assert first.shape == () and len(others) == 4 and list(G.variable("e", (0, 2))) == []
    with pytest.raises(GraphError, match="no axis to go along"):
        a, b = SCALAR


SINGLE = {
    "gradient": lambda: gradient(G.sum(A), A),
    "directional": lambda: directional(G.sum(A), A, [A]),
    "directions": lambda: directional(G.sum(A), [A], A),
    "backpropagate": lambda: backpropagate(G.sum(A), A, {A: torch.ones(3, 4)}),
    "evaluate": lambda: evaluate(A, {A: torch.ones(3, 4)}),
    "topological_order": lambda: topological_order(A),
    "concatenate": lambda: G.concatenate(A),
    "draw": lambda: draw(A),
    "adjoint_trace": lambda: adjoint_trace(G.sum(A), A, {A: torch.ones(3, 4)}),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_node_where_a_list_is_due_is_told(name):
    with pytest.raises(GraphError, match=r"give a list of nodes, \[a\], not one node"):
        SINGLE[name]()


X = G.variable("x", (3, 3), torch.float64)
BESIDE = torch.arange(9, dtype=torch.float64).reshape(3, 3) - 3.5
ALIKE = {  # one expression, of a node and of a tensor; ``beside`` is a tensor in both
    "tensor @": lambda L, x, beside: beside @ x,
    "@ tensor": lambda L, x, beside: x @ beside,
    "tensor +": lambda L, x, beside: beside + x,
    "tensor -": lambda L, x, beside: beside - x,
    "tensor *": lambda L, x, beside: beside * x,
    "tensor /": lambda L, x, beside: beside / x,
    "tensor >": lambda L, x, beside: L.where(beside > x, x, 0.0),
    "where of numbers": lambda L, x, beside: L.where(x > 0, 1.0, 0.0),
    "where of whole numbers": lambda L, x, beside: L.where(x > 0, 1, 0),
    "where of two kinds": lambda L, x, beside: L.where(x > 0, 1, 0.5),
    "where of truths": lambda L, x, beside: L.where(x > 0, True, False),
    "where of a tensor": lambda L, x, beside: L.where(x > 0, beside, 1.0),
    "where by a tensor": lambda L, x, beside: L.where(beside > 0, x, 1.0),
    "where of tensors": lambda L, x, beside: L.where(x > 0, beside, beside * 2),
    "float32 *": lambda L, x, beside: np.float32(2) * x,
    "* float32": lambda L, x, beside: x * np.float32(2.5),
    "float64 -": lambda L, x, beside: np.float64(2) - x,
    "- int64": lambda L, x, beside: x - np.int64(2),
    "/ int32": lambda L, x, beside: x / np.int32(4),
    "float16 /": lambda L, x, beside: np.float16(2) / x,
    "** float32": lambda L, x, beside: x ** np.float32(2),
    "> float32": lambda L, x, beside: L.where(x > np.float32(0.5), x, np.float32(3)),
    "matmul": lambda L, x, beside: L.matmul(beside, x),
    "concatenate": lambda L, x, beside: (L.cat if L is torch else L.concatenate)([beside, x]),
    "layer_norm": lambda L, x, beside: (
        F.layer_norm(x, (3,), beside[0], beside[1]) if L is torch else L.layer_norm(x, beside[0], beside[1])
    ),
    "cross_entropy": lambda L, x, beside: (F if L is torch else L).cross_entropy(x, torch.tensor([2, 0, 1])),
    "embedding": lambda L, x, beside: (
        F.embedding(torch.tensor([2, 0]), x) if L is torch else L.embedding(x, torch.tensor([2, 0]))
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_tensors_and_numbers_stand_where_nodes_do(name):
    value = torch.linspace(-1.3, 2, 9, dtype=torch.float64).reshape(3, 3)
    node = ALIKE[name](G, X, BESIDE)
    (got,) = evaluate([node], {X: value})
    assert got.dtype == node.dtype
    torch.testing.assert_close(got, ALIKE[name](torch, value, BESIDE))


@pytest.mark.parametrize("build", [lambda: X + np.ones((3, 3)), lambda: np.ones((3, 3)) * X, lambda: X * None,
                                   lambda: X**X, lambda: X ** torch.ones(3, 3), lambda: G.exp(2.0),
                                   lambda: G.fill(IDS, 0.5)])  # fmt: skip
def test_what_stands_for_no_number_is_told(build):
    with pytest.raises(GraphError, match=r"give a node|write exp|cast\(x, dtype\)"):
        build()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("zero", [0, 0.0, -0.0, False])
def test_a_node_over_zero_is_what_pytorch_gives(dtype, zero):
    x, value = G.variable("x", (5,), dtype), torch.tensor([1.5, -2.0, 0.0, torch.inf, torch.nan], dtype=dtype)
    y = x / zero
    leaf = value.clone().requires_grad_()
    want = leaf / zero
    got = evaluate([y, *gradient(y, [x])], {x: value})
    right = [want.detach(), *torch.autograd.grad(want.sum(), leaf)]
    torch.testing.assert_close(got, right, equal_nan=True)


def test_calculus_goes_as_deep_as_memory():
    x = G.variable("x", (), torch.float64)
    y = x
    for _ in range(1500):
        y = G.sin(y)
    derivative = differentiate(y, x)
    at = torch.tensor(0.7, dtype=torch.float64)
    torch.testing.assert_close(evaluate([derivative], {x: at}), evaluate(gradient(y, [x]), {x: at}))
    z = x
    for _ in range(40):
        z = z * z  # a product uses its part twice, and 2^40 would be written out
    assert graph_size(differentiate(z, x)) < 400 and written_size(differentiate(z, x)) > 2**40


def test_infinities_and_negative_steps_do_not_slip_through_a_slice():
    assert A[-1].shape == (4,) and A[1:, ..., ::3].shape == (2, 2) and A[...].shape == (3, 4) and A[5:].shape == (0, 4)


def test_every_node_once_and_after_its_inputs():
    generator = random.Random(3)
    nodes = [G.variable(f"x{n}") for n in range(3)]
    for _ in range(300):
        nodes.append(generator.choice(nodes) * generator.choice(nodes))
    order = topological_order([nodes[-1], nodes[-7], nodes[-1]])
    at = {node: n for n, node in enumerate(order)}
    assert len(at) == len(order) and all(at[x] < at[node] for node in order for x in node.inputs)
    assert nodes[-1] in at and nodes[-7] in at


def test_a_cycle_is_refused():
    x = G.variable("x")
    y = G.exp(x)
    z = G.sin(y)
    y.inputs = (z,)
    with pytest.raises(GraphError, match="a cycle"):
        topological_order([z])


def test_a_constant_is_a_copy():
    value = torch.ones(2)
    node = G.constant(value)
    value.zero_()
    assert node.operator.value.tolist() == [1, 1]


def test_two_variables_of_one_name_are_two():
    a, b = G.variable("x"), G.variable("x")
    assert a is not b and a.operator != b.operator and len(topological_order([a * b])) == 3


def test_a_picture_has_a_box_for_each_node():
    y = (G.exp(A) + 1) * G.exp(A)
    figure = draw([y], labels={y: "here"}, marked=[y])
    words = [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    assert sorted(words) == ["a", "exp", "exp", "multiply\nhere", "shift"]
    assert [len(column) for column in layers([y])] == [1, 2, 1, 1]
