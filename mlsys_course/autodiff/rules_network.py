"""Rules of the loss, of softmax and norms, and of what picks. Jacobians stand in words; no rule builds one."""

from math import prod

from ..substrate.graph import Node, cast, equal, exp, mean, one_hot, scatter_rows, softmax, where
from ..substrate.graph import arithmetic as a
from ..substrate.graph import network as n
from ..substrate.graph import shapes as s
from ..substrate.graph import sum as total
from .rules import no_rule, rounded, rule, widened
from .rules_shapes import with_axes


@rounded
def cross_entropy_gradient(node: Node, grad: Node) -> list[Node | None]:
    """Softmax minus one-hot, over the number of targets, and nothing to the targets: the note's homework.

    ``node`` is cross_entropy(logits (..., V), targets (...)), ``grad`` has no axes. Lab 5, exercise
    ``cross_entropy_gradient``.
    """
    logits, grad = widened(node.inputs[0], grad)
    targets = node.inputs[1]
    wrong = softmax(logits) - one_hot(targets, logits.shape[-1], logits.dtype)
    return [wrong * (grad / max(prod(targets.shape), 1)), None]


@rounded
def normalization_gradients(node: Node, grad: Node) -> list[Node | None]:
    """What a softmax, log-softmax, layer norm or RMS norm passes to its inputs, before sums over broadcasting.

    Raises GraphError for any other operator. Lab 5, extension ``normalization_gradients``.
    """
    operator = node.operator
    match operator:
        case n.LogSoftmax(axis):  # the Jacobian of y = log softmax(x) is 1 - softmax(x)^T in every row
            y, grad = widened(node, grad)
            return [grad - exp(y) * total(grad, axis, keepdims=True)]
        case n.Softmax(axis):  # that of y = softmax(x) is diag(y) - y y^T
            y, grad = widened(node, grad)
            weighted = grad * y
            return [weighted - y * total(weighted, axis, keepdims=True)]
        case n.LayerNorm(epsilon) | n.RMSNorm(epsilon):  # the adjoint without its mean and without its part along u
            x, scale, grad = widened(*node.inputs[:2], grad)
            shift = node.inputs[2:]
            centred = x - mean(x, -1, keepdims=True) if shift else x
            inverse = (mean(centred**2, -1, keepdims=True) + epsilon) ** -0.5
            u, to_u = centred * inverse, grad * scale
            inner = to_u - u * mean(to_u * u, -1, keepdims=True)
            if shift:
                inner = inner - mean(to_u, -1, keepdims=True)
            return [inverse * inner, grad * u, *[grad for _ in shift]]
    raise no_rule(node)


def selection_gradients(node: Node, grad: Node) -> list[Node | None]:
    """What ``embedding``, ``where`` and ``max`` pass to what they picked; None to ids and conditions.

    Rows that were looked up several times get the sum; the largest entries, where they are several, equal parts; what
    ``where`` did not choose gets 0, even where it was infinite. Raises GraphError for any other operator. Lab 5,
    extension ``selection_gradients``.
    """
    x = node.inputs[0]
    match node.operator:
        case n.Embedding():
            ids = node.inputs[1]
            return [scatter_rows(grad, ids, x.shape[0]), None]
        case a.Where():
            return [None, where(x, grad, 0.0), where(x, 0.0, grad)]
        case s.Max(axes):
            chosen = cast(equal(x, with_axes(node, node)), x.dtype)
            return [chosen * (with_axes(grad, node) / total(chosen, axes, keepdims=True))]
    raise no_rule(node)


rule(n.CrossEntropy)(cross_entropy_gradient)
rule(n.Softmax, n.LogSoftmax, n.LayerNorm, n.RMSNorm)(normalization_gradients)
rule(n.Embedding, a.Where, s.Max)(selection_gradients)
