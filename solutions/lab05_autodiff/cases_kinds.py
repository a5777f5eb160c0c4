"""Lab 5, sealed: kinds of cases that the rules of operators have in common, many calls in one case.

Every dtype, zeros and signs, every choice of axes, sizes that differ from call to call, a node at two places.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations, product
from typing import Any

import torch

from autograder import exercise
from autograder.draw import Draw
from autograder.exercise import Given

F64, F32, BF16 = torch.float64, torch.float32, torch.bfloat16
Shapes = Sequence[tuple[int, ...]]
ARITHMETIC = {"add": 2, "multiply": 2, "negate": 1, "subtract": 2, "divide": 2, "shift": 1, "scale": 1}


class Cases:
    """Makes cases of one exercise."""

    def __init__(self, draw: Draw):
        self.draw = draw

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype = F64, positive: bool = False) -> torch.Tensor:
        x = self.draw.normal(*(shape or (1,)), dtype=F64).reshape(shape)
        return (x.abs() + 0.5 if positive else x).to(dtype)

    def signed(self, shape: tuple[int, ...], dtype: torch.dtype = F64) -> torch.Tensor:
        """Of both signs and never near 0; the first entry is negative."""
        x = self.tensor(shape, dtype)
        x.view(-1)[:1] = -x.view(-1)[:1].abs()
        return torch.where(x < 0, x - 0.5, x + 0.5)

    def with_zeros(self, shape: tuple[int, ...], dtype: torch.dtype = F64) -> torch.Tensor:
        """Every second entry is 0."""
        x = self.tensor(shape, dtype)
        x.view(-1)[::2] = 0
        return x

    def of(
        self,
        name: str,
        aspect: str,
        operator: str,
        shapes: Shapes,
        out: tuple[int, ...],
        public: bool = False,
        *,
        positive: bool = False,
        dtype: torch.dtype = F64,
        **settings: Any,
    ) -> Given:
        """Two sets of drawn feeds of ``shapes``, with adjoints of the shape ``out``."""
        feeds = [[self.tensor(shape, dtype, positive) for shape in shapes] for _ in range(2)]
        return self.fed(name, aspect, operator, feeds, out, public, **settings)

    def fed(
        self,
        name: str,
        aspect: str,
        operator: str,
        feeds: list[list[torch.Tensor]],
        out: tuple[int, ...],
        public: bool = False,
        **settings: Any,
    ) -> Given:
        """The same for feeds that are given."""
        dtype = next(x.dtype for x in feeds[0] if x.is_floating_point())
        cotangents = [self.tensor(out, dtype) for _ in feeds]
        inputs: dict[str, Any] = {"operator": operator, "feeds": feeds, "cotangents": cotangents}
        return Given(name, aspect, {**inputs, "settings": settings} if settings else inputs, public)

    def call(
        self, operator: str, feeds: list[torch.Tensor], out: tuple[int, ...], places: Any = None, **settings: Any
    ) -> dict[str, Any]:
        """One of a case's several calls; the adjoint's first entry is 0 where it has others."""
        found = dict(self.fed("", "", operator, [feeds], out, **settings).inputs)
        if found["cotangents"][0].numel() > 1:
            found["cotangents"][0].view(-1)[0] = 0
        return found if places is None else {**found, "places": places}

    def settings_of(self, operator: str) -> dict[str, Any]:
        """The number of an operator that has one."""
        number = self.draw.choice([-1, 1]) * self.draw.number(1.2, 4.0)
        exponent = self.draw.choice([1.5, 3.5, -0.5, 4.0, -3.0])
        return {"shift": {"amount": number}, "scale": {"factor": number}, "power": {"exponent": exponent}}.get(
            operator, {}
        )


def several(name: str, aspect: str, inputs: Sequence[Mapping[str, Any]]) -> Given:
    """Many calls in one case."""
    return Given(name, aspect, exercise.calls(*inputs))


def reductions(x: torch.Tensor) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:
    """Every choice of axes, with and without keepdims, and the shape of what comes out."""
    axes = range(x.dim())
    for gone, keepdims in product([c for n in axes for c in combinations(axes, n + 1)], (False, True)):
        out = tuple(1 if axis in gone else x.shape[axis] for axis in axes if keepdims or axis not in gone)
        yield {"axes": list(gone), "keepdims": keepdims}, out


def elementwise_kinds(draw: Draw) -> list[Given]:
    cases, shapes = Cases(draw), [(draw.integer(2, 3), 2), (draw.integer(4, 5),)]

    def calls(operators: dict[str, int], make: Any, shapes: Shapes, **more: Any) -> list[dict[str, Any]]:
        return [
            cases.call(operator, [make(shape) for _ in range(count)], shape, **(more or cases.settings_of(operator)))
            for shape in shapes
            for operator, count in operators.items()
        ]

    def single(shape: tuple[int, ...]) -> torch.Tensor:
        return cases.tensor(shape, F32, positive=True)

    shape = shapes[1]
    zeros = [
        *(cases.call(op, [cases.with_zeros(shape), cases.signed(shape)], shape) for op in ("divide", "subtract")),
        *(cases.call(op, [cases.with_zeros(shape), cases.with_zeros(shape)], shape) for op in ("multiply", "add")),
        *calls({"negate": 1, "shift": 1, "scale": 1, "add": 2}, cases.with_zeros, [shape]),
        cases.call("scale", [cases.signed(shape)], shape, factor=0.0),
        *(cases.call(op, [cases.signed(shape)], shape, [0, 0]) for op in ("multiply", "divide", "subtract")),
    ]
    wide = [
        *calls({"sin": 1, "cos": 1}, lambda shape: cases.signed(shape) * 10, [shape]),
        *calls({"tanh": 1, "exp": 1}, lambda shape: cases.signed(shape) * 2, [shape]),
        *calls({"log": 1, "sqrt": 1}, lambda shape: cases.tensor(shape, positive=True) * 1e-3, [shape]),
        *calls({"log": 1, "sqrt": 1}, lambda shape: cases.tensor(shape, positive=True) * 1e3, [shape]),
        *(cases.call("power", [cases.signed(shape)], shape, exponent=c) for c in (3, 2, -1, -2.0)),
        *(cases.call("power", [cases.with_zeros(shape)], shape, exponent=c) for c in (3.0, 4)),
    ]
    functions: dict[str, int] = dict.fromkeys(["log", "sin", "cos", "tanh", "sqrt", "power", "exp"], 1)
    ramps = [cases.call("relu", [cases.signed((6,), dtype)], (6,)) for dtype in (F32, BF16)]
    return [
        several("arithmetic, float32", "arithmetic", calls(ARITHMETIC, single, shapes)),
        several("arithmetic, zeros and signs", "arithmetic", zeros),
        several("functions, float32", "functions", calls(functions, single, shapes)),
        several("functions, small, large and negative", "functions", wide),
        several("relu, other dtypes", "relu", ramps),
    ]


def broadcast_from(shape: tuple[int, ...]) -> list[list[int]]:
    """Every shape that broadcasts to this one."""
    found = [row for n in range(len(shape) + 1) for row in product(*[(1, size) for size in shape[n:]])]
    return [list(row) for row in dict.fromkeys(found)]


def sum_to_kinds(draw: Draw) -> list[Given]:
    cases, (a, b, c) = Cases(draw), draw.shuffled([2, 3, 4])

    def calls(shapes: Shapes, dtype: torch.dtype) -> list[dict[str, Any]]:
        grads = [cases.tensor(shape, dtype) for shape in shapes]
        return [{"grad": grad, "shape": shape} for grad in grads for shape in broadcast_from(tuple(grad.shape))]

    single = [*calls([(c, a, b), (a, a)], F32), *calls([(b, a)], BF16)]
    return [
        several("every shape", "values", calls([(a, b, c), (b, b, b), (1, c, 1), (2, a, 1, b), (3,)], F64)),
        several("every shape, other dtypes", "values", single),
    ]


def linear_kinds(draw: Draw) -> list[Given]:
    cases, (a, b, c) = Cases(draw), draw.shuffled([2, 3, 4])

    def each(operator: str, shapes: Shapes, out: tuple[int, ...], dtype=F64, places=None, **settings) -> dict[str, Any]:
        return cases.call(operator, [cases.tensor(shape, dtype) for shape in shapes], out, places, **settings)

    def reduced(x: torch.Tensor) -> list[dict[str, Any]]:
        return [cases.call(op, [x], out, **row) for op in ("sum", "mean") for row, out in reductions(x)]

    def turned(*order: int, dtype: torch.dtype = F64) -> dict[str, Any]:
        shape = (a, b, c, 2)[: len(order)]
        return each("transpose", [shape], tuple(shape[axis] for axis in order), dtype, order=list(order))

    def joined(axis: int, *sizes: int, dtype: torch.dtype = F64, places: Any = None) -> dict[str, Any]:
        shapes = [(*(a, b, c)[:axis], size, *(a, b, c)[axis + 1 :]) for size in sizes]
        total = sum(sizes if places is None else [sizes[k] for k in places])
        return each("concatenate", shapes, (*(a, b, c)[:axis], total, *(a, b, c)[axis + 1 :]), dtype, places, axis=axis)

    def cut(*bounds: tuple[int, int, int]) -> dict[str, Any]:
        out = tuple(len(range(*bound)) for bound in bounds)
        return each("slice", [(7, 5, 4)], out, bounds=[list(bound) for bound in bounds])

    def shaped(operator: str, shape: tuple[int, ...], out: tuple[int, ...], dtype: torch.dtype = F64) -> dict[str, Any]:
        return each(operator, [shape], out, dtype, shape=list(out))

    shapes = [
        *(turned(*order) for order in [*permutations(range(3)), (3, 0, 1, 2), (1, 2, 3, 0), (2, 3, 1, 0)]),
        *(shaped("reshape", (a, b, c), out) for out in ((c, b, a), (a * b, c), (a * b * c,), (a, 1, b * c))),
        *(shaped("reshape", shape, out) for shape, out in (((1, 1), ()), ((), (1,)))),
        *(shaped("broadcast_to", shape, (a, b, c)) for shape in ((), (c,), (b, 1), (a, 1, 1), (a, b, 1), (1, 1, c))),
        cut((0, 7, 3), (2, 3, 1), (1, 4, 2)),
        cut((5, 7, 1), (0, 5, 4), (0, 4, 1)),
        *(joined(axis, *sizes) for axis in range(3) for sizes in ((1, 3, 2), (2, 0, 1), (0, 2), (3, 0))),
        joined(1, 2, 3, places=[0, 1, 0]),
        turned(1, 2, 0, dtype=F32),
        joined(2, 1, 2, dtype=F32),
        shaped("reshape", (a, c), (c, a), F32),
        shaped("broadcast_to", (a, 1), (a, c), F32),
    ]
    matrices = [
        each("matmul", [(b, b)], (b, b), places=[0, 0]),
        each("matmul", [(2, 1, a, b), (3, b, c)], (2, 3, a, c)),
        each("matmul", [(a, b), (2, 3, b, c)], (2, 3, a, c)),
        each("matmul", [(3, 2, a, b), (b, c)], (3, 2, a, c)),
        each("matmul", [(3, a, a), (1, a, a)], (3, a, a)),
        each("matmul", [(0, b), (b, c)], (0, c)),
        each("matmul", [(a, 1), (1, c)], (a, c)),
        each("matmul", [(a, b), (b, c)], (a, c), F32),
    ]
    return [
        several("every choice of axes", "reductions", reduced(cases.tensor((a, b, c)))),
        several("axes of size one, float32", "reductions", reduced(cases.tensor((1, b, 1), F32))),
        several("other shapes", "shapes", shapes),
        several("other matrices", "matrices", matrices),
    ]


def forward_kinds(draw: Draw) -> list[Given]:
    cases, (a, b, c) = Cases(draw), draw.shuffled([2, 3, 4])

    def call(operator: str, feeds: list[torch.Tensor], still: int | None = None, **more: Any) -> dict[str, Any]:
        moves = [None if k == still else cases.tensor(tuple(x.shape), x.dtype) for k, x in enumerate(feeds)]
        places = {"places": more.pop("places")} if "places" in more else {}
        settings = {"settings": more} if more else {}
        return {"operator": operator, "feeds": feeds, "directions": moves, **places, **settings}

    def reduced(x: torch.Tensor) -> list[dict[str, Any]]:
        return [call("sum", [x], **settings) for settings, _ in reductions(x)]

    operators = ("add", "subtract", "multiply", "divide")
    pairs = [((a, b), (b,)), ((a, 1), (1, c)), ((), (b,)), ((c,), (c,))]
    stretched = [
        call(op, [cases.tensor(x), cases.signed(y)], still)
        for op in operators
        for pair in pairs
        for x, y in (pair, pair[::-1])
        for still in (None, 0, 1)
    ]
    zeros = [
        *(call(op, [cases.with_zeros((5,)), cases.signed((5,))]) for op in operators),
        call("multiply", [cases.with_zeros((5,)), cases.with_zeros((4, 5))]),
        *(call(op, [cases.signed((3,))], places=[0, 0]) for op in operators),
        *(call(op, [cases.signed((3,), F32), cases.signed((3,), F32)], 0) for op in operators),
    ]
    functions = [
        call(op, [cases.tensor(shape, dtype, positive=op == "log")])
        for op in ("exp", "log", "sin", "tanh")
        for shape, dtype in (((a, b), F32), ((), F32), ((c,), F32))
    ]
    x = cases.tensor((a, b, c))
    linear = [
        *reduced(x),
        *(call("transpose", [x], order=list(order)) for order in permutations(range(3))),
        *(call("reshape", [x], shape=list(out)) for out in ((a * b, c), (c, b, a), (a * b * c,))),
        *(call("matmul", [cases.tensor((2, 1, a, b)), cases.tensor((3, b, c))], still) for still in (None, 0, 1)),
        call("matmul", [cases.tensor((b, b))], places=[0, 0]),
        call("matmul", [cases.tensor((a, b), F32), cases.tensor((b, c), F32)], 0),
        call("sum", [cases.tensor((a, b), F32)], axes=[0], keepdims=True),
    ]
    return [
        several("every operator stretched, each standing still", "arithmetic", stretched),
        several("zeros, signs, and a node at both places", "arithmetic", zeros),
        several("functions, float32", "functions", functions),
        several("every choice of axes", "linear", linear),
    ]
