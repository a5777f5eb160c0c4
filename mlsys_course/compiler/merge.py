"""Several products of one matrix become one product: queries, keys and values read the activations once."""

from collections.abc import Sequence

from ..substrate.graph import Node, concatenate, matmul
from ..substrate.graph.shapes import Matmul


def merge_qkv(order: Sequence[Node], outputs: Sequence[Node]) -> list[Node]:
    """Outputs of a graph in which products ``x @ w1``, ``x @ w2``, ... are slices of one, x @ [w1, w2, ...].

    Merged are all products of one node ``x`` with nodes of two axes that have no inputs, weights; there must be two or
    more. Others stay. Source: Megatron-LM's and GPT-2's merged projection. Lab 6, exercise ``merge_qkv``.
    """
    siblings: dict[Node, list[Node]] = {}
    for node in order:
        if is_projection(node):
            siblings.setdefault(node.inputs[0], []).append(node)
    became: dict[Node, Node] = {}
    for node in order:
        group = siblings.get(node.inputs[0], []) if is_projection(node) else []
        if node in became:
            continue
        if len(group) > 1:
            weights = [one.inputs[1] for one in group]
            merged, start = matmul(became[node.inputs[0]], concatenate(weights, axis=1)), 0
            for one, weight in zip(group, weights, strict=True):
                became[one] = merged[..., start : start + weight.shape[1]]
                start += weight.shape[1]
        else:
            inputs = tuple(became[x] for x in node.inputs)
            became[node] = node if inputs == node.inputs else node.operator(*inputs)
    return [became[node] for node in outputs]


def is_projection(node: Node) -> bool:
    """Whether it multiplies something with weights."""
    return isinstance(node.operator, Matmul) and not node.inputs[1].inputs and len(node.inputs[1].shape) == 2
