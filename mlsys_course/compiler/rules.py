"""Rules, each a pattern and a template. None changes a value beyond rounding: the tests draw graphs for each."""

import torch

from ..substrate.graph import Constant, Node, constant, reshape, rms_norm, softmax, transpose
from ..substrate.graph import arithmetic as a
from ..substrate.graph import elementwise as e
from ..substrate.graph import network as n
from ..substrate.graph import shapes as s


def fold_constants(node: Node) -> Node | None:
    """Of constants only: computed now, not in every run."""
    if node.inputs and all(isinstance(x.operator, Constant) for x in node.inputs):
        return constant(node.operator.compute(*[x.operator.value for x in node.inputs]))
    return None


def drop_identities(node: Node) -> Node | None:
    """x + 0, x * 1 and x / 1."""
    match node.operator:
        case a.Shift(0) | a.Scale(1):
            return node.inputs[0]
    return None


def cancel_negations(node: Node) -> Node | None:
    """-(-x)."""
    if isinstance(node.operator, a.Negate) and isinstance(node.inputs[0].operator, a.Negate):
        return node.inputs[0].inputs[0]
    return None


def join_scales(node: Node) -> Node | None:
    """(x * a) * b is x * (a b)."""
    if isinstance(node.operator, a.Scale) and isinstance(node.inputs[0].operator, a.Scale):
        inner = node.inputs[0]
        return inner.inputs[0] * (inner.operator.factor * node.operator.factor)
    return None


def join_transposes(node: Node) -> Node | None:
    """Two transposes are one, or none."""
    if not (isinstance(node.operator, s.Transpose) and isinstance(node.inputs[0].operator, s.Transpose)):
        return None
    inner = node.inputs[0]
    order = tuple(inner.operator.order[axis] for axis in node.operator.order)
    return inner.inputs[0] if order == tuple(range(len(order))) else transpose(inner.inputs[0], order)


def join_reshapes(node: Node) -> Node | None:
    """Of two reshapes only the last counts."""
    if isinstance(node.operator, s.Reshape) and isinstance(node.inputs[0].operator, s.Reshape):
        return reshape(node.inputs[0].inputs[0], node.shape)
    return None


def fold_transposes(node: Node) -> Node | None:
    """A^T B^T is (B A)^T: two transposes become one."""
    if isinstance(node.operator, s.Matmul) and all(map(is_matrix_transpose, node.inputs)):
        left, right = (x.inputs[0] for x in node.inputs)
        return transpose(right @ left)
    return None


def is_matrix_transpose(node: Node) -> bool:
    """Whether it exchanges the last two axes and no others."""
    rank = len(node.shape)
    return isinstance(node.operator, s.Transpose) and node.operator.order == (*range(rank - 2), rank - 1, rank - 2)


def recognize_softmax(node: Node) -> Node | None:
    """exp(x) / sum(exp(x)) along one axis."""
    if not isinstance(node.operator, a.Divide):
        return None
    top, bottom = node.inputs
    match top.operator, bottom.operator:
        case e.Exp(), s.Sum((axis,), True) if bottom.inputs[0] is top:
            return softmax(top.inputs[0], axis)
    return None


def drop_softmax_shift(node: Node) -> Node | None:
    """softmax(x - max(x)) along the same axis: the kernel subtracts the largest itself."""
    if not (isinstance(node.operator, n.Softmax) and isinstance(node.inputs[0].operator, a.Subtract)):
        return None
    x, largest = node.inputs[0].inputs
    match largest.operator:
        case s.Max((axis,), True) if axis == node.operator.axis and largest.inputs[0] is x:
            return node.operator(x)
    return None


def recognize_rms_norm(node: Node) -> Node | None:
    """x * (mean(x * x) + epsilon) ** -0.5 over the last axis."""
    if not isinstance(node.operator, a.Multiply):
        return None
    x, scale = node.inputs
    match scale.operator:
        case a.Power(-0.5):
            shifted = scale.inputs[0]
            epsilon = shifted.operator.amount if isinstance(shifted.operator, a.Shift) else None
            last = len(x.shape) - 1
            mean = shifted.inputs[0] if epsilon is not None else shifted
            match mean.operator:
                case s.Mean((axis,), True) if epsilon is not None and axis == last and is_square(mean.inputs[0], x):
                    return rms_norm(x, constant(torch.ones(x.shape[-1], dtype=x.dtype)), epsilon)
    return None


def is_square(node: Node, x: Node) -> bool:
    """Whether node is x * x or x ** 2."""
    product = isinstance(node.operator, a.Multiply) and node.inputs == (x, x)
    return product or (isinstance(node.operator, a.Power) and node.operator.exponent == 2 and node.inputs[0] is x)


RULES = (
    fold_constants,
    drop_identities,
    cancel_negations,
    join_scales,
    join_transposes,
    join_reshapes,
    fold_transposes,
    recognize_softmax,
    drop_softmax_shift,
    recognize_rms_norm,
)
