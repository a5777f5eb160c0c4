"""Lab 5, sealed: misconceptions about the rules of operators, in both directions."""

from collections.abc import Callable
from math import prod

import torch

import mlsys_course.substrate.graph as G
from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course.autodiff import (
    cross_entropy_gradient,
    elementwise_gradients,
    forward_rule,
    linear_gradients,
    normalization_gradients,
    selection_gradients,
    sum_to,
)
from mlsys_course.substrate.graph import Node

Rule = Callable[[Node, Node], list]


mistake = wrong(elementwise_gradients)
ELEMENTWISE = [
    mistake("subtract, sign", "y grows: does x - y?", "[grad, -grad]", "[grad, grad + 0]"),
    mistake("divide, sign", "y grows: does x / y, for positive x and y?", "-to_x * node", "to_x * node"),
    mistake("divide, not squared", "Write x / y as x times y to the power of -1.", "-to_x * node", "-to_x * x"),
    mistake("negate, sign", "What is the slope of -x?", "[-grad]", "[grad + 0]"),
    mistake("constants in the slope", "What is the slope of x + c?", "[grad]", "[grad + node.operator.amount]"),
    mistake("scale forgotten", "What is the slope of c x?", "grad * factor", "grad"),
    mistake("log, upside down", "What is the slope of log x for a large x?", "grad / x", "grad * x"),
    mistake("cos, sign", "Right of 0, does the cosine rise or fall?", "-grad * sin", "grad * sin"),
    mistake("tanh, of the input", "The square in tanh's slope is that of its input, or of its output?",
        "grad * (node * node)", "grad * x**2"),
    mistake("sqrt, without 2", "Write the root as a power, and take the power's rule.", "(2 * node)", "node"),
    mistake("power, without the factor", "What is the slope of x cubed at 1?",
        "(power(x, exponent - 1) * exponent)", "power(x, exponent - 1)"),
    mistake("power, not lowered", "What is the slope of x squared: does it grow like x or like x squared?",
        "power(x, exponent - 1)", "node"),
    mistake("relu, by the adjoint", "Whose sign decides whether the adjoint passes: its own, or the input's?",
        "node > 0", "grad > 0"),
    mistake("relu, at 0", "At exactly 0 the text takes one of the two slopes. Which?", "node > 0", "x >= 0"),
    Misconception("slopes only", lambda node, grad: [p / grad for p in elementwise_gradients(node, grad)],
        "A rule passes on an adjoint: what reached the node takes part in it."),
]  # fmt: skip


def first_copy(grad: Node, shape):
    extra = len(grad.shape) - len(shape)
    place = [0] * extra + [slice(0, size) for size in shape]
    return grad[tuple(place)] if 0 not in grad.shape else sum_to(grad, shape)


def aligned_left(grad: Node, shape):
    padded = (*shape, *[1] * (len(grad.shape) - len(shape)))
    if any(s not in (1, g) for s, g in zip(padded, grad.shape, strict=True)):
        return sum_to(grad, shape)
    return G.reshape(sum_to(grad, padded), tuple(shape))


