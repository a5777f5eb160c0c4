"""Lab 5, sealed: misconceptions about the rules of loss, norms and selection, and about forward mode."""

from collections.abc import Callable
from math import prod

import torch

import mlsys_course.substrate.graph as G
from autograder.exercise import Misconception
from mlsys_course.autodiff.forward import tangent
from mlsys_course.substrate.graph import Node

from .mistakes_rules import Wrong, but, kept


def entropy(change: Callable) -> Wrong:
    def rule(node: Node, grad: Node) -> list:
        logits, targets = node.inputs
        p, one = G.softmax(logits), G.one_hot(targets, logits.shape[-1], logits.dtype)
        return [change(p, one, grad, max(1, prod(targets.shape)), logits), None]

    return rule


def unstable(p, one, grad, n, logits):
    e = G.exp(logits)
    return (e / G.sum(e, -1, keepdims=True) - one) * (grad / n)


CROSS_ENTROPY = [
    Misconception(
        "sign",
        entropy(lambda p, one, g, n, z: (one - p) * (g / n)),
        "Does the loss fall when the target's logit grows?",
    ),
    Misconception("not divided", entropy(lambda p, one, g, n, z: (p - one) * g), "The loss is a mean. Over how many?"),
    Misconception(
        "adjoint left out",
        entropy(lambda p, one, g, n, z: (p - one) * (1 / n) + g * 0),
        "The loss may be part of a larger graph. What reaches it from there?",
    ),
    Misconception(
        "softmax only", entropy(lambda p, one, g, n, z: p * (g / n)), "In which entry does the target take part?"
    ),
    Misconception(
        "by the probabilities",
        entropy(lambda p, one, g, n, z: -one / p * (g / n)),
        "That is the derivative by y. The rule passes an adjoint to x, before the softmax.",
    ),
    Misconception(
        "divided by all entries",
        entropy(lambda p, one, g, n, z: (p - one) * (g / prod(z.shape))),
        "The mean is over targets. Are there as many of them as logits?",
    ),
    Misconception(
        "exponentials overflow", entropy(unstable), "What is exp(1000)? Which function of the graph avoids it?"
    ),
]


def diagonal(node: Node, grad: Node) -> list:
    return [grad * node * (1 - node)]


def log_of_sum_one(node: Node, grad: Node) -> list:
    return [grad - G.exp(node)]


def norm(change: str) -> Wrong:
    def rule(node: Node, grad: Node) -> list:
        x, scale, *shift = node.inputs
        centred = x - G.mean(x, -1, keepdims=True) if shift else x
        epsilon = 0.0 if change == "epsilon" else node.operator.epsilon
        inverse = (G.mean(centred**2, -1, keepdims=True) + epsilon) ** -0.5
        u, to_u = centred * inverse, grad if change == "scale" else grad * scale
        inner = to_u - u * G.mean(to_u * u, -1, keepdims=True) if change != "variance" else to_u
        if shift and change != "mean":
            inner = inner - G.mean(to_u, -1, keepdims=True)
        to_x = to_u * inverse if change == "statistics" else inner * inverse
        to_scale = grad * x if change == "normalized" else grad * u
        return [to_x, to_scale, *[grad for _ in shift]]

    return but("layer_norm", rule, "rms_norm")


NORMALIZATION = [
    Misconception(
        "diagonal only",
        but("softmax", diagonal),
        "One logit moves every probability. What is off the Jacobian's diagonal?",
    ),
    Misconception(
        "adjoints not summed",
        but("log_softmax", log_of_sum_one),
        "How much of the row's adjoint flows through the normalizer?",
    ),
    Misconception(
        "statistics as constants", norm("statistics"), "Mean and variance depend on x too. What flows through them?"
    ),
    Misconception("mean as a constant", norm("mean"), "Add one number to a whole row: what becomes of its layer norm?"),
    Misconception("variance as a constant", norm("variance"), "Double a whole row: what becomes of its norm?"),
    Misconception("scale left out", norm("scale"), "What multiplies the normalized numbers on the way out?"),
    Misconception(
        "input for the normalized", norm("normalized"), "What does `scale` multiply: x, or what became of it?"
    ),
    Misconception(
        "epsilon left out", norm("epsilon"), "When the variance is near epsilon, what stands under the root?"
    ),
]


