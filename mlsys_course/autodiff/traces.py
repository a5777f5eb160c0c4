"""What the lecture writes by hand: forward and adjoint traces as tables, and ``node_to_grad`` step by step."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..substrate.graph import Node, exp, log, sin, variable
from .evaluator import evaluate
from .gradient import gradient
from .order import topological_order


def note_function() -> tuple[list[Node], Node]:
    """The note's y = ln(x1) + x1 x2 - sin(x2), its nodes in the note's order; inputs and output."""
    x1, x2 = variable("x1"), variable("x2")
    v3, v4, v5 = log(x1), x1 * x2, sin(x2)
    return [x1, x2], (v3 + v4) - v5


def note_case_study() -> tuple[list[Node], Node]:
    """The note's (exp(v1) + 1) exp(v1): v2 has two users."""
    v1 = variable("v1")
    v2 = exp(v1)
    return [v1], (v2 + 1) * v2


def names_of(outputs: Sequence[Node]) -> dict[Node, str]:
    """v1, v2, ... in topological order."""
    return {node: f"v{n}" for n, node in enumerate(topological_order(outputs), 1)}


def forward_trace(output: Node, feeds: Mapping[Node, Tensor]) -> list[tuple[str, str, float]]:
    """(name, what it is, value) of each node, in order."""
    names = names_of([output])
    values = evaluate(list(names), feeds)
    return [(names[node], written(node, names), float(value)) for node, value in zip(names, values, strict=True)]


def adjoint_trace(output: Node, inputs: Sequence[Node], feeds: Mapping[Node, Tensor]) -> list[tuple[str, float]]:
    """(name, adjoint) of each node in the order in which ``gradient`` finishes them."""
    names, done = names_of([output]), []
    gradient(output, inputs, watch=lambda node, adjoint, _: done.append((names[node], adjoint)))
    values = evaluate([adjoint for _, adjoint in done], feeds)
    return [(name, float(value)) for (name, _), value in zip(done, values, strict=True)]


def node_to_grad_steps(output: Node, inputs: Sequence[Node]) -> list[tuple[str, dict[str, int]]]:
    """After each node: its name, and how many partial adjoints each node has received (one, once it is finished)."""
    names, steps = names_of([output]), []

    def watch(node: Node, adjoint: Node, node_to_grad: Mapping[Node, Sequence[Node]]) -> None:
        steps.append((names[node], {names[x]: len(partials) for x, partials in node_to_grad.items()}))

    gradient(output, inputs, watch=watch)
    return steps


def written(node: Node, names: Mapping[Node, str]) -> str:
    """A node as an assignment's right side, such as ``multiply(v1, v2)``."""
    if node.is_variable:
        return node.label
    inside = [names[x] for x in node.inputs]
    fields = [f"{name}={value}" for name, value in vars(node.operator).items()]
    return f"{node.operator.name}({', '.join(inside + fields)})"
