"""Random graphs for property tests, and what they come to by PyTorch alone."""

from collections.abc import Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import evaluate, topological_order
from mlsys_course.substrate.graph import Node

F64 = torch.float64
BINARY = {"add": lambda x, y: x + y, "subtract": lambda x, y: x - y, "multiply": lambda x, y: x * y,
          "divide": lambda x, y: x / (y * y + 1)}  # fmt: skip
UNARY = {
    "negate": lambda x, c: -x,
    "shift": lambda x, c: x + c,
    "scale": lambda x, c: x * c,
    "tanh": lambda x, c: G.tanh(x),
    "transpose": lambda x, c: G.transpose(x),
    "reshape": lambda x, c: G.reshape(G.reshape(x, (9,)), (3, 3)),
    "softmax": lambda x, c: G.exp(G.tanh(x)) * 1.0,
    "share": lambda x, c: share(G.exp(G.tanh(x))),
    "centred": lambda x, c: G.softmax(x - G.max(x, 1, keepdims=True), 1),
    "norm": lambda x, c: x * (G.mean(x * x, -1, keepdims=True) + 0.5) ** -0.5,
}


def share(x: Node) -> Node:
    return x / G.sum(x, 1, keepdims=True)


@st.composite
def programs(draw) -> tuple[list[Node], list[Node]]:
    """Inputs and outputs of a graph of (3, 3) matrices, in which nodes are used several times, or never."""
    inputs = [G.variable(f"x{n}", (3, 3), F64) for n in range(2)]
    nodes = [*inputs, G.constant(torch.arange(9, dtype=F64).reshape(3, 3) / 9 - 0.3)]
    for _ in range(draw(st.integers(1, 14))):
        x, y = (nodes[draw(st.integers(0, len(nodes) - 1))] for _ in range(2))
        kind = draw(st.sampled_from([*BINARY, *UNARY, "matmul", "both transposed", "twice"]))
        if kind in BINARY:
            made = BINARY[kind](x, y)
        elif kind == "matmul":
            made = G.tanh(x @ y)
        elif kind == "both transposed":
            made = G.tanh(G.transpose(x) @ G.transpose(y))
        elif kind == "twice":
            nodes.append(G.tanh(x))
            made = G.tanh(x) + y
        else:
            made = UNARY[kind](x, draw(st.sampled_from([0, 1, -0.5, 2.0])))
        nodes.append(made)
    picked = draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=3))
    return inputs, [nodes[-1], *(nodes[n] for n in picked)]


def values(outputs: Sequence[Node], inputs: Sequence[Node]) -> list[Tensor]:
    """On feeds that do not depend on the graph. Lab 5's evaluator has tests of its own, against PyTorch."""
    generator = torch.Generator().manual_seed(3)
    feeds = [torch.randn(3, 3, generator=generator, dtype=F64) for _ in inputs]
    needed = set(topological_order(outputs))
    return evaluate(outputs, {x: v for x, v in zip(inputs, feeds, strict=True) if x in needed})
