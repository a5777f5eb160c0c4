"""Rules of reductions, shapes and the matrix product. Of a linear map it is the transposed map."""

from math import prod

from ..substrate.graph import (
    Node,
    broadcast_to,
    cast,
    equal,
    matmul,
    pad,
    reshape,
    transpose,
)
from ..substrate.graph import shapes as s
from ..substrate.graph import sum as total
from .rules import rule


def with_axes(x: Node, node: Node) -> Node:
    """The result of a reduction with its axes back, as size one."""
    axes, shape = node.operator.axes, node.inputs[0].shape
    return reshape(x, [1 if axis in axes else size for axis, size in enumerate(shape)])


@rule(s.Sum)
def summed(node: Node, grad: Node):
    return [broadcast_to(with_axes(grad, node), node.inputs[0].shape)]


@rule(s.Mean)
def averaged(node: Node, grad: Node):
    shape = node.inputs[0].shape
    count = prod(shape[axis] for axis in node.operator.axes)
    return [broadcast_to(with_axes(grad / max(count, 1), node), shape)]


@rule(s.Max)
def largest(node: Node, grad: Node):
    """To the largest entry; where several are, in equal parts."""
    (x,) = node.inputs
    chosen = cast(equal(x, with_axes(node, node)), x.dtype)
    return [chosen * (with_axes(grad, node) / total(chosen, node.operator.axes, keepdims=True))]


@rule(s.BroadcastTo)
def stretched(node: Node, grad: Node):
    return [grad]  # the sum over copies comes after every rule


@rule(s.Reshape)
def reshaped(node: Node, grad: Node):
    return [reshape(grad, node.inputs[0].shape)]


@rule(s.Transpose)
def transposed(node: Node, grad: Node):
    order = node.operator.order
    return [transpose(grad, [order.index(axis) for axis in range(len(order))])]


@rule(s.Slice)
def cut(node: Node, grad: Node):
    return [pad(grad, node.inputs[0].shape, node.operator.bounds)]


@rule(s.Pad)
def padded(node: Node, grad: Node):
    return [s.Slice(node.operator.bounds)(grad)]


@rule(s.Concatenate)
def joined(node: Node, grad: Node):
    axis, start, pieces = node.operator.axis, 0, []
    for x in node.inputs:
        place = [slice(None)] * axis + [slice(start, start + x.shape[axis])]
        pieces.append(grad[tuple(place)])
        start += x.shape[axis]
    return pieces


@rule(s.Matmul)
def product(node: Node, grad: Node):
    """Y = A B: dA = dY B^T and dB = A^T dY.

    Where many matrices share one B, as a layer's weights, their rows are one tall matrix: dB is then one product, and
    not the sum of one for each.
    """
    a, b = node.inputs
    to_a = matmul(grad, transpose(b))
    if len(b.shape) == 2 and len(a.shape) > 2:
        rows = prod(a.shape[:-1])
        a, grad = reshape(a, (rows, a.shape[-1])), reshape(grad, (rows, grad.shape[-1]))
    return [to_a, matmul(transpose(a), grad)]