ALL_COPIES = "reshape(total(grad, [*range(extra), *stretched], keepdims=True), shape)"
mistake = wrong(sum_to)
SUM_TO = [
    Misconception("nothing summed", lambda grad, shape: grad, "What is the shape of what you return?"),
    mistake("leading axes only", "Which axes did broadcasting stretch without adding one?",
        ALL_COPIES, "total(grad, [*range(extra)]) if extra else grad"),
    mistake("stretched axes only", "An input may have fewer axes than the result.",
        ALL_COPIES, "total(grad, stretched, keepdims=True) if stretched else grad"),
    Misconception("mean", lambda grad, shape: sum_to(grad, shape) / max(1, prod(grad.shape) // max(1, prod(shape))),
        "x + 1 with x of three entries: how fast does the sum grow with the 1?"),
    mistake("axes dropped", "An axis of size one is still an axis of the input.",
        ALL_COPIES, "total(grad, [*range(extra), *stretched])"),
    Misconception("first copy", first_copy, "Every copy of an entry had its own effect. What becomes of the others?"),
    Misconception("aligned at the left", aligned_left, "Broadcasting lines shapes up at which end?"),
]  # fmt: skip


def fitting(left: Node, right: Node, like: Node) -> Node:
    """The product where it has the right shape (of square matrices), else zeros: a wrong shape is no number."""
    try:
        found = left @ right
    except G.GraphError:
        return G.fill(like, 0.0)
    return found if found.shape[-2:] == like.shape[-2:] else G.fill(like, 0.0)


def reversed_axes(x: Node) -> Node:
    return G.transpose(x, list(range(len(x.shape)))[::-1])


def reversed_product(node: Node, grad: Node) -> list:
    """All axes turned round, where that fits; of two axes it is the transpose."""
    a, b = node.inputs
    if a.shape != b.shape:
        return linear_gradients(node, grad)
    return [fitting(grad, reversed_axes(b), a), fitting(reversed_axes(a), grad, b)]


def as_it_comes(node: Node, grad: Node) -> list:
    """Broadcast as it comes, where that fits."""
    try:
        return [G.broadcast_to(grad, node.inputs[0].shape)]
    except G.GraphError:
        return linear_gradients(node, grad)


def only(name: str, mistaken: Rule) -> Rule:
    """The right rules but for the operator named."""
    return lambda node, grad: (mistaken if node.operator.name == name else linear_gradients)(node, grad)


BACK, TO_A, TO_B = (
    "transpose(grad, [order.index(axis) for axis in range(len(order))])",
    "matmul(grad, transpose(b))",
    "matmul(transpose(a), grad)",
)
mistake = wrong(linear_gradients)
LINEAR = [
    mistake("mean undivided", "By how much does a mean of n entries move when one does?",
        "grad / max(count, 1)", "grad"),
    mistake("mean by all", "How many entries share one mean: all, or those along the axes?",
        "prod(x.shape[axis] for axis in operator.axes)", "prod(x.shape)"),
    Misconception("axes not put back", only("sum", as_it_comes),
        "Broadcasting lines shapes up at the last axis. Which axis did the sum take away?"),
    mistake("same order", "Axes went round by three places. How do they come back?", BACK, "transpose(grad, order)"),
    mistake("reshape for transpose", "A reshape keeps the order of numbers in memory. Does a transpose?",
        BACK, "reshape(grad, x.shape)"),
    mistake("slice at the start", "From where was the slice cut?",
        "x.shape, bounds", "x.shape, tuple((0, size, 1) for size in grad.shape)"),
    mistake("pieces the other way round", "Which piece came first?",
        "in node.inputs:", "in reversed(node.inputs):", "return pieces", "return pieces[::-1]"),
    mistake("Jacobian not transposed",
        "Write shapes under dY, A and B. A square example hides which of them must be transposed.",
        TO_A, "fitting(grad, b, x)", TO_B, "fitting(a, grad, b)", fitting=fitting),
    mistake("sides swapped", "Matrix products do not commute. On which side of dY does B stand in the forward product?",
        TO_A, "fitting(transpose(b), grad, x)", TO_B, "fitting(grad, transpose(a), b)", fitting=fitting),
    Misconception("all axes turned round", only("matmul", reversed_product),
        "With a batch, which axes does the transpose of a matrix exchange, and which stay?"),
]  # fmt: skip

# ---- loss, norms, selection ------------------------------------------------------------------------------------------


SOFTMAX, HOT = "softmax(logits) - ", "one_hot(targets, logits.shape[-1], logits.dtype)"
SHARE = "grad / max(prod(targets.shape), 1)"
mistake = wrong(cross_entropy_gradient)
CROSS_ENTROPY = [
    mistake("sign", "Does the loss fall when the target's logit grows?", SOFTMAX + HOT, f"{HOT} - softmax(logits)"),
    mistake("not divided", "The loss is a mean. Over how many?", SHARE, "grad"),
    mistake("adjoint left out", "The loss may be part of a larger graph. What reaches it from there?",
        f"({SHARE})", f"({SHARE.replace('grad', '1')}) + grad * 0"),
    mistake("softmax only", "In which entry does the target take part?", f" - {HOT}", ""),
    mistake("by the probabilities", "That is the derivative by y. The rule passes an adjoint to x, before the softmax.",
        SOFTMAX + HOT, f"-{HOT} / softmax(logits)"),
    mistake("divided by all entries", "The mean is over targets. Are there as many of them as logits?",
        "targets.shape", "logits.shape"),
    mistake("exponentials overflow", "What is exp(1000)? Which function of the graph avoids it?",
        SOFTMAX, "exp(logits) / total(exp(logits), -1, keepdims=True) - "),
]  # fmt: skip


mistake = wrong(normalization_gradients)
NORMALIZATION = [
    mistake("diagonal only", "One logit moves every probability. What is off the Jacobian's diagonal?",
        "weighted - y * total(weighted, axis, keepdims=True)", "weighted * (1 - y)"),
    mistake("adjoints not summed", "How much of the row's adjoint flows through the normalizer?",
        "exp(y) * total(grad, axis, keepdims=True)", "exp(y)"),
    mistake("statistics as constants", "Mean and variance depend on x too. What flows through them?",
        "inverse * inner", "inverse * to_u"),
    mistake("mean as a constant", "Add one number to a whole row: what becomes of its layer norm?",
        "inner - mean(to_u, -1, keepdims=True)", "inner"),
    mistake("variance as a constant", "Double a whole row: what becomes of its norm?",
        "to_u - u * mean(to_u * u, -1, keepdims=True)", "to_u"),
    mistake("scale left out", "What multiplies the normalized numbers on the way out?", "grad * scale", "grad"),
    mistake("input for the normalized", "What does `scale` multiply: x, or what became of it?", "grad * u", "grad * x"),
    mistake("epsilon left out", "When the variance is near epsilon, what stands under the root?", " + epsilon", ""),
]  # fmt: skip


def last_one_counts(grad: Node, ids: Node, count: int) -> Node:
    """Of ids that occur twice, only the last: rows are set, not added."""
    flat = G.reshape(ids, (-1,))
    number = flat.shape[0]
    same = G.equal(G.reshape(flat, (number, 1)), G.reshape(flat, (1, number)))
    later = G.constant(torch.ones(number, number, dtype=torch.bool).triu(1))
    hits = G.sum(G.cast(same, grad.dtype) * G.cast(later, grad.dtype), 1, keepdims=True)
    return G.scatter_rows(G.where(hits > 0, 0.0, G.reshape(grad, (number, -1))), flat, count)


CHOSEN, SHARED = "where(x, grad, 0.0), where(x, 0.0, grad)", " / total(chosen, axes, keepdims=True)"
mistake = wrong(selection_gradients)
SELECTION = [
    mistake("rows set, not added", "A number that occurs twice uses its row twice.", scatter_rows=last_one_counts),
    mistake("where, to both", "What was not chosen had no effect.", CHOSEN, "grad, grad"),
    mistake("where, exchanged", "Where the condition holds, which of the two was taken?",
        CHOSEN, "where(x, 0.0, grad), where(x, grad, 0.0)"),
    mistake("max, to everybody", "Which entries does the maximum notice?",
        f"chosen * (with_axes(grad, node){SHARED})", "with_axes(grad, node) + 0 * x"),
    mistake("max, to each of the largest", "The largest entries share one adjoint: see the text.", SHARED, ""),
]  # fmt: skip

# ---- forward mode ----------------------------------------------------------------------------------------------------


def moving(name: str, mistaken: Callable) -> Callable:
    """The right tangents but for one operator, whose inputs that stand still move by zeros."""

    def rule(node: Node, tangents):
        if node.operator.name != name:
            return forward_rule(node, tangents)
        return mistaken(node, [G.fill(x, 0.0) if t is None else t for x, t in zip(node.inputs, tangents, strict=True)])

    return rule


def divide_sum(node: Node, t) -> Node:
    x, y = node.inputs
    return t[0] / y + t[1] * x / (y * y)


def not_stretched(node: Node, tangents) -> Node:
    """In a sum an input that stands still is left out, and with it the shape that it gave the sum."""
    known = [t for t in tangents if t is not None]
    return known[0] if node.operator.name == "add" and len(known) == 1 else forward_rule(node, tangents)


FORWARD = [
    Misconception("product of tangents", moving("multiply", lambda n, t: t[0] * t[1]),
        "The product rule has two terms."),
    Misconception("subtract, sign", moving("subtract", lambda n, t: t[0] + t[1]), "How does x - y move when y does?"),
    Misconception("divide, sign", moving("divide", divide_sum), "How does x / y move when y does?"),
    Misconception("exp, slope only", moving("exp", lambda n, t: n + t[0] * 0), "A tangent is a slope times a tangent."),
    Misconception("order turned back", moving("transpose", lambda n, t: linear_gradients(n, t[0])[0]),
        "Forward mode goes with the operator, not against it."),
    Misconception("one side of the product", moving("matmul", lambda n, t: t[0] @ n.inputs[1]), "Both sides may move."),
    Misconception("log, upside down", moving("log", lambda n, t: t[0] * n.inputs[0]),
        "What is the slope of log x for a large x?"),
    Misconception("not stretched", not_stretched,
        "An input that stands still may be the larger one. Which shape has the node, and which has your tangent?"),
]  # fmt: skip
