"""Forward mode: the derivative along one direction, carried from inputs to output."""

import functools
import operator
from collections.abc import Callable, Sequence

from ..substrate.graph import GraphError, Node, broadcast_to, fill, matmul, variable
from ..substrate.graph import arithmetic as a
from ..substrate.graph import network as n
from ..substrate.graph import shapes as s
from ..substrate.graph import sum as total
from ..substrate.graph.node import listed
from .gradient import gradient, refuse_blocked, refuse_whole_numbers
from .order import topological_order
from .rules import RULES, adjoints, differentiable

LINEAR = (s.Sum, s.Mean, s.BroadcastTo, s.Reshape, s.Transpose, s.Slice, s.Pad, s.Concatenate, a.Cast)
LINEAR_IN_FIRST = (n.Embedding, n.ScatterRows)


def forward_rule(node: Node, tangents: Sequence[Node | None]) -> Node:
    """How ``node`` moves, in its shape, when its inputs move by ``tangents``; None where an input stands still.

    Lab 5, extension ``forward_rule``.
    """
    if isinstance(node.operator, LINEAR):  # a linear map is its own derivative
        return node.operator(*[fill(x, 0.0) if t is None else t for x, t in zip(node.inputs, tangents, strict=True)])
    moving = [(k, t) for k, t in enumerate(tangents) if t is not None]
    if isinstance(node.operator, LINEAR_IN_FIRST):
        return node.operator(moving[0][1], *node.inputs[1:])
    if isinstance(node.operator, s.Matmul):
        a_, b_ = node.inputs
        return functools.reduce(operator.add, [matmul(a_, t) if k else matmul(t, b_) for k, t in moving])
    if isinstance(node.operator, a.Elementwise):  # a diagonal Jacobian is its own transpose: the reverse rule serves
        rule = RULES[type(node.operator)]
        terms = [rule(node, broadcast_to(t, node.shape))[k] for k, t in moving]
        return functools.reduce(operator.add, [term for term in terms if term is not None])
    return transposed_twice(node, moving)


def transposed_twice(node: Node, moving: Sequence[tuple[int, Node]]) -> Node:
    """J t for any operator from its reverse rule alone: u -> J^T u is linear in u, and its transpose is J."""
    u = variable("u", node.shape, node.dtype)  # of no value: a linear map's derivative does not depend on it
    passed = adjoints(node, u)
    terms = [total(p * t) for k, t in moving if (p := passed[k]) is not None]
    return gradient(functools.reduce(operator.add, terms), [u])[0]


def directional(
    output: Node,
    inputs: Sequence[Node],
    directions: Sequence[Node],
    rule: Callable[[Node, Sequence[Node | None]], Node] = forward_rule,
) -> Node:
    """d output along ``directions``, one for each input and in its shape, as a graph: a Jacobian times a vector.

    One pass gives the derivative of every entry of the output along one direction, where ``gradient`` gives that of one
    output along every direction. ``rule`` is ``forward_rule``, or one's own. Raises GraphError where ``gradient`` does.
    """
    inputs, directions = listed(inputs, "inputs of a derivative"), listed(directions, "directions")
    refuse_whole_numbers(output, inputs)
    for x, direction in zip(inputs, directions, strict=True):
        if x.kind != direction.kind:
            raise GraphError(f"the direction {direction} must have shape and dtype of {x}")
    tangents = dict(zip(inputs, directions, strict=True))
    order = topological_order([output])
    for node in order:
        moved = any(x in tangents for x in node.inputs)
        if moved and node not in tangents and differentiable(node):
            tangents[node] = rule(node, [tangents.get(x) for x in node.inputs])
    if output in tangents:
        return tangents[output]
    for x in inputs:
        refuse_blocked(x, order, output)
    return fill(output, 0.0)
