"""The table of gradient rules, and the two things that every rule has in common."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from ..substrate.graph import GraphError, Node, Operator, cast, reshape
from ..substrate.graph import sum as total

# From a node and its adjoint to the adjoints that it passes on, one for each input, or None where there is none.
Rule: TypeAlias = Callable[[Node, Node], Sequence[Node | None]]
RULES: dict[type[Operator], Rule] = {}


def rule(operator: type[Operator]) -> Callable[[Rule], Rule]:
    """Write a function into the table as the rule of ``operator``; what it returns has the inputs' dtypes there."""

    def register(function: Rule) -> Rule:
        def rounded(node: Node, grad: Node) -> Sequence[Node | None]:
            partials = zip(function(node, grad), node.inputs, strict=True)
            return [None if p is None else cast(p, x.dtype) for p, x in partials]

        RULES[operator] = rounded
        return rounded

    return register


def sum_to(grad: Node, shape: Sequence[int]) -> Node:
    """Broadcasting's way back: the sum over all copies that an input of ``shape`` was stretched to.

    Axes that broadcasting put in front go, axes that it stretched from size one have size one again. Lab 5, exercise
    ``sum_to``.
    """
    if grad.shape == tuple(shape):
        return grad
    extra = len(grad.shape) - len(shape)
    stretched = [axis for axis, size in enumerate(shape, extra) if size == 1 and grad.shape[axis] != 1]
    return reshape(total(grad, [*range(extra), *stretched], keepdims=True), shape)


def widened(*nodes: Node) -> list[Node]:
    """Nodes of 16 bits in float32, others as they are: a square of 300 is beyond float16.

    A rule that sums or squares calculates in these, as PyTorch's kernels do, and the table rounds what it returns.
    """
    return [cast(x, torch.float32) if x.dtype in (torch.float16, torch.bfloat16) else x for x in nodes]


def adjoints(node: Node, grad: Node) -> list[Node | None]:
    """What ``node`` with adjoint ``grad`` passes to its inputs, in their shapes; None where nothing flows."""
    if type(node.operator) not in RULES:
        raise GraphError(f"no gradient through {node}, made at {node.made_where}: {node.operator.name} has none")
    partials = RULES[type(node.operator)](node, grad)
    return [None if p is None else sum_to(p, x.shape) for p, x in zip(partials, node.inputs, strict=True)]


def differentiable(node: Node) -> bool:
    """Whether a gradient can flow through ``node``: it has a rule, and its values are no whole numbers."""
    return type(node.operator) in RULES and (node.dtype.is_floating_point or node.dtype.is_complex)