def last_one_counts(node: Node, grad: Node) -> list:
    """Of ids that occur twice, only the last: rows are set, not added."""
    table, ids = node.inputs
    flat = G.reshape(ids, (-1,))
    count = flat.shape[0]
    rows = G.reshape(grad, (count, -1))
    same = G.equal(G.reshape(flat, (count, 1)), G.reshape(flat, (1, count)))
    later = G.constant(torch.ones(count, count, dtype=torch.bool).triu(1))
    hits = G.sum(G.cast(same, grad.dtype) * G.cast(later, grad.dtype), 1, keepdims=True)
    return [G.scatter_rows(G.where(hits > 0, 0.0, rows), flat, table.shape[0]), None]


def to_every_largest(node: Node, grad: Node) -> list:
    (x,) = node.inputs
    return [G.where(G.equal(x, kept(node, node)), kept(grad, node), 0.0)]


def to_everybody(node: Node, grad: Node) -> list:
    return [G.broadcast_to(kept(grad, node), node.inputs[0].shape)]


def to_both(node: Node, grad: Node) -> list:
    return [None, grad, grad]


def exchanged(node: Node, grad: Node) -> list:
    condition = node.inputs[0]
    return [None, G.where(condition, 0.0, grad), G.where(condition, grad, 0.0)]


SELECTION = [
    Misconception(
        "rows set, not added", but("embedding", last_one_counts), "A number that occurs twice uses its row twice."
    ),
    Misconception("where, to both", but("where", to_both), "What was not chosen had no effect."),
    Misconception(
        "where, exchanged", but("where", exchanged), "Where the condition holds, which of the two was taken?"
    ),
    Misconception("max, to everybody", but("max", to_everybody), "Which entries does the maximum notice?"),
    Misconception(
        "max, to each of the largest",
        but("max", to_every_largest),
        "The largest entries share one adjoint: see the text.",
    ),
]


def forward_but(name: str, wrong: Callable) -> Callable:
    """The right tangents but for one operator."""

    def rule(node: Node, tangents):
        if node.operator.name == name:
            return wrong(node, [G.fill(x, 0.0) if t is None else t for x, t in zip(node.inputs, tangents, strict=True)])
        return tangent(node, {x: t for x, t in zip(node.inputs, tangents, strict=True) if t is not None})

    return rule


def divide_sum(node: Node, t) -> Node:
    x, y = node.inputs
    return t[0] / y + t[1] * x / (y * y)


def not_stretched(node: Node, tangents) -> Node:
    """In a sum an input that stands still is left out, and with it the shape that it gave the sum."""
    moving = [t for t in tangents if t is not None]
    if node.operator.name == "add" and len(moving) == 1:
        return moving[0]
    return tangent(node, {x: t for x, t in zip(node.inputs, tangents, strict=True) if t is not None})


FORWARD = [
    Misconception(
        "product of tangents", forward_but("multiply", lambda n, t: t[0] * t[1]), "The product rule has two terms."
    ),
    Misconception(
        "subtract, sign", forward_but("subtract", lambda n, t: t[0] + t[1]), "How does x - y move when y does?"
    ),
    Misconception("divide, sign", forward_but("divide", divide_sum), "How does x / y move when y does?"),
    Misconception(
        "exp, slope only", forward_but("exp", lambda n, t: n + t[0] * 0), "A tangent is a slope times a tangent."
    ),
    Misconception(
        "order turned back",
        forward_but(
            "transpose",
            lambda n, t: G.transpose(t[0], [n.operator.order.index(k) for k in range(len(n.operator.order))]),
        ),
        "Forward mode goes with the operator, not against it.",
    ),
    Misconception(
        "one side of the product", forward_but("matmul", lambda n, t: t[0] @ n.inputs[1]), "Both sides may move."
    ),
    Misconception(
        "log, upside down",
        forward_but("log", lambda n, t: t[0] * n.inputs[0]),
        "What is the slope of log x for a large x?",
    ),
    Misconception(
        "not stretched",
        not_stretched,
        "An input that stands still may be the larger one. Which shape has the node, and which has your tangent?",
    ),
]
