"""Arithmetic, comparison and choice, entry by entry; inputs broadcast as PyTorch's do."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .node import (
    Constant,
    GraphError,
    Kind,
    Node,
    Operator,
    Shape,
    as_node,
    as_nodes,
    as_number,
    constant,
    holds,
    made_at,
    place,
)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape that all of ``shapes`` stretch to; raises ValueError where two sizes differ and neither is one."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    found = []
    for sizes in zip(*padded, strict=True):
        stretched = {size for size in sizes if size != 1}
        if len(stretched) > 1:
            written = " and ".join(map(str, shapes))
            raise ValueError(f"shapes {written} do not broadcast; sizes must be equal, or one of them 1")
        found.append(stretched.pop() if stretched else 1)
    return tuple(found)


def same_dtype(*inputs: Kind) -> torch.dtype:
    """The dtype of all inputs; raises ValueError where they differ."""
    if len(found := {kind.dtype for kind in inputs}) > 1:
        raise ValueError(f"dtypes {' and '.join(sorted(map(str, found)))} differ; cast(x, dtype) one of them")
    return inputs[0].dtype


def floating(*inputs: Kind) -> torch.dtype:
    """The floating dtype of all inputs; raises ValueError on whole numbers."""
    dtype = same_dtype(*inputs)
    if not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(f"needs floating-point inputs, not {dtype}; cast(x, dtype) first")
    return dtype


def fits(number: float, kind: Kind) -> Kind:
    """``kind`` itself; raises ValueError where arithmetic with ``number`` would change its dtype."""
    if kind.dtype == torch.bool or not holds(kind.dtype, number):
        raise ValueError(f"{number} beside {kind.dtype}; cast(x, dtype) first")
    return kind


@dataclass(frozen=True)
class Elementwise(Operator):
    """Each entry of the result depends on the entries at the same place only."""

    def infer(self, *inputs: Kind) -> Kind:
        return Kind(broadcast([kind.shape for kind in inputs]), same_dtype(*inputs))


@dataclass(frozen=True)
class Smooth(Elementwise):
    """A function that whole numbers do not have."""

    def infer(self, *inputs: Kind) -> Kind:
        return Kind(broadcast([kind.shape for kind in inputs]), floating(*inputs))


# Without fields of its own an operator computes by PyTorch's function itself, with nothing in between.
class Add(Elementwise):
    compute = staticmethod(torch.add)


class Subtract(Elementwise):
    compute = staticmethod(torch.sub)


class Multiply(Elementwise):
    compute = staticmethod(torch.mul)


class Divide(Smooth):
    compute = staticmethod(torch.div)


class Negate(Elementwise):
    compute = staticmethod(torch.neg)


@dataclass(frozen=True)
class Shift(Elementwise):
    """x + amount, for a number."""

    amount: float

    def infer(self, *inputs: Kind) -> Kind:
        return fits(self.amount, inputs[0])

    def compute(self, x: Tensor) -> Tensor:
        return x + self.amount


@dataclass(frozen=True)
class Scale(Elementwise):
    """x * factor, for a number."""

    factor: float

    def infer(self, *inputs: Kind) -> Kind:
        return fits(self.factor, inputs[0])

    def compute(self, x: Tensor) -> Tensor:
        return x * self.factor


@dataclass(frozen=True)
class Power(Smooth):
    """x ** exponent, for a number."""

    exponent: float

    def compute(self, x: Tensor) -> Tensor:
        return x**self.exponent


@dataclass(frozen=True)
class Cast(Elementwise):
    """The same numbers in another dtype."""

    dtype: torch.dtype

    def infer(self, *inputs: Kind) -> Kind:
        return Kind(inputs[0].shape, self.dtype)

    def compute(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


@dataclass(frozen=True)
class Compare(Elementwise):
    """True where the relation holds: gt, ge, lt, le, eq or ne."""

    relation: str

    def infer(self, *inputs: Kind) -> Kind:
        return Kind(super().infer(*inputs).shape, torch.bool)

    def compute(self, x: Tensor, y: Tensor) -> Tensor:
        return getattr(torch, self.relation)(x, y)


class Where(Elementwise):
    """The first choice where the condition holds, else the second."""

    compute = staticmethod(torch.where)

    def infer(self, *inputs: Kind) -> Kind:
        if inputs[0].dtype != torch.bool:
            raise ValueError(f"the condition must be bool, not {inputs[0].dtype}; compare, such as x > 0")
        return Kind(broadcast([kind.shape for kind in inputs]), same_dtype(*inputs[1:]))


def power(x: Node, exponent: float) -> Node:
    """x ** exponent for a number; of two nodes take exp(y * log(x))."""
    if (number := as_number(exponent)) is None:
        raise GraphError(f"power at {place(made_at())}: the exponent is no number; write exp(y * log(x)) for x > 0")
    return fill(x, 1.0) if number == 0 else x if number == 1 else Power(number)(x)


def fill(x: Node, value: float) -> Node:
    """``value`` everywhere, in x's shape and dtype: a constant, which does not need x itself."""
    if not holds(x.dtype, value) and value != int(value):
        raise GraphError(f"fill with {value} at {place(made_at())}: {x.dtype} cannot hold it; cast(x, dtype) first")
    return Node(Constant(torch.tensor(value, dtype=x.dtype).expand(x.shape)), (), x.kind)


def cast(x: Node, dtype: torch.dtype) -> Node:
    return x if x.dtype == dtype else Cast(dtype)(x)


def equal(x: Node, y: Any) -> Node:
    """Where x and y are equal; == asks whether they are the same node."""
    return Compare("eq")(x, as_node(y, x))


def where(condition: Node, x: Any, y: Any) -> Node:
    """x where ``condition`` holds, else y: nodes, tensors or numbers, two of which have the dtype PyTorch gives."""
    if (one := as_number(x)) is not None and (other := as_number(y)) is not None:
        dtype = torch.result_type(torch.tensor(one), torch.tensor(other))
        x, y = constant(one, dtype), constant(other, dtype)
    x, y = as_nodes([x, y])
    return Where()(condition, x, y)


def with_number(of_number: Callable[[float], Operator], of_two: type[Operator]) -> Any:
    """A method of arithmetic: an operator of its own for a number, another for nodes and tensors."""

    def method(x: Node, y: Any) -> Node:
        if (number := as_number(y)) is not None:
            return of_number(number)(x)
        return of_two()(x, as_node(y, x))

    return method


def inverse(number: float) -> float:
    """1 / number, with 1 / 0 as tensors have it."""
    return 1 / number if number else math.copysign(math.inf, number)


Node.__add__ = Node.__radd__ = with_number(Shift, Add)
Node.__sub__ = with_number(lambda number: Shift(-number), Subtract)
Node.__rsub__ = lambda x, y: -x + y
Node.__mul__ = Node.__rmul__ = with_number(Scale, Multiply)
Node.__truediv__ = with_number(lambda number: Scale(inverse(number)), Divide)
Node.__rtruediv__ = lambda x, y: Divide()(as_node(y, x), x) if as_number(y) is None else x**-1 * y
Node.__pow__ = power
Node.__neg__ = lambda x: Negate()(x)
Node.__gt__ = lambda x, y: Compare("gt")(x, as_node(y, x))
Node.__ge__ = lambda x, y: Compare("ge")(x, as_node(y, x))
Node.__lt__ = lambda x, y: Compare("lt")(x, as_node(y, x))
Node.__le__ = lambda x, y: Compare("le")(x, as_node(y, x))
