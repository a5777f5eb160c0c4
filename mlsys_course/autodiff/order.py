"""An order of a graph's nodes in which inputs come before what uses them."""

from collections.abc import Sequence

from ..substrate.graph import GraphError, Node
from ..substrate.graph.node import listed


def topological_order(outputs: Sequence[Node]) -> list[Node]:
    """Every node that ``outputs`` need, once, inputs before users. Lab 5, exercise ``topological_order``.

    A node waits on the stack while its inputs are visited, so depth is limited by memory, not by recursion. The order
    is then that in which the nodes were made, the order of a program run line by line: a gradient is made right where
    backward reaches it, so values live no longer than in PyTorch. Raises GraphError on a cycle.
    """
    found: set[Node] = set()
    waiting = listed(outputs, "outputs")
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.inputs)
    order = sorted(found, key=lambda node: node.number)
    for node in order:
        for x in node.inputs:
            if x.number >= node.number:
                raise GraphError(f"a cycle: {node} uses {x.label}, which is made after it; inputs never change")
    return order
