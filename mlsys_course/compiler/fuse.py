"""Element-wise operators in a row become one pass over memory."""

from collections.abc import Sequence

from ..substrate.graph import Node
from ..substrate.graph.arithmetic import Elementwise


def fuse_elementwise(order: Sequence[Node], outputs: Sequence[Node]) -> list[list[Node]]:
    """Nodes with inputs in as few groups as can be, each of which is one loop: its last node's value leaves it.

    A node joins the group of its user if both are element-wise and of one shape, it has no other user, and it is no
    output: else its value would be computed again, or not be there when it is asked for. Each group is in order, inputs
    before users, and groups come in the order of their last nodes. Lab 6, exercise ``fuse_elementwise``.
    """
    users: dict[Node, set[Node]] = {}
    for node in order:
        for x in node.inputs:
            users.setdefault(x, set()).add(node)
    ending: dict[Node, list[Node]] = {}  # groups by their last nodes
    for node in order:
        if node.inputs:
            joining = [x for x in dict.fromkeys(node.inputs) if joins(x, node) and len(users[x]) == 1]
            before = [ending.pop(x) for x in joining if x not in outputs]
            ending[node] = [*(one for group in before for one in group), node]
    return list(ending.values())


def joins(x: Node, user: Node) -> bool:
    """Whether both are element-wise over the same entries. What is stretched is made once, before the loop."""
    both = isinstance(x.operator, Elementwise) and isinstance(user.operator, Elementwise)
    return both and bool(x.inputs) and x.shape == user.shape
