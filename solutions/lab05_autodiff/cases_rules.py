"""Lab 5, sealed: cases of gradient rules, one operator each, on two sets of feeds: a rule builds a graph."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

from .cases_kinds import (
    BF16,
    F32,
    F64,
    Cases,
    Shapes,
    elementwise_kinds,
    forward_kinds,
    linear_kinds,
    sum_to_kinds,
)


def elementwise_cases(draw: Draw) -> Sequence[Given]:
    cases, shape = Cases(draw), (draw.integer(2, 3), draw.integer(3, 4))
    given = []
    for operator, inputs in {"negate": 1, "subtract": 2, "divide": 2, "shift": 1, "scale": 1}.items():
        own = {"positive": operator == "divide", **cases.settings_of(operator)}
        given.append(cases.of(operator, "arithmetic", operator, [shape] * inputs, shape, True, **own))
    for operator in ("log", "sin", "cos", "tanh", "sqrt"):
        given.append(
            cases.of(operator, "functions", operator, [shape], shape, True, positive=operator in ("log", "sqrt"))
        )
    exponents = draw.sample([2.0, 3.0, -1.0, 0.5, 2.5, -2.0], 3)
    for n, exponent in enumerate(exponents):
        given.append(
            cases.of(f"power, {n + 1}", "functions", "power", [shape], shape, not n, positive=True, exponent=exponent)
        )
    kinks = [[torch.tensor(row, dtype=F64)] for row in ([-1.5, 0.0, 2.0, 0.0, -0.0], [0.0, 3.0, -2.0, 1e-300, -1e-300])]
    square = [[torch.tensor([0.0, -2.0, 1.0], dtype=F64)], [torch.tensor([-1.0, 0.0, 3.0], dtype=F64)]]
    return [
        *given,
        cases.of("add", "arithmetic", "add", [shape] * 2, shape),
        cases.of("multiply", "arithmetic", "multiply", [shape] * 2, shape),
        cases.of("exp", "functions", "exp", [shape], shape),
        cases.of("divide, no axes", "arithmetic", "divide", [(), ()], (), positive=True),
        cases.of("subtract, empty", "arithmetic", "subtract", [(0, 2)] * 2, (0, 2)),
        cases.of("tanh, float32", "functions", "tanh", [(4,)], (4,), dtype=F32),
        cases.of("tanh, bfloat16", "functions", "tanh", [(6,)], (6,), dtype=BF16),
        cases.fed("square of zero", "functions", "power", square, (3,), exponent=2.0),
        cases.of("relu", "relu", "relu", [shape], shape, True),
        cases.fed("relu at zero", "relu", "relu", kinks, (5,), True),
        cases.of("relu, larger", "relu", "relu", [(5, 6)], (5, 6)),
        *elementwise_kinds(draw),
    ]


def sum_to_cases(draw: Draw) -> Sequence[Given]:
    cases, a, b, c = Cases(draw), draw.integer(2, 3), draw.integer(3, 4), draw.integer(4, 6)

    def case(name: str, aspect: str, grad: tuple[int, ...], shape: tuple[int, ...], public=False, dtype=F64) -> Given:
        return Given(name, aspect, {"grad": cases.tensor(grad, dtype), "shape": list(shape)}, public)

    return [
        case("a stretched axis", "values", (a, b), (a, 1), True),
        case("a missing axis", "values", (b, b), (b,), True),
        case("stretched and missing", "values", (a, b, c), (1, c), True),
        case("the middle axis", "values", (a, b, c), (a, 1, c)),
        case("equal sizes", "values", (b, b), (b, 1), True),
        case("missing, other sizes", "values", (a, b, c), (b, c)),
        case("equal sizes, missing", "values", (b, b, b), (b, b)),
        case("several", "values", (a, b, c, a), (b, 1, a)),
        case("float32", "values", (a, b), (1, b), dtype=F32),
        case("nothing to do", "edges", (a, b), (a, b), True),
        case("to a number", "edges", (a, b), (), True),
        case("size one already", "edges", (1, b), (1, 1)),
        case("one axis more, of size one", "edges", (1, 1, b), (1, b)),
        case("no axes", "edges", (), ()),
        case("an empty axis", "edges", (0, b), (1, b)),
        *sum_to_kinds(draw),
    ]


def linear_cases(draw: Draw) -> Sequence[Given]:
    cases = Cases(draw)
    a, b, c, n = draw.integer(2, 3), 4, 5, draw.integer(3, 4)
    every = {"axes": None, "keepdims": False}
    start, stop = draw.integer(1, 2), draw.integer(4, 5)
    square = [(n, n), (n, n)]
    return [
        cases.of("sum of all", "reductions", "sum", [(a, b)], (), True, **every),
        cases.of("sum along an axis", "reductions", "sum", [(n, n)], (n,), True, axes=[1], keepdims=False),
        cases.of("sum along the first axis", "reductions", "sum", [(n, n)], (n,), axes=[0], keepdims=False),
        cases.of("sum along two axes, kept", "reductions", "sum", [(a, b, c)], (1, b, 1), axes=[0, 2], keepdims=True),
        cases.of("mean of all", "reductions", "mean", [(a, b)], (), True, **every),
        cases.of("mean along an axis", "reductions", "mean", [(n, n)], (n,), True, axes=[1], keepdims=False),
        cases.of("mean along the middle, kept", "reductions", "mean", [(a, b, c)], (a, 1, c), axes=[1], keepdims=True),
        cases.of("mean along two axes", "reductions", "mean", [(a, b, c)], (b,), axes=[0, 2], keepdims=False),
        cases.of("reshape", "shapes", "reshape", [(a, b)], (b, a), True, shape=[b, a]),
        cases.of("transpose, last two", "shapes", "transpose", [(a, b, c)], (a, c, b), True, order=[0, 2, 1]),
        cases.of("transpose, round", "shapes", "transpose", [(n, n, n)], (n, n, n), True, order=[2, 0, 1]),
        cases.of("transpose, four axes", "shapes", "transpose", [(2, a, b, 2)], (b, 2, 2, a), order=[2, 0, 3, 1]),
        cases.of("broadcast", "shapes", "broadcast_to", [(1, c)], (a, b, c), True, shape=[a, b, c]),
        cases.of("slice", "shapes", "slice", [(6, b)], (stop - start, b), True, bounds=[[start, stop, 1], [0, b, 1]]),
        cases.of("slice with steps", "shapes", "slice", [(c, 6)], (2, 3), bounds=[[1, 5, 2], [0, 6, 2]]),
        cases.of("concatenate", "shapes", "concatenate", [(n, n), (n, n)], (2 * n, n), True, axis=0),
        cases.of("concatenate three", "shapes", "concatenate", [(a, 1), (a, b), (a, 2)], (a, b + 3), axis=1),
        cases.of("concatenate, one of them empty", "shapes", "concatenate", [(a, 0), (a, b)], (a, b), axis=1),
        cases.of("square matrices", "matrices", "matmul", square, (n, n), True),
        cases.of("matrices", "matrices", "matmul", [(a, b), (b, c)], (a, c), True),
        cases.of("a batch of square matrices", "matrices", "matmul", [(n, n, n)] * 2, (n, n, n), True),
        cases.of("one right side for all", "matrices", "matmul", [(a, b, c), (c, 3)], (a, b, 3), True),
        cases.of("batches that broadcast", "matrices", "matmul", [(a, 1, b, 2), (n, 2, c)], (a, n, b, c)),
        cases.of("one left side for all", "matrices", "matmul", [(b, c), (a, c, 2)], (a, b, 2)),
        cases.of("a row and a column", "matrices", "matmul", [(1, c), (c, 1)], (1, 1)),
        cases.of("nothing between", "matrices", "matmul", [(a, 0), (0, c)], (a, c)),
        cases.of("matrices, bfloat16", "matrices", "matmul", [(a, b), (b, c)], (a, c), dtype=BF16),
        *linear_kinds(draw),
    ]


def forward_cases(draw: Draw) -> Sequence[Given]:
    cases, a, b, n = Cases(draw), draw.integer(2, 3), 4, draw.integer(3, 4)

    def case(name, aspect, operator, shapes: Shapes, public=False, still: Sequence[int] = (), **settings: Any) -> Given:
        feeds = [cases.tensor(shape, positive=operator in ("log", "divide")) for shape in shapes]
        directions = [None if k in still else cases.tensor(shape) for k, shape in enumerate(shapes)]
        inputs = {"operator": operator, "feeds": feeds, "directions": directions}
        return Given(name, aspect, {**inputs, "settings": settings} if settings else inputs, public)

    return [
        case("add", "arithmetic", "add", [(a, b)] * 2, True),
        case("subtract", "arithmetic", "subtract", [(a, b)] * 2, True),
        case("multiply", "arithmetic", "multiply", [(a, b)] * 2, True),
        case("divide", "arithmetic", "divide", [(a, b)] * 2, True),
        case("subtract, the first stands still", "arithmetic", "subtract", [(n,)] * 2, True, [0]),
        case("multiply, the second stands still", "arithmetic", "multiply", [(n,)] * 2, False, [1]),
        case("divide, the first stands still", "arithmetic", "divide", [(n,)] * 2, False, [0]),
        case("add, stretched", "arithmetic", "add", [(a, b), (b,)], True, [0]),
        case("multiply, stretched", "arithmetic", "multiply", [(a, 1), (a, b)]),
        case("exp", "functions", "exp", [(n,)], True),
        case("log", "functions", "log", [(n,)], True),
        case("sin", "functions", "sin", [(n,)], True),
        case("tanh", "functions", "tanh", [(a, b)], True),
        case("sum", "linear", "sum", [(a, b)], True, axes=[1], keepdims=False),
        case("transpose", "linear", "transpose", [(n, n, n)], True, order=[1, 2, 0]),
        case("reshape", "linear", "reshape", [(a, b)], shape=[b, a]),
        case("matmul", "linear", "matmul", [(n, n), (n, n)], True),
        case("matmul, the first stands still", "linear", "matmul", [(2, a, b), (b, n)], False, [0]),
        *forward_kinds(draw),
    ]
