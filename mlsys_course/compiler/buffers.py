"""The memory plan: when each value is needed, and where it lies."""

import math
from collections.abc import Sequence

from ..substrate.graph import Node

ALIGNMENT = 64  # bytes: a cache line


def bytes_of(node: Node) -> int:
    """What the node's value takes."""
    return math.prod(node.shape) * node.dtype.itemsize


def rounded(node: Node) -> int:
    """What it takes in an arena: whole multiples of 64 bytes."""
    return -(-bytes_of(node) // ALIGNMENT) * ALIGNMENT


def last_uses(order: Sequence[Node], outputs: Sequence[Node]) -> dict[Node, int]:
    """The place in the order after which nobody needs a node's value; of outputs the end."""
    last = {node: at for at, node in enumerate(order)}
    for at, node in enumerate(order):
        for x in node.inputs:
            last[x] = at
    return last | dict.fromkeys(outputs, len(order))


def peak_bytes(order: Sequence[Node], outputs: Sequence[Node]) -> int:
    """The most bytes that results need at one time: of nodes with inputs, from their step to their last use."""
    last, live, peak = last_uses(order, outputs), 0, 0
    ends: dict[int, int] = {}
    for at, node in enumerate(order):
        if node.inputs:
            live += bytes_of(node)
            ends[last[node]] = ends.get(last[node], 0) + bytes_of(node)
        peak = max(peak, live)
        live -= ends.get(at, 0)
    return peak


def plan_buffers(order: Sequence[Node], outputs: Sequence[Node]) -> dict[Node, int]:
    """Where each node's value lies in an arena: bytes, multiples of 64. Lab 6, exercise ``plan_buffers``.

    Of nodes with inputs; a value takes its entries, rounded up to multiples of 64 bytes, from the step that makes it to
    the last that reads it, both included, and an output to the end. Values that are there at one time share no byte.
    From the largest to the smallest, of equal ones the earlier first, each takes the lowest place that is free for its
    whole life. Source: Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net Inference".
    """
    last = last_uses(order, outputs)
    life = {node: (at, last[node]) for at, node in enumerate(order) if node.inputs}
    size = {node: rounded(node) for node in life}
    offsets: dict[Node, int] = {}
    for node in sorted(life, key=lambda node: -size[node]):
        first, end = life[node]
        beside = [x for x in offsets if life[x][0] <= end and first <= life[x][1]]
        place = 0
        for start, stop in sorted((offsets[x], offsets[x] + size[x]) for x in beside):
            if place + size[node] <= start:
                break
            place = max(place, stop)
        offsets[node] = place
    return offsets


def arena_bytes(offsets: dict[Node, int]) -> int:
    """How large the arena is."""
    return max((at + rounded(node) for node, at in offsets.items()), default=0)
