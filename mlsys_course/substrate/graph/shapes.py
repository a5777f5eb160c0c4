"""Reductions, changes of shape, and the matrix product: all linear but one, the maximum."""

import builtins
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias

import torch
from torch import Tensor

from .arithmetic import broadcast, floating, same_dtype
from .node import GraphError, Kind, Node, Operator, Shape, as_node, as_nodes, listed, made_at, place

Index: TypeAlias = int | slice | EllipsisType
Bounds = tuple[tuple[int, int, int], ...]  # (start, stop, step) of each axis


@dataclass(frozen=True)
class Reduction(Operator):
    """One number for all entries along ``axes``, which count from 0; ``keepdims`` leaves them with size one."""

    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, *inputs: Kind) -> Kind:
        (shape, dtype), gone = inputs[0], set(self.axes)
        kept = [1 if axis in gone else size for axis, size in enumerate(shape) if self.keepdims or axis not in gone]
        return Kind(tuple(kept), dtype)


class Sum(Reduction):
    def compute(self, x: Tensor) -> Tensor:
        return torch.sum(x, self.axes, keepdim=self.keepdims, dtype=x.dtype)


class Mean(Reduction):
    def infer(self, *inputs: Kind) -> Kind:
        floating(inputs[0])
        return super().infer(*inputs)

    def compute(self, x: Tensor) -> Tensor:
        return torch.mean(x, self.axes, keepdim=self.keepdims)


class Max(Reduction):
    def infer(self, *inputs: Kind) -> Kind:
        if any(inputs[0].shape[axis] == 0 for axis in self.axes):
            raise ValueError("an axis of size 0 has no largest entry")
        return super().infer(*inputs)

    def compute(self, x: Tensor) -> Tensor:
        return torch.amax(x, self.axes, keepdim=self.keepdims)


@dataclass(frozen=True)
class BroadcastTo(Operator):
    """Axes of size one, and axes that are not there, repeated to ``shape``."""

    shape: Shape

    def infer(self, *inputs: Kind) -> Kind:
        if broadcast([inputs[0].shape, self.shape]) != self.shape:
            raise ValueError(f"it does not stretch to {self.shape}")
        return Kind(self.shape, inputs[0].dtype)

    def compute(self, x: Tensor) -> Tensor:
        return x.expand(self.shape)


@dataclass(frozen=True)
class Reshape(Operator):
    """The same numbers in the same order."""

    shape: Shape

    def infer(self, *inputs: Kind) -> Kind:
        if math.prod(self.shape) != math.prod(inputs[0].shape):
            raise ValueError(f"it has not as many entries as {self.shape}")
        return Kind(self.shape, inputs[0].dtype)

    def compute(self, x: Tensor) -> Tensor:
        return x.reshape(self.shape)


