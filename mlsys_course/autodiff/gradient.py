"""``gradient``: from the graph of a computation to the graph of its derivatives."""

import functools
import operator
from collections.abc import Callable, Sequence

from ..substrate.graph import GraphError, Node, fill
from ..substrate.graph.node import listed, made_for
from . import rules_elementwise, rules_further, rules_network, rules_shapes  # noqa: F401  (they fill the table)
from .order import topological_order
from .rules import Rule, adjoints, differentiable, real

Step = Callable[[Node, Node, dict[Node, list[Node]]], None]


def gradient(
    output: Node,
    inputs: Sequence[Node],
    order: Sequence[Node] | None = None,
    rule: Rule = adjoints,
    seed: Node | None = None,
    watch: Step | None = None,
) -> list[Node]:
    """Nodes of d output / d input, for each input, in its shape and dtype. Lab 5, exercise ``gradient``.

    The adjoint of a node is the sum over all its uses; nodes are finished in reverse topological order. Of an output
    with several entries it is the gradient of their sum, or with ``seed``, a node like it, of the weighted sum. An
    input that the output does not depend on gets zeros. Raises GraphError where output or input are whole numbers, and
    where an input reaches the output through operators without a gradient only.

    ``order`` are the nodes that the output needs, inputs before users; without it ``topological_order`` finds it.
    ``rule`` says what a node passes to its inputs, and is asked about each node at most once.
    ``watch(node, adjoint, node_to_grad)`` sees each step. Source: lecture note 004, "Construct the Backward Graph".
    """
    inputs = listed(inputs, "inputs of a gradient")
    order = topological_order([output]) if order is None else order
    refuse_whole_numbers(output, inputs)
    if seed is not None and seed.kind != output.kind:
        raise GraphError(f"the seed {seed} must have shape and dtype of the output {output}")
    depends = _depends(order, inputs)
    node_to_grad: dict[Node, list[Node]] = {output: [fill(output, 1.0) if seed is None else seed]}
    with made_for() as name:
        for node in reversed(order):
            if node not in node_to_grad:
                continue
            name(node)
            adjoint = functools.reduce(operator.add, node_to_grad[node])
            node_to_grad[node] = [adjoint]
            if any(x in depends for x in node.inputs):
                for x, partial in zip(node.inputs, rule(node, adjoint), strict=True):
                    if partial is not None and x in depends:
                        node_to_grad.setdefault(x, []).append(partial)
            if watch:
                watch(node, adjoint, node_to_grad)
    for x in inputs:
        if x not in node_to_grad:
            refuse_blocked(x, order, output)
            node_to_grad[x] = [fill(x, 0.0)]
    return [node_to_grad[x][0] for x in inputs]


def _depends(order: Sequence[Node], inputs: Sequence[Node]) -> set[Node]:
    """Nodes of ``order`` through which a gradient flows to some input, the inputs among them."""
    wanted, found = set(inputs), set()
    for node in order:
        if node in wanted or (differentiable(node) and any(x in found for x in node.inputs)):
            found.add(node)
    return found


def refuse_whole_numbers(output: Node, inputs: Sequence[Node]) -> None:
    """Raise GraphError where the output or an input is of a dtype that has no gradient."""
    for node, role in [(output, "output"), *((x, "input") for x in inputs)]:
        if not real(node):
            raise GraphError(
                f"the {role} {node}, made at {node.made_where}: {node.dtype} has no gradient; "
                "choose a floating-point node"
            )


def refuse_blocked(x: Node, order: Sequence[Node], output: Node) -> None:
    """Raise GraphError if ``x`` reaches the output after all, through an operator that no gradient passes."""
    reached = {x}
    for node in order:
        if any(y in reached for y in node.inputs):
            reached.add(node)
            if not differentiable(node):
                raise GraphError(
                    f"{x.label} reaches {output.label} only through {node}, made at {node.made_where}: no gradient "
                    f"flows through {node.operator.name}; it is constant almost everywhere"
                )
