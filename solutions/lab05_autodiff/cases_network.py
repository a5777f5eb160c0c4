"""Lab 5, sealed: cases of the rules of loss, softmax and norms, and of what picks."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

from .cases_kinds import BF16, F32, F64, Cases, Shapes, reductions, several


def classified(
    cases: Cases, name: str, aspect: str, shape: tuple[int, ...], public=False, scale=1.0, dtype=F64
) -> Given:
    """Logits of ``shape``, whose last axis are the classes."""
    feeds = []
    for _ in range(2):
        targets = cases.draw.integers(*shape[:-1], high=shape[-1])
        feeds.append([(cases.tensor(shape) * scale).to(dtype), targets])
    return cases.fed(name, aspect, "cross_entropy", feeds, (), public)


def cross_entropy_cases(draw: Draw) -> Sequence[Given]:
    cases, n, V = Cases(draw), draw.integer(3, 5), draw.integer(4, 7)

    def call(shape: tuple[int, ...], dtype: torch.dtype = F64) -> dict[str, Any]:
        targets = draw.integers(*shape[:-1], high=shape[-1])
        return cases.call("cross_entropy", [cases.tensor(shape, dtype), targets], ())

    shapes = [(2, 3, 4, V), (n, 1, 3), (1, n, 9), (3, n, 2, 2, V), (1,), (n, V + 8), (1, 4), (n, 2, 5)]
    return [
        classified(cases, "rows", "values", (n, V), True),
        classified(cases, "batch of sequences", "values", (2, n, V), True),
        classified(cases, "one example", "values", (V,), True),
        classified(cases, "as many classes as rows", "values", (V, V)),
        classified(cases, "two classes", "values", (n, 2)),
        classified(cases, "float32", "values", (n, V), dtype=F32),
        classified(cases, "bfloat16", "values", (n, V), dtype=BF16),
        classified(cases, "large logits", "stability", (n, V), True, scale=2000.0),
        classified(cases, "large logits, float32", "stability", (n, V), scale=300.0, dtype=F32),
        several("other sizes, one after the other", "values", [call(shape) for shape in shapes]),
        several("other sizes, float32", "values", [call(shape, F32) for shape in shapes[:3]]),
    ]


def normalization_cases(draw: Draw) -> Sequence[Given]:
    cases, a, n = Cases(draw), draw.integer(2, 3), draw.integer(3, 5)

    def hidden() -> list[list[torch.Tensor]]:
        """The last logit of each row is -inf."""
        last = torch.full((a, 1), -torch.inf, dtype=F64)
        return [[torch.cat((cases.tensor((a, 3)), last), 1)] for _ in range(2)]

    def norm(name: str, shape: tuple[int, ...], public: bool = False, operator: str = "", **more: Any) -> Given:
        operator = operator or name
        epsilon = draw.choice([0.3, 0.1, 0.03, 1e-3])
        shapes = [shape] + [shape[-1:]] * (2 if operator == "layer_norm" else 1)
        return cases.of(name, "norms", operator, shapes, shape, public, epsilon=epsilon, **more)

    return [
        cases.of("softmax", "softmax", "softmax", [(a, n)], (a, n), True),
        cases.of("softmax, square", "softmax", "softmax_along", [(n, n)], (n, n), True, axis=0),
        cases.of("softmax, three axes", "softmax", "softmax_along", [(a, n, 2)], (a, n, 2), axis=1),
        cases.of("log_softmax", "softmax", "log_softmax", [(a, n)], (a, n), True),
        cases.of("log_softmax, square", "softmax", "log_softmax_along", [(n, n)], (n, n), axis=0),
        cases.of("softmax, float32", "softmax", "softmax", [(a, n)], (a, n), dtype=F32),
        norm("layer_norm", (a, n), True),
        norm("layer_norm, three axes", (a, 2, n), True, "layer_norm"),
        norm("rms_norm", (a, n), True),
        norm("rms_norm, three axes", (2, a, n), operator="rms_norm"),
        small_norms(cases, "layer_norm, small numbers", "layer_norm", [(a, n), (n,), (n,)], (a, n)),
        small_norms(cases, "rms_norm, small numbers", "rms_norm", [(a, n), (n,)], (a, n)),
        norm("layer_norm, float32", (a, n), operator="layer_norm", dtype=F32),
        cases.fed("softmax, one hidden", "softmax", "softmax", hidden(), (a, 4)),
        cases.fed("log_softmax, one hidden", "softmax", "log_softmax", hidden(), (a, 4)),
        several("every axis", "softmax", softmaxes(cases, a, n)),
        several("other rows and numbers", "norms", norms(cases, a, n)),
    ]


def softmaxes(cases: Cases, a: int, n: int) -> list[dict[str, Any]]:
    """Along every axis, in float32, of large logits, of rows far apart, without axes beside."""
    operators, apart = ("softmax_along", "log_softmax_along"), torch.tensor([[0.0], [-2000.0], [1500.0]], dtype=F64)
    shapes = [(a, n, 2), (n, 2, a, 2), (n,), (2, n)]
    return [
        cases.call(op, [x.clone()], tuple(x.shape), axis=axis)
        for op in operators
        for x in [*map(cases.tensor, shapes), cases.tensor((3, n)) + apart, cases.tensor((n, 3)) * 1500]
        for axis in range(x.dim())
    ]


def norms(cases: Cases, a: int, n: int) -> list[dict[str, Any]]:
    """Scales of 0, rows far from 0, other numbers of axes, each with an epsilon of its own; and float32."""
    found = []
    for op, count in (("layer_norm", 2), ("rms_norm", 1)):
        for shape, away in (((n,), 0.0), ((2, a, 2, n + 1), 0.0), ((a, 6), 1e5 if count == 2 else 30.0)):
            x, scale, shift = cases.tensor(shape) + away, cases.with_zeros(shape[-1:]), cases.tensor(shape[-1:])
            epsilon = cases.draw.choice([1e-6, 0.02, 0.5])
            found.append(cases.call(op, [x, scale, shift][: count + 1], shape, epsilon=epsilon))
    return found


def small_norms(cases: Cases, name: str, operator: str, shapes: Shapes, out: tuple[int, ...]) -> Given:
    """Variances near epsilon."""
    feeds = [[cases.tensor(shape) for shape in shapes] for _ in range(2)]
    small = [[row[0] * 3e-3, *row[1:]] for row in feeds]
    return cases.fed(name, "norms", operator, small, out, epsilon=cases.draw.choice([1e-5, 3e-5]))


def selection_cases(draw: Draw) -> Sequence[Given]:
    cases, V, C, a = Cases(draw), draw.integer(4, 6), draw.integer(2, 3), draw.integer(2, 3)

    def looked_up(*shape: int) -> list[list[torch.Tensor]]:
        return [[cases.tensor((V, C)), draw.integers(*shape, high=V - 1)] for _ in range(2)]

    def chosen(*shapes: tuple[int, ...]) -> list[list[torch.Tensor]]:
        return [[draw.booleans(*shapes[0]), *map(cases.tensor, shapes[1:])] for _ in range(2)]

    repeated = [[cases.tensor((V, C)), torch.tensor([0, 2, 2, 0, 2])] for _ in range(2)]
    ties = [[torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], dtype=F64)] for _ in range(2)]
    lowest = [[torch.tensor([[-torch.inf] * 2, [-torch.inf, 1.0], [torch.inf] * 2], dtype=F64)] for _ in range(2)]
    every = {"axes": None, "keepdims": False}
    return [
        cases.fed("rows by number", "embedding", "embedding", looked_up(a), (a, C), True),
        cases.fed("rows by number, repeated", "embedding", "embedding", repeated, (5, C), True),
        cases.fed("two axes of numbers", "embedding", "embedding", looked_up(a, 5), (a, 5, C)),
        cases.fed("where", "where", "where", chosen((a, 4), (a, 4), (a, 4)), (a, 4), True),
        cases.fed("where, stretched", "where", "where", chosen((a, 1), (a, 4), (4,)), (a, 4)),
        cases.of("max of all", "max", "max", [(a, C)], (), True, **every),
        cases.of("max along an axis", "max", "max", [(C, C)], (C,), True, axes=[1], keepdims=False),
        cases.fed("max, ties", "max", "max", ties, (2,), True, axes=[1], keepdims=False),
        cases.fed("max, infinities", "max", "max", lowest, (3,), axes=[1], keepdims=False),
        cases.of("max along two axes, kept", "max", "max", [(a, 4, 2)], (1, 4, 1), axes=[0, 2], keepdims=True),
        several("numbers of every shape", "embedding", look_ups(cases, V, C)),
        several("where, every shape", "where", choices(cases, a)),
        several("max, every choice of axes", "max", maxima(cases, a)),
    ]


def look_ups(cases: Cases, V: int, C: int) -> list[dict[str, Any]]:
    """Rows by numbers of other shapes, without axes too, from tables of other sizes; and in float32."""
    found = []
    for n, shape in enumerate([(), (1,), (V + 3,), (2, 1, 3), (2, 3, 2, 2)]):
        for dtype in (F64, F32)[: 1 + n % 2]:
            ids = cases.draw.integers(*(shape or (1,)), high=V + n).reshape(shape)
            table = cases.tensor((V + n, C + n), dtype)
            found.append(cases.call("embedding", [table, ids], (*shape, C + n)))
    return found


def choices(cases: Cases, a: int) -> list[dict[str, Any]]:
    """Condition and choices stretched in every way, in both dtypes, and a node chosen from itself."""
    shapes = [(), (4,), (a, 1), (a, 4)]
    found = []
    for n, (mask, x, y) in enumerate(product(shapes, repeat=3)):
        condition = cases.draw.booleans(*(mask or (1,))).reshape(mask)
        out = tuple(torch.broadcast_shapes(mask, x, y))
        dtype = F32 if n % 3 else F64
        found.append(cases.call("where", [condition, cases.tensor(x, dtype), cases.tensor(y, dtype)], out))
    twice = [cases.draw.booleans(a, 4), cases.tensor((a, 4))]
    return [*found, cases.call("where", twice, (a, 4), [0, 1, 1])]


def maxima(cases: Cases, a: int) -> list[dict[str, Any]]:
    """Along every choice of axes, of few different numbers, which share the maximum; in float32; and near ones."""
    found = []
    for x in (cases.draw.integers(a, 3, 4, high=3).double() - 1, cases.draw.integers(3, 2, high=2).float()):
        found += [cases.call("max", [x.clone()], out, **settings) for settings, out in reductions(x)]
    near = torch.tensor([[1.0, 1.0 - 1e-9, 1.0], [-3e-8, 0.0, -1e-8]], dtype=F64)
    return [*found, cases.call("max", [near], (2,), axes=[1], keepdims=False)]
