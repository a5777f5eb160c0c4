"""Rules of reductions, shapes and the matrix product. Of a linear map it is the transposed map."""

from math import prod

from ..substrate.graph import Node, broadcast_to, matmul, pad, reshape, transpose
from ..substrate.graph import shapes as s
from .rules import no_rule, rule


def linear_gradients(node: Node, grad: Node) -> list[Node | None]:
    """What ``node`` passes to its inputs when its adjoint is ``grad``: the transposed map's value.

    Each has its input's shape, or of ``broadcast_to`` and ``matmul`` one that the input broadcasts to. Raises
    GraphError for an operator that is none of those below. Lab 5, exercise ``linear_gradients``.
    """
    x, operator = node.inputs[0], node.operator
    match operator:
        case s.Sum():
            return [broadcast_to(with_axes(grad, node), x.shape)]
        case s.Mean():
            count = prod(x.shape[axis] for axis in operator.axes)
            return [broadcast_to(with_axes(grad / max(count, 1), node), x.shape)]
        case s.BroadcastTo():
            return [grad]  # the sum over copies comes after every rule
        case s.Reshape():
            return [reshape(grad, x.shape)]
        case s.Transpose(order):
            return [transpose(grad, [order.index(axis) for axis in range(len(order))])]
        case s.Slice(bounds):
            return [pad(grad, x.shape, bounds)]
        case s.Concatenate(axis):
            start, pieces = 0, []
            for piece in node.inputs:
                place = [slice(None)] * axis + [slice(start, start + piece.shape[axis])]
                pieces.append(grad[tuple(place)])
                start += piece.shape[axis]
            return pieces
        case s.Matmul():  # Y = A B: dA = dY B^T and dB = A^T dY
            a, b = node.inputs
            to_a = matmul(grad, transpose(b))
            if len(b.shape) == 2 and len(a.shape) > 2:  # as a layer's weights: one tall product, not a sum of many
                rows = prod(a.shape[:-1])
                a, grad = reshape(a, (rows, a.shape[-1])), reshape(grad, (rows, grad.shape[-1]))
            return [to_a, matmul(transpose(a), grad)]
    raise no_rule(node)


def with_axes(x: Node, node: Node) -> Node:
    """The result of a reduction with its axes back, as size one."""
    axes, shape = node.operator.axes, node.inputs[0].shape
    return reshape(x, [1 if axis in axes else size for axis, size in enumerate(shape)])


rule(s.Sum, s.Mean, s.BroadcastTo, s.Reshape, s.Transpose, s.Slice, s.Concatenate, s.Matmul)(linear_gradients)
