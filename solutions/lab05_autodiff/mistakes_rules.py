"""Lab 5, sealed: misconceptions about the rules of operators, in both directions."""

from collections.abc import Callable
from math import prod

import torch

import mlsys_course.substrate.graph as G
from autograder.exercise import Misconception
from autograder.mutated import mutated
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


def elementwise(old: str, new: str) -> Rule:
    return mutated(elementwise_gradients, old, new)


ELEMENTWISE = [
    Misconception("subtract, sign", elementwise("[grad, -grad]", "[grad, grad + 0]"), "y grows: does x - y?"),
    Misconception(
        "divide, sign", elementwise("-to_x * node", "to_x * node"), "y grows: does x / y, for positive x and y?"
    ),
    Misconception(
        "divide, not squared", elementwise("-to_x * node", "-to_x * x"), "Write x / y as x times y to the power of -1."
    ),
    Misconception("negate, sign", elementwise("[-grad]", "[grad + 0]"), "What is the slope of -x?"),
    Misconception(
        "constants in the slope", elementwise("[grad]", "[grad + node.operator.amount]"), "What is the slope of x + c?"
    ),
    Misconception("scale forgotten", elementwise("grad * factor", "grad"), "What is the slope of c x?"),
    Misconception("log, upside down", elementwise("grad / x", "grad * x"), "What is the slope of log x for a large x?"),
    Misconception("cos, sign", elementwise("-grad * sin", "grad * sin"), "Right of 0, does the cosine rise or fall?"),
    Misconception(
        "tanh, of the input",
        elementwise("grad * (node * node)", "grad * x**2"),
        "The square in tanh's slope is that of its input, or of its output?",
    ),
    Misconception(
        "sqrt, without 2", elementwise("(2 * node)", "node"), "Write the root as a power, and take the power's rule."
    ),
    Misconception(
        "power, without the factor",
        elementwise("(power(x, exponent - 1) * exponent)", "power(x, exponent - 1)"),
        "What is the slope of x cubed at 1?",
    ),
    Misconception(
        "power, not lowered",
        elementwise("power(x, exponent - 1)", "node"),
        "What is the slope of x squared: does it grow like x or like x squared?",
    ),
    Misconception(
        "relu, by the adjoint",
        elementwise("node > 0", "grad > 0"),
        "Whose sign decides whether the adjoint passes: its own, or the input's?",
    ),
    Misconception(
        "relu, at 0", elementwise("node > 0", "x >= 0"), "At exactly 0 the text takes one of the two slopes. Which?"
    ),
    Misconception(
        "slopes only",
        lambda node, grad: [p / grad for p in elementwise_gradients(node, grad)],
        "A rule passes on an adjoint: what reached the node takes part in it.",
    ),
]


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
SUM_TO = [
    Misconception("nothing summed", lambda grad, shape: grad, "What is the shape of what you return?"),
    Misconception(
        "leading axes only",
        mutated(sum_to, ALL_COPIES, "total(grad, [*range(extra)]) if extra else grad"),
        "Which axes did broadcasting stretch without adding one?",
    ),
    Misconception(
        "stretched axes only",
        mutated(sum_to, ALL_COPIES, "total(grad, stretched, keepdims=True) if stretched else grad"),
        "An input may have fewer axes than the result.",
    ),
    Misconception(
        "mean",
        lambda grad, shape: sum_to(grad, shape) / max(1, prod(grad.shape) // max(1, prod(shape))),
        "x + 1 with x of three entries: how fast does the sum grow with the 1?",
    ),
    Misconception(
        "axes dropped",
        mutated(sum_to, ALL_COPIES, "total(grad, [*range(extra), *stretched])"),
        "An axis of size one is still an axis of the input.",
    ),
    Misconception("first copy", first_copy, "Every copy of an entry had its own effect. What becomes of the others?"),
    Misconception("aligned at the left", aligned_left, "Broadcasting lines shapes up at which end?"),
]


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


def only(name: str, wrong: Rule) -> Rule:
    """The right rules but for the operator named."""
    return lambda node, grad: (wrong if node.operator.name == name else linear_gradients)(node, grad)


BACK, TO_A, TO_B = (
    "transpose(grad, [order.index(axis) for axis in range(len(order))])",
    "matmul(grad, transpose(b))",
    "matmul(transpose(a), grad)",
)
LINEAR = [
    Misconception(
        "mean undivided",
        mutated(linear_gradients, "grad / max(count, 1)", "grad"),
        "By how much does a mean of n entries move when one does?",
    ),
    Misconception(
        "mean by all",
        mutated(linear_gradients, "prod(x.shape[axis] for axis in operator.axes)", "prod(x.shape)"),
        "How many entries share one mean: all, or those along the axes?",
    ),
    Misconception(
        "axes not put back",
        only("sum", as_it_comes),
        "Broadcasting lines shapes up at the last axis. Which axis did the sum take away?",
    ),
    Misconception(
        "same order",
        mutated(linear_gradients, BACK, "transpose(grad, order)"),
        "Axes went round by three places. How do they come back?",
    ),
    Misconception(
        "reshape for transpose",
        mutated(linear_gradients, BACK, "reshape(grad, x.shape)"),
        "A reshape keeps the order of numbers in memory. Does a transpose?",
    ),
    Misconception(
        "slice at the start",
        mutated(linear_gradients, "x.shape, bounds", "x.shape, tuple((0, size, 1) for size in grad.shape)"),
        "From where was the slice cut?",
    ),
    Misconception(
        "pieces the other way round",
        mutated(
            linear_gradients, "in node.inputs:", "in reversed(node.inputs):", "return pieces", "return pieces[::-1]"
        ),
        "Which piece came first?",
    ),
    Misconception(
        "Jacobian not transposed",
        mutated(linear_gradients, TO_A, "fitting(grad, b, x)", TO_B, "fitting(a, grad, b)", fitting=fitting),
        "Write shapes under dY, A and B. A square example hides which of them must be transposed.",
    ),
    Misconception(
        "sides swapped",
        mutated(
            linear_gradients,
            TO_A,
            "fitting(transpose(b), grad, x)",
            TO_B,
            "fitting(grad, transpose(a), b)",
            fitting=fitting,
        ),
        "Matrix products do not commute. On which side of dY does B stand in the forward product?",
    ),
    Misconception(
        "all axes turned round",
        only("matmul", reversed_product),
        "With a batch, which axes does the transpose of a matrix exchange, and which stay?",
    ),
]

# ---- loss, norms, selection ------------------------------------------------------------------------------------------


def entropy(*edits: str) -> Rule:
    return mutated(cross_entropy_gradient, *edits)


SOFTMAX, HOT = "softmax(logits) - ", "one_hot(targets, logits.shape[-1], logits.dtype)"
SHARE = "grad / max(prod(targets.shape), 1)"
CROSS_ENTROPY = [
    Misconception(
        "sign", entropy(SOFTMAX + HOT, f"{HOT} - softmax(logits)"), "Does the loss fall when the target's logit grows?"
    ),
    Misconception("not divided", entropy(SHARE, "grad"), "The loss is a mean. Over how many?"),
    Misconception(
        "adjoint left out",
        entropy(f"({SHARE})", f"({SHARE.replace('grad', '1')}) + grad * 0"),
        "The loss may be part of a larger graph. What reaches it from there?",
    ),
    Misconception("softmax only", entropy(f" - {HOT}", ""), "In which entry does the target take part?"),
    Misconception(
        "by the probabilities",
        entropy(SOFTMAX + HOT, f"-{HOT} / softmax(logits)"),
        "That is the derivative by y. The rule passes an adjoint to x, before the softmax.",
    ),
    Misconception(
        "divided by all entries",
        entropy("targets.shape", "logits.shape"),
        "The mean is over targets. Are there as many of them as logits?",
    ),
    Misconception(
        "exponentials overflow",
        entropy(SOFTMAX, "exp(logits) / total(exp(logits), -1, keepdims=True) - "),
        "What is exp(1000)? Which function of the graph avoids it?",
    ),
]


def norms(old: str, new: str) -> Rule:
    return mutated(normalization_gradients, old, new)


NORMALIZATION = [
    Misconception(
        "diagonal only",
        norms("weighted - y * total(weighted, axis, keepdims=True)", "weighted * (1 - y)"),
        "One logit moves every probability. What is off the Jacobian's diagonal?",
    ),
    Misconception(
        "adjoints not summed",
        norms("exp(y) * total(grad, axis, keepdims=True)", "exp(y)"),
        "How much of the row's adjoint flows through the normalizer?",
    ),
    Misconception(
        "statistics as constants",
        norms("inverse * inner", "inverse * to_u"),
        "Mean and variance depend on x too. What flows through them?",
    ),
    Misconception(
        "mean as a constant",
        norms("inner - mean(to_u, -1, keepdims=True)", "inner"),
        "Add one number to a whole row: what becomes of its layer norm?",
    ),
    Misconception(
        "variance as a constant",
        norms("to_u - u * mean(to_u * u, -1, keepdims=True)", "to_u"),
        "Double a whole row: what becomes of its norm?",
    ),
    Misconception(
        "scale left out", norms("grad * scale", "grad"), "What multiplies the normalized numbers on the way out?"
    ),
    Misconception(
        "input for the normalized",
        norms("grad * u", "grad * x"),
        "What does `scale` multiply: x, or what became of it?",
    ),
    Misconception(
        "epsilon left out", norms(" + epsilon", ""), "When the variance is near epsilon, what stands under the root?"
    ),
]


def last_one_counts(grad: Node, ids: Node, count: int) -> Node:
    """Of ids that occur twice, only the last: rows are set, not added."""
    flat = G.reshape(ids, (-1,))
    number = flat.shape[0]
    same = G.equal(G.reshape(flat, (number, 1)), G.reshape(flat, (1, number)))
    later = G.constant(torch.ones(number, number, dtype=torch.bool).triu(1))
    hits = G.sum(G.cast(same, grad.dtype) * G.cast(later, grad.dtype), 1, keepdims=True)
    return G.scatter_rows(G.where(hits > 0, 0.0, G.reshape(grad, (number, -1))), flat, count)


CHOSEN, SHARED = "where(x, grad, 0.0), where(x, 0.0, grad)", " / total(chosen, axes, keepdims=True)"
SELECTION = [
    Misconception(
        "rows set, not added",
        mutated(selection_gradients, scatter_rows=last_one_counts),
        "A number that occurs twice uses its row twice.",
    ),
    Misconception(
        "where, to both", mutated(selection_gradients, CHOSEN, "grad, grad"), "What was not chosen had no effect."
    ),
    Misconception(
        "where, exchanged",
        mutated(selection_gradients, CHOSEN, "where(x, 0.0, grad), where(x, grad, 0.0)"),
        "Where the condition holds, which of the two was taken?",
    ),
    Misconception(
        "max, to everybody",
        mutated(selection_gradients, f"chosen * (with_axes(grad, node){SHARED})", "with_axes(grad, node) + 0 * x"),
        "Which entries does the maximum notice?",
    ),
    Misconception(
        "max, to each of the largest",
        mutated(selection_gradients, SHARED, ""),
        "The largest entries share one adjoint: see the text.",
    ),
]

# ---- forward mode ----------------------------------------------------------------------------------------------------


def moving(name: str, wrong: Callable) -> Callable:
    """The right tangents but for one operator, whose inputs that stand still move by zeros."""

    def rule(node: Node, tangents):
        if node.operator.name != name:
            return forward_rule(node, tangents)
        return wrong(node, [G.fill(x, 0.0) if t is None else t for x, t in zip(node.inputs, tangents, strict=True)])

    return rule


def divide_sum(node: Node, t) -> Node:
    x, y = node.inputs
    return t[0] / y + t[1] * x / (y * y)


def not_stretched(node: Node, tangents) -> Node:
    """In a sum an input that stands still is left out, and with it the shape that it gave the sum."""
    known = [t for t in tangents if t is not None]
    return known[0] if node.operator.name == "add" and len(known) == 1 else forward_rule(node, tangents)


FORWARD = [
    Misconception(
        "product of tangents", moving("multiply", lambda n, t: t[0] * t[1]), "The product rule has two terms."
    ),
    Misconception("subtract, sign", moving("subtract", lambda n, t: t[0] + t[1]), "How does x - y move when y does?"),
    Misconception("divide, sign", moving("divide", divide_sum), "How does x / y move when y does?"),
    Misconception("exp, slope only", moving("exp", lambda n, t: n + t[0] * 0), "A tangent is a slope times a tangent."),
    Misconception(
        "order turned back",
        moving("transpose", lambda n, t: linear_gradients(n, t[0])[0]),
        "Forward mode goes with the operator, not against it.",
    ),
    Misconception("one side of the product", moving("matmul", lambda n, t: t[0] @ n.inputs[1]), "Both sides may move."),
    Misconception(
        "log, upside down",
        moving("log", lambda n, t: t[0] * n.inputs[0]),
        "What is the slope of log x for a large x?",
    ),
    Misconception(
        "not stretched",
        not_stretched,
        "An input that stands still may be the larger one. Which shape has the node, and which has your tangent?",
    ),
]
