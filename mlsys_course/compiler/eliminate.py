"""Nodes that nobody needs, and nodes that are there twice."""

from collections.abc import Sequence
from typing import Any

from ..substrate.graph import Node


def eliminate(order: Sequence[Node], outputs: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """The same program with each common value computed once and nothing else: its order, its outputs.

    ``order`` are nodes, inputs before users; some may not be needed. Two nodes are common when their operators are
    equal and their inputs, after merging, are the same; the first stays. Variables and constants are themselves only.
    Lab 6, exercise ``eliminate``.
    """
    needed, kept = needed_by(order, outputs), []
    became: dict[Node, Node] = {}
    known: dict[Any, Node] = {}
    for node in order:
        if node not in needed:
            continue
        inputs = tuple(became[x] for x in node.inputs)
        same = (node.operator, inputs) if inputs else node
        if same not in known:
            known[same] = node if inputs == node.inputs else node.operator(*inputs)
            kept.append(known[same])
        became[node] = known[same]
    return kept, [became[node] for node in outputs]


def needed_by(order: Sequence[Node], outputs: Sequence[Node]) -> set[Node]:
    """The outputs and all that leads to them: one look at each node, from the last to the first."""
    needed = set(outputs)
    for node in reversed(order):
        if node in needed:
            needed.update(node.inputs)
    return needed
