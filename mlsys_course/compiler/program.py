"""A traced function as a program: Python without the graph, one line a node, memory let go where it ends."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..autodiff import topological_order
from ..substrate.graph import Constant, Node
from .buffers import last_uses
from .eliminate import eliminate
from .trace import trace


def source_of(inputs: Sequence[Node], order: Sequence[Node], outputs: Sequence[Node]) -> tuple[str, dict[str, Any]]:
    """A function ``run`` of the inputs' tensors that returns the outputs' as a list, and the names that it reads."""
    name = {node: f"v{n}" for n, node in enumerate(order)} | {x: f"x{n}" for n, x in enumerate(inputs)}
    last, known, lines = last_uses(order, outputs), {}, []
    for at, node in enumerate(order):
        if isinstance(node.operator, Constant):
            known[name[node]] = node.operator.value
        elif node.inputs:
            known[f"f{at}"] = node.operator.compute
            lines.append(f"    {name[node]} = f{at}({', '.join(name[x] for x in node.inputs)})")
            done = {name[x] for x in node.inputs if last[x] == at and x.inputs}
            lines += [f"    del {', '.join(sorted(done))}"] if done else []
    head = f"def run({', '.join(name[x] for x in inputs)}):"
    return "\n".join([head, *lines, f"    return [{', '.join(name[x] for x in outputs)}]"]), known


def program(inputs: Sequence[Node], order: Sequence[Node], outputs: Sequence[Node]) -> Callable[..., list[Tensor]]:
    """The graph as a function of tensors."""
    source, known = source_of(inputs, order, outputs)
    exec(compile(source, "<program of a graph>", "exec"), known)
    return known["run"]


def compiled(function: Callable[..., Any], arguments: Sequence[Any]) -> Callable[..., Any]:
    """A program for arguments like these: traced, and without what is common or not needed. Gradients are nodes of the
    graph, so nothing is recorded while it runs. It returns what the function does, a list where that is several."""
    inputs, outputs = trace(function, arguments)
    run = program(inputs, *eliminate(topological_order(outputs), outputs))

    def call(*tensors: Tensor) -> Any:
        with torch.no_grad():
            found = run(*tensors)
        return found if len(found) != 1 else found[0]

    return call