@dataclass(frozen=True)
class Transpose(Operator):
    """Axis i of the result is axis order[i] of x."""

    order: tuple[int, ...]

    def infer(self, *inputs: Kind) -> Kind:
        shape, dtype = inputs[0]
        if sorted(self.order) != list(range(len(shape))):
            raise ValueError(f"order {self.order} does not name each of its {len(shape)} axes once")
        return Kind(tuple(shape[axis] for axis in self.order), dtype)

    def compute(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


@dataclass(frozen=True)
class Slice(Operator):
    """Along each axis the entries range(start, stop, step)."""

    bounds: Bounds

    def infer(self, *inputs: Kind) -> Kind:
        return Kind(tuple(len(range(*bound)) for bound in self.bounds), inputs[0].dtype)

    def compute(self, x: Tensor) -> Tensor:
        return x[tuple(slice(*bound) for bound in self.bounds)]


@dataclass(frozen=True)
class Pad(Operator):
    """Slice's way back: x at ``bounds`` of a tensor of ``shape`` that is zero elsewhere."""

    shape: Shape
    bounds: Bounds

    def infer(self, *inputs: Kind) -> Kind:
        place = tuple(len(range(*bound)) for bound in self.bounds)
        if len(self.shape) != len(place) or inputs[0].shape != place:
            raise ValueError(f"bounds {self.bounds} of shape {self.shape} are a place of shape {place}")
        return Kind(self.shape, inputs[0].dtype)

    def compute(self, x: Tensor) -> Tensor:
        padded = x.new_zeros(self.shape)
        padded[tuple(slice(*bound) for bound in self.bounds)] = x
        return padded


@dataclass(frozen=True)
class Concatenate(Operator):
    """Inputs one after the other along ``axis``, which counts from 0."""

    axis: int

    def infer(self, *inputs: Kind) -> Kind:
        rests = {(*kind.shape[: self.axis], *kind.shape[self.axis + 1 :]) for kind in inputs}
        if len(rests) > 1 or len({len(kind.shape) for kind in inputs}) > 1:
            raise ValueError(f"sizes must be equal but along axis {self.axis}")
        total = builtins.sum(kind.shape[self.axis] for kind in inputs)
        first = inputs[0].shape
        return Kind((*first[: self.axis], total, *first[self.axis + 1 :]), same_dtype(*inputs))

    def compute(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, self.axis)


@dataclass(frozen=True)
class Matmul(Operator):
    """Matrix products of the last two axes; the axes before them broadcast."""

    compute = staticmethod(torch.matmul)

    def infer(self, *inputs: Kind) -> Kind:
        a, b = (kind.shape for kind in inputs)
        if min(len(a), len(b)) < 2:
            raise ValueError("needs two axes or more on both sides; reshape a vector to a row or a column")
        if a[-1] != b[-2]:
            raise ValueError(f"{a[-1]} columns do not meet {b[-2]} rows")
        return Kind((*broadcast([a[:-2], b[:-2]]), a[-2], b[-1]), floating(*inputs))


def axes_of(x: Node, axes: int | Sequence[int] | None) -> tuple[int, ...]:
    """``axes`` counted from 0, in order; None means all."""
    rank = len(x.shape)
    given = range(rank) if axes is None else [axes] if isinstance(axes, int) else axes
    if wrong := [axis for axis in given if not -rank <= axis < rank]:
        raise GraphError(
            f"axis {wrong[0]} of {x.label} with shape {x.shape}, at {place(made_at())}: it has {rank} axes"
        )
    found = sorted(axis % rank for axis in given)
    if len(set(found)) < len(found):
        raise GraphError(f"axes {tuple(given)} of shape {x.shape}, at {place(made_at())}: name each axis once")
    return tuple(found)


def sum(x: Node, axes: int | Sequence[int] | None = None, keepdims: bool = False) -> Node:
    """The sum along ``axes``, by default all; along none it is x itself."""
    along = axes_of(x, axes)
    return Sum(along, keepdims)(x) if along else x


def mean(x: Node, axes: int | Sequence[int] | None = None, keepdims: bool = False) -> Node:
    along = axes_of(x, axes)
    return Mean(along, keepdims)(x) if along else x


def max(x: Node, axes: int | Sequence[int] | None = None, keepdims: bool = False) -> Node:
    along = axes_of(x, axes)
    return Max(along, keepdims)(x) if along else x


def broadcast_to(x: Node, shape: Sequence[int]) -> Node:
    return x if x.shape == tuple(shape) else BroadcastTo(tuple(shape))(x)


def reshape(x: Node, shape: Sequence[int]) -> Node:
    """The same numbers in another shape; one size may be -1, whatever is left."""
    sizes, known = list(shape), math.prod(size for size in shape if size != -1)
    if -1 in sizes:
        if not known:
            raise GraphError(f"reshape of {x.kind} to {tuple(shape)}, at {place(made_at())}: any size would do for -1")
        sizes[sizes.index(-1)] = math.prod(x.shape) // known
    return x if x.shape == tuple(sizes) else Reshape(tuple(sizes))(x)


def transpose(x: Node, order: Sequence[int] | None = None) -> Node:
    """Axes in ``order``; without it the last two change places."""
    if order is None:
        if len(x.shape) < 2:
            raise GraphError(f"transpose of shape {x.shape}, at {place(made_at())}: needs two axes or more")
        order = [*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2]
    return Transpose(tuple(order))(x)


def pad(x: Node, shape: Sequence[int], bounds: Bounds) -> Node:
    """A tensor of ``shape`` with x at ``bounds``, the (start, stop, step) of each axis, and zeros elsewhere."""
    return Pad(tuple(shape), bounds)(x)


def concatenate(inputs: Sequence[Node], axis: int = 0) -> Node:
    nodes = listed(inputs, "concatenate")
    if not nodes:
        raise GraphError(f"concatenate at {place(made_at())}: give one node or more")
    nodes = as_nodes(nodes)
    return Concatenate(axes_of(nodes[0], axis)[0])(*nodes)


def matmul(x: Node, y: Node) -> Node:
    return Matmul()(x, y)


def take(x: Node, index: Index | tuple[Index, ...]) -> Node:
    """x[index] for whole numbers, which drop their axis, slices with steps of one or more, and one ``...``."""
    given = list(index) if isinstance(index, tuple) else [index]
    spot = place(made_at())
    if len(given) - given.count(...) > len(x.shape) or given.count(...) > 1:
        raise GraphError(f"index {index} of {x.label} with shape {x.shape}, at {spot}: too many indices")
    at = given.index(...) if ... in given else len(given)
    missing = [slice(None)] * (len(x.shape) - len(given) + given.count(...))
    given[at : at + 1] = missing
    bounds, kept = [], []
    for axis, (one, size) in enumerate(zip(given, x.shape, strict=True)):
        if isinstance(one, slice):
            start, stop, step = one.indices(size)
            if step < 1:
                raise GraphError(f"index {index}, at {spot}: steps must be 1 or more")
            bounds.append((start, stop, step))
            kept.append(len(range(start, stop, step)))
        elif isinstance(one, int) and -size <= one < size:
            bounds.append((one % size, one % size + 1, 1))
        else:
            raise GraphError(f"index {one!r} along axis {axis} of shape {x.shape}, at {spot}: no entry of it")
    cut = (
        x
        if all(bound == (0, size, 1) for bound, size in zip(bounds, x.shape, strict=True))
        else Slice(tuple(bounds))(x)
    )
    return reshape(cut, kept)


def rows(x: Node) -> Iterator[Node]:
    """x[0], x[1], ...: what unpacking a node gives."""
    if not x.shape:
        raise GraphError(f"unpacking {x.label} of shape (), at {place(made_at())}: it has no axis to go along")
    return iter([x[n] for n in range(x.shape[0])])


Node.__matmul__ = lambda x, y: Matmul()(x, as_node(y, x))
Node.__rmatmul__ = lambda x, y: Matmul()(as_node(y, x), x)
Node.__getitem__ = take
Node.__iter__ = rows
