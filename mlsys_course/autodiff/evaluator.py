"""The evaluator: runs a graph on tensors, as often as asked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..substrate.errors import CourseProblem
from ..substrate.graph import Constant, Kind, Node
from ..substrate.graph.node import listed
from .order import topological_order


class FeedError(CourseProblem, ValueError):
    """A feed that is missing, or not what its variable says."""


class EvaluationError(CourseProblem, RuntimeError):
    """An operator that fails on its inputs: names it, their shapes, and where the node was made."""


class Step(NamedTuple):
    """One node: what computes it, from which places, into which, and which places nobody reads afterwards."""

    compute: Callable[..., Tensor]
    sources: tuple[int, ...]
    target: int
    dead: tuple[int, ...]


class Evaluator:
    """Computes ``outputs`` from feeds; no value outlives a run. Lab 5, exercise ``Evaluator``.

    Order and lifetimes are planned once. In a run each node is computed once, and its value is let go after its last
    use, so that memory is that of what is still needed. Works on the device of its feeds. Nothing is done in place;
    an output may be a view of a feed, as in PyTorch. ``order`` are the nodes that the outputs need, inputs before
    users; without it ``topological_order`` finds it.
    """

    def __init__(self, outputs: Sequence[Node], order: Sequence[Node] | None = None):
        self.outputs = listed(outputs, "outputs of an evaluator")
        order = topological_order(self.outputs) if order is None else order
        self.variables = [node for node in order if node.is_variable]
        self.constants = [node for node in order if isinstance(node.operator, Constant)]
        self.nodes = [node for node in order if node.inputs]
        self.places = {node: i for i, node in enumerate(order)}
        self.steps = self._plan()

    def _plan(self) -> list[Step]:
        """The steps, planned backward: whoever is last in the order to read a value is the first seen here."""
        kept, steps = {self.places[node] for node in self.outputs}, []
        for node in reversed(self.nodes):
            sources = tuple(self.places[x] for x in node.inputs)
            dead = tuple(set(sources) - kept)
            kept.update(dead)
            steps.append(Step(node.operator.compute, sources, self.places[node], dead))
        return steps[::-1]

    def __call__(self, feeds: Mapping[Node, Tensor]) -> list[Tensor]:
        """The values of the outputs, in order. ``feeds`` has a tensor for each variable that they need.

        Raises FeedError on a feed that is missing, of another shape or dtype, for no variable, or on another device
        than the rest; EvaluationError where an operator refuses its values.
        """
        values: list[Any] = [None] * len(self.places)
        device = self._check(feeds)
        for node in self.variables:
            values[self.places[node]] = feeds[node]
        for node in self.constants:
            # A copy: an output may be a view of it, and what a caller does to that must not reach the graph.
            values[self.places[node]] = node.operator.value.to(device, copy=True)
        at = 0
        with torch.no_grad():
            try:
                for at, (compute, sources, target, dead) in enumerate(self.steps):  # noqa: B007
                    values[target] = compute(*[values[i] for i in sources])
                    for i in dead:
                        values[i] = None
            except (RuntimeError, IndexError, ValueError) as problem:
                node = self.nodes[at]
                given = " and ".join(str(x.kind) for x in node.inputs)
                raise EvaluationError(
                    f"{node.operator.name} of {given}, made at {node.made_where}: {str(problem).splitlines()[0]}"
                ) from problem
        return [values[self.places[node]] for node in self.outputs]

    def _check(self, feeds: Mapping[Node, Tensor]) -> torch.device:
        """The device of all feeds."""
        for node in feeds:
            if not (isinstance(node, Node) and node.is_variable):
                raise FeedError(f"a feed for {node!r}, which is no variable; feed what `variable(...)` returned")
        device = torch.device("cpu")
        for n, node in enumerate(self.variables):
            if node not in feeds:
                raise FeedError(f"no feed for {node.label}, made at {node.made_where}; give a tensor for it")
            value = feeds[node]
            wanted = f"{node.label} takes {node.kind}"
            if not isinstance(value, Tensor):
                raise FeedError(f"{wanted}, not a {type(value).__name__}; give a tensor")
            if (tuple(value.shape), value.dtype) != (node.shape, node.dtype):
                raise FeedError(f"{wanted}, not {Kind(tuple(value.shape), value.dtype)}")
            if n and value.device != device:
                raise FeedError(f"{node.label} is on {value.device}, others on {device}; bring all to one device")
            device = value.device
        return device


def evaluate(outputs: Sequence[Node], feeds: Mapping[Node, Tensor]) -> list[Tensor]:
    """The values of ``outputs``, once."""
    return Evaluator(outputs)(feeds)
