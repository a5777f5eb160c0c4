"""The table of gradient rules, and the two things that every rule has in common."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch

from ..substrate.graph import GraphError, Node, Operator, cast, reshape
from ..substrate.graph import sum as total

# From a node and its adjoint to the adjoints that it passes on, one for each input, or None where there is none.
Rule: TypeAlias = Callable[[Node, Node], Sequence[Node | None]]
RULES: dict[type[Operator], Rule] = {}


def rule(*operators: type[Operator]) -> Callable[[Rule], Rule]:
    """Write a function into the table as the rule of ``operators``; what it returns has the inputs' dtypes there."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, there := rounded(function)))
        return there

    return register


def rounded(function: Rule) -> Rule:
    """A rule that may calculate in a wider dtype; what it returns is rounded to the inputs' dtypes."""

    @functools.wraps(function)
    def in_the_inputs_dtypes(node: Node, grad: Node) -> Sequence[Node | None]:
        partials = zip(function(node, grad), node.inputs, strict=True)
        return [None if p is None else cast(p, x.dtype) for p, x in partials]

    return in_the_inputs_dtypes


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


def adjoints(node: Node, grad: Node, rules: Mapping[type[Operator], Rule] = RULES, sum_to=sum_to) -> list[Node | None]:
    """What ``node`` with adjoint ``grad`` passes to its inputs, in their shapes; None where nothing flows.

    Nothing flows to or from whole numbers. Raises GraphError where the operator has no rule.
    """
    own = rules.get(type(node.operator))
    if own is None or not real(node):
        if real(node) and any(real(x) for x in node.inputs):
            raise no_rule(node)
        return [None] * len(node.inputs)
    partials = own(node, grad)
    return [None if p is None else sum_to(p, x.shape) for p, x in zip(partials, node.inputs, strict=True)]


def rule_with(sum_to: Callable[[Node, Sequence[int]], Node] = sum_to, **own: Rule) -> Rule:
    """``adjoints`` with functions of one's own, each for all operators that the course's of its name is for.

    ``rule_with(linear_gradients=mine)`` is what ``gradient`` and ``TrainingStep`` take as ``rule``. Raises ValueError
    for a name that is none of the course's.
    """
    names = {known.__name__ for known in RULES.values()}
    if unknown := own.keys() - names:
        raise ValueError(f"no rules are called {min(unknown)!r}; there are {', '.join(sorted(names))}")
    table = {operator: rounded(own.get(known.__name__, known)) for operator, known in RULES.items()}
    return functools.partial(adjoints, rules=table, sum_to=sum_to)


def no_rule(node: Node) -> GraphError:
    """That a gradient was asked of an operator that has none."""
    return GraphError(f"no gradient through {node}, made at {node.made_where}: {node.operator.name} has none")


def real(node: Node) -> bool:
    """Whether its values are no whole numbers."""
    return node.dtype.is_floating_point or node.dtype.is_complex


def differentiable(node: Node) -> bool:
    """Whether a gradient can flow through ``node``: it has a rule, and its values are no whole numbers."""
    return type(node.operator) in RULES and real(node)
