"""A computation as a graph: what is made from what, before any number is known."""

import contextlib
import functools
import itertools
import numbers
import operator
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..errors import CourseProblem

Shape = tuple[int, ...]
Place = tuple[str, int]  # file and line
OWN = tuple(str(Path(__file__).parents[2] / name) for name in ("substrate/graph", "autodiff"))
_numbers = itertools.count()
_made_for: list[Place] = []


class GraphError(CourseProblem, ValueError):
    """A graph that cannot be built: names the operator, what it was given, and the line that asked for it."""


class Kind(NamedTuple):
    """What is known of a value beforehand."""

    shape: Shape
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}{list(self.shape)}"


@dataclass(frozen=True, eq=False)
class Operator:
    """What a node does with its inputs. A dataclass below, so that two with equal fields are the same operator.

    ``compute`` maps tensors to a tensor and changes none of them; ``infer`` maps the inputs' kinds to the result's,
    and raises ValueError on inputs that do not fit. Neither knows of gradients.
    """

    name: ClassVar[str] = "operator"
    compute: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls) -> None:
        cls.name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()

    def infer(self, *inputs: Kind) -> Kind:
        raise NotImplementedError

    def __call__(self, *inputs: Any) -> "Node":
        inputs = as_nodes(inputs)
        try:
            fields = tuple(map(type, vars(self).values()))  # 3 and 3.0 are equal, and differ beside whole numbers
            return Node(self, inputs, _infer(self, fields, *[x.kind for x in inputs]))
        except ValueError as problem:
            given = " and ".join(str(x.kind) for x in inputs)
            raise GraphError(f"{self.name} of {given}, at {place(made_at())}: {problem}") from None


@functools.lru_cache(maxsize=1 << 14)
def _infer(operator: Operator, fields: tuple[type, ...], *inputs: Kind) -> Kind:
    """Graphs repeat themselves, layer by layer and step by step."""
    return operator.infer(*inputs)


@dataclass(frozen=True, eq=False)
class Variable(Operator):
    """A value to be fed. Equal to nothing but itself, whatever its name."""

    label: str


@dataclass(frozen=True, eq=False)
class Constant(Operator):
    """A tensor that is part of the graph."""

    value: Tensor

    def compute(self) -> Tensor:
        return self.value


class Node:
    """One value of a graph: the operator that makes it, from which nodes, and its shape and dtype.

    Numbers count up as nodes are made, and inputs are there before the node that uses them.
    """

    __array_ufunc__ = None  # so that NumPy's numbers leave arithmetic with a node to the node
    __slots__ = ("dtype", "inputs", "kind", "number", "operator", "shape", "where")

    def __init__(self, operator: Operator, inputs: Sequence["Node"], kind: Kind):
        self.operator: Any = operator  # with fields of its own
        self.inputs = tuple(inputs)
        self.kind = kind
        self.shape, self.dtype = kind
        self.number, self.where = next(_numbers), made_at()

    def __repr__(self) -> str:
        return f"{self.label} = {self.operator.name}({', '.join(x.label for x in self.inputs)}): {self.kind}"

    @property
    def label(self) -> str:
        """A variable's name, or the node's number."""
        return self.operator.label if isinstance(self.operator, Variable) else f"v{self.number}"

    @property
    def made_where(self) -> str:
        """The line outside this package that made the node."""
        return place(self.where)

    @property
    def is_variable(self) -> bool:
        return isinstance(self.operator, Variable)

    def __bool__(self) -> bool:
        raise GraphError(
            f"whether {self.label} holds, at {place(made_at())}: a node has no value before the graph runs, so Python "
            "cannot choose by it (if, and, or, max, 0 < x < 1); write where(condition, x, y)"
        )

    def __eq__(self, other: object) -> bool:
        """Whether it is the same node. A number's or a tensor's would always be False, so it is refused."""
        if isinstance(other, int | float | Tensor):
            raise GraphError(
                f"{self.label} == a {type(other).__name__}, at {place(made_at())}: == asks whether two nodes are the "
                "same; write equal(x, y) for a node that is True where entries are equal"
            )
        return self is other

    __hash__ = object.__hash__

    # Arithmetic and indexing stand in arithmetic.py and shapes.py, with the operators that they make.
    __add__: Any
    __radd__: Any
    __sub__: Any
    __rsub__: Any
    __mul__: Any
    __rmul__: Any
    __truediv__: Any
    __rtruediv__: Any
    __pow__: Any
    __matmul__: Any
    __rmatmul__: Any
    __gt__: Any
    __ge__: Any
    __lt__: Any
    __le__: Any
    __neg__: Any
    __getitem__: Any
    __iter__: Any


