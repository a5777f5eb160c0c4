"""Rules of look-ups, softmax, norms and the loss. Jacobians stand in the docstrings; no rule builds one."""

from math import prod

from ..substrate.graph import Node, embedding, exp, mean, one_hot, scatter_rows, softmax
from ..substrate.graph import network as n
from ..substrate.graph import sum as total
from .rules import rule, widened


@rule(n.Embedding)
def look_up(node: Node, grad: Node):
    table, ids = node.inputs
    return [scatter_rows(grad, ids, table.shape[0]), None]


@rule(n.ScatterRows)
def scattered(node: Node, grad: Node):
    return [embedding(grad, node.inputs[1]), None]


@rule(n.Softmax)
def normalized(node: Node, grad: Node):
    """The Jacobian of y = softmax(x) is diag(y) - y y^T."""
    y, grad = widened(node, grad)
    weighted = grad * y
    return [weighted - y * total(weighted, node.operator.axis, keepdims=True)]


@rule(n.LogSoftmax)
def log_normalized(node: Node, grad: Node):
    """The Jacobian of y = log softmax(x) is 1 - softmax(x)^T in every row."""
    y, grad = widened(node, grad)
    return [grad - exp(y) * total(grad, node.operator.axis, keepdims=True)]


@rule(n.LayerNorm)
def layer_normalized(node: Node, grad: Node):
    """With u = (x - mean) / deviation: what is left of the adjoint without its mean and without its part along u."""
    x, scale, grad = widened(*node.inputs[:2], grad)
    centred = x - mean(x, -1, keepdims=True)
    inverse = (mean(centred**2, -1, keepdims=True) + node.operator.epsilon) ** -0.5
    u, to_u = centred * inverse, grad * scale
    to_x = inverse * (to_u - mean(to_u, -1, keepdims=True) - u * mean(to_u * u, -1, keepdims=True))
    return [to_x, grad * u, grad]


@rule(n.RMSNorm)
def root_mean_square_normalized(node: Node, grad: Node):
    x, scale, grad = widened(*node.inputs, grad)
    inverse = (mean(x**2, -1, keepdims=True) + node.operator.epsilon) ** -0.5
    u, to_u = x * inverse, grad * scale
    return [inverse * (to_u - u * mean(to_u * u, -1, keepdims=True)), grad * u]


@rule(n.CrossEntropy)
def classified(node: Node, grad: Node):
    """Softmax minus one-hot, over the number of targets: the note's homework. Lab 5, ``cross_entropy_gradient``."""
    logits, grad = widened(node.inputs[0], grad)
    targets = node.inputs[1]
    wrong = softmax(logits) - one_hot(targets, logits.shape[-1], logits.dtype)
    return [wrong * (grad / max(prod(targets.shape), 1)), None]
