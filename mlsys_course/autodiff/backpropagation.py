"""Backpropagation on the forward graph, as Caffe had it: numbers run backward, and no graph is built."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..substrate.graph import Node, constant
from ..substrate.graph.node import listed
from .evaluator import evaluate
from .gradient import refuse_blocked, refuse_whole_numbers
from .order import topological_order
from .rules import Rule, adjoints, differentiable


def backpropagate(
    output: Node, inputs: Sequence[Node], feeds: Mapping[Node, Tensor], rule: Rule = adjoints
) -> list[Tensor]:
    """Tensors of d output / d input at ``feeds``. The same sums as ``gradient``, with numbers for nodes.

    Every value of the forward pass is kept until the end; the result serves for these feeds only, and cannot be
    differentiated again.
    """
    inputs = listed(inputs, "inputs of a gradient")
    refuse_whole_numbers(output, inputs)
    order = topological_order([output])
    values = dict(zip(order, evaluate(order, feeds), strict=True))
    sums: dict[Node, Tensor] = {output: torch.ones_like(values[output])}
    for node in reversed(order):
        if node in sums and node.inputs and differentiable(node):
            for x, passed in zip(node.inputs, _passed(node, values, sums[node], rule), strict=True):
                if passed is not None:
                    sums[x] = sums[x] + passed if x in sums else passed
    for x in inputs:
        if x not in sums:
            refuse_blocked(x, order, output)
            sums[x] = torch.zeros(x.shape, dtype=x.dtype, device=values[output].device)
    return [sums[x] for x in inputs]


def _passed(node: Node, values: Mapping[Node, Tensor], adjoint: Tensor, rule: Rule) -> list[Tensor | None]:
    """The rule at one node, at once in numbers."""
    here = Node(node.operator, [constant(values[x]) for x in node.inputs], node.kind)
    partials = rule(here, constant(adjoint))
    found = iter(evaluate([p for p in partials if p is not None], {}))
    return [None if p is None else next(found) for p in partials]