def variable(name: str, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> Node:
    """A value that is fed when the graph runs. It has one shape and one dtype, so that mistakes show at once."""
    return Node(Variable(name), (), Kind(tuple(shape), dtype))


def constant(value: Tensor | float, dtype: torch.dtype | None = None) -> Node:
    """A value that is known now and part of the graph; a later change of the tensor does not reach it."""
    value = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(value)
    value = value if dtype is None else value.to(dtype)
    return Node(Constant(value), (), Kind(tuple(value.shape), value.dtype))


def listed(nodes: Sequence[Node], what: str) -> list[Node]:
    """The nodes as a list. A single one could be unpacked too, into its rows, and is refused."""
    if isinstance(nodes, Node):
        raise GraphError(f"{what} at {place(made_at())}: give a list of nodes, [{nodes.label}], not one node")
    return list(nodes)


def as_node(value: Any, like: Node) -> Node:
    """Nodes as they are; a tensor as a constant; a number as a constant of ``like``'s dtype."""
    if isinstance(value, Node):
        return value
    if (number := as_number(value)) is not None:
        value = number
        if not holds(like.dtype, value):
            spot = place(made_at())
            raise GraphError(f"{value} beside {like.label} of {like.dtype}, at {spot}: cast(x, dtype) first")
        return constant(value, like.dtype)
    if isinstance(value, Tensor):
        return constant(value)
    raise GraphError(f"{value!r} beside {like.label}, at {place(made_at())}: give a node, a tensor or a number")


def as_nodes(inputs: Sequence[Any]) -> tuple[Node, ...]:
    """Inputs of an operator as nodes; numbers take the dtype of the first node or tensor."""
    if all(isinstance(x, Node) for x in inputs):
        return tuple(inputs)
    like = next((constant(x) if isinstance(x, Tensor) else x for x in inputs if isinstance(x, Node | Tensor)), None)
    if like is None:
        raise GraphError(f"{', '.join(map(repr, inputs))} at {place(made_at())}: give a node or a tensor among them")
    return tuple(as_node(x, like) for x in inputs)


def as_number(value: Any) -> float | None:
    """Python's number for a number of any library, such as ``np.float32(2)``; None for anything else."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return None


def holds(dtype: torch.dtype, number: float) -> bool:
    """Whether a number of this type stays what it is in ``dtype``: 2.5 does not among whole numbers."""
    kinds = bool if dtype == torch.bool else int
    return dtype.is_floating_point or dtype.is_complex or isinstance(number, kinds)


def made_at() -> Place:
    """File and line of the innermost caller outside this package and ``autodiff``, or what ``made_for`` says."""
    if _made_for:
        return _made_for[-1]
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame else ("<unknown>", 0)


@contextlib.contextmanager
def made_for() -> Iterator[Callable[[Node], None]]:
    """Inside, new nodes are said to be made where another one was: a gradient at the line that it differentiates.

    Yields the function that names the other.
    """
    _made_for.append(("<unknown>", 0))
    try:
        yield lambda node: operator.setitem(_made_for, -1, node.where)
    finally:
        _made_for.pop()


def place(where: Place) -> str:
    """A file and line as people read it; a notebook's cell has no name of its own."""
    file, line = where
    return f"line {line} of a notebook's cell" if "ipykernel" in file or file.startswith("<") else f"{file}:{line}"
