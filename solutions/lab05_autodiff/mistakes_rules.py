"""Lab 5, sealed: misconceptions about the rules of operators."""

from collections.abc import Callable
from math import prod

import mlsys_course.substrate.graph as G
from autograder.exercise import Misconception
from mlsys_course.autodiff import RULES, sum_to
from mlsys_course.substrate.graph import Node

Wrong = Callable[[Node, Node], list]


def but(name: str, wrong: Wrong, *others: str) -> Wrong:
    """The right rules but for the operators named."""

    def rule(node: Node, grad: Node) -> list:
        chosen = wrong if node.operator.name in (name, *others) else RULES[type(node.operator)]
        return list(chosen(node, grad))

    return rule


def x_of(node: Node) -> Node:
    return node.inputs[0]


def exponent(node: Node) -> float:
    return node.operator.exponent


def quotient(sign: float, square: bool) -> Wrong:
    def rule(node: Node, grad: Node) -> list:
        x, y = node.inputs
        return [grad / y, grad * x / (y * y if square else y) * sign]

    return rule


ELEMENTWISE = [
    Misconception("subtract, sign", but("subtract", lambda n, g: [g, g]), "y grows: does x - y?"),
    Misconception("divide, sign", but("divide", quotient(1.0, True)), "y grows: does x / y, for positive x and y?"),
    Misconception(
        "divide, not squared", but("divide", quotient(-1.0, False)), "Write x / y as x times y to the power of -1."
    ),
    Misconception("negate, sign", but("negate", lambda n, g: [g]), "What is the slope of -x?"),
    Misconception(
        "constants in the slope", but("shift", lambda n, g: [g + n.operator.amount]), "What is the slope of x + c?"
    ),
    Misconception("scale forgotten", but("scale", lambda n, g: [g]), "What is the slope of c x?"),
    Misconception(
        "log, upside down", but("log", lambda n, g: [g * x_of(n)]), "What is the slope of log x for a large x?"
    ),
    Misconception(
        "cos, sign", but("cos", lambda n, g: [g * G.sin(x_of(n))]), "Right of 0, does the cosine rise or fall?"
    ),
    Misconception(
        "tanh, of the input",
        but("tanh", lambda n, g: [g * (1 - x_of(n) ** 2)]),
        "The square in tanh's slope is that of its input, or of its output?",
    ),
    Misconception(
        "sqrt, without 2", but("sqrt", lambda n, g: [g / n]), "Write the root as a power, and take the power's rule."
    ),
    Misconception(
        "power, without the factor",
        but("power", lambda n, g: [g * G.power(x_of(n), exponent(n) - 1)]),
        "What is the slope of x cubed at 1?",
    ),
    Misconception(
        "power, not lowered",
        but("power", lambda n, g: [g * exponent(n) * n]),
        "What is the slope of x squared: does it grow like x or like x squared?",
    ),
    Misconception(
        "relu, by the adjoint",
        but("relu", lambda n, g: [G.where(g > 0, g, 0.0)]),
        "Whose sign decides whether the adjoint passes: its own, or the input's?",
    ),
    Misconception(
        "relu, at 0",
        but("relu", lambda n, g: [G.where(x_of(n) >= 0, g, 0.0)]),
        "At exactly 0 the text takes one of the two slopes. Which?",
    ),
    Misconception(
        "slopes only",
        lambda node, grad: [p / grad for p in RULES[type(node.operator)](node, grad)],
        "A rule passes on an adjoint: what reached the node takes part in it.",
    ),
]


def leading_only(grad: Node, shape):
    extra = len(grad.shape) - len(shape)
    summed = G.sum(grad, list(range(extra))) if extra else grad
    return summed


def stretched_only(grad: Node, shape):
    extra = len(grad.shape) - len(shape)
    axes = [k + extra for k, size in enumerate(shape) if size == 1 and grad.shape[k + extra] != 1]
    return G.sum(grad, axes, keepdims=True) if axes else grad


def by_the_mean(grad: Node, shape):
    summed = sum_to(grad, shape)
    count = prod(grad.shape) // max(1, prod(shape))
    return summed / count if count > 1 else summed


def without_kept_axes(grad: Node, shape):
    extra = len(grad.shape) - len(shape)
    axes = [k for k in range(len(grad.shape)) if k < extra or (shape[k - extra] == 1 and grad.shape[k] != 1)]
    return G.sum(grad, axes) if axes else grad


def first_copy(grad: Node, shape):
    extra = len(grad.shape) - len(shape)
    place = [0] * extra + [slice(0, size) for size in shape]
    return grad[tuple(place)] if 0 not in grad.shape else sum_to(grad, shape)


def aligned_left(grad: Node, shape):
    padded = (*shape, *[1] * (len(grad.shape) - len(shape)))
    if any(s not in (1, g) for s, g in zip(padded, grad.shape, strict=True)):
        return sum_to(grad, shape)
    return G.reshape(sum_to(grad, padded), tuple(shape))


SUM_TO = [
    Misconception("nothing summed", lambda grad, shape: grad, "What is the shape of what you return?"),
    Misconception("leading axes only", leading_only, "Which axes did broadcasting stretch without adding one?"),
    Misconception("stretched axes only", stretched_only, "An input may have fewer axes than the result."),
    Misconception("mean", by_the_mean, "x + 1 with x of three entries: how fast does the sum grow with the 1?"),
    Misconception("axes dropped", without_kept_axes, "An axis of size one is still an axis of the input."),
    Misconception("first copy", first_copy, "Every copy of an entry had its own effect. What becomes of the others?"),
    Misconception("aligned at the left", aligned_left, "Broadcasting lines shapes up at which end?"),
]


def kept(x: Node, node: Node) -> Node:
    shape = node.inputs[0].shape
    return G.reshape(x, [1 if axis in node.operator.axes else size for axis, size in enumerate(shape)])


def matrices(to_a: Callable, to_b: Callable) -> Wrong:
    def rule(node: Node, grad: Node) -> list:
        a, b = node.inputs
        return [to_a(grad, a, b), to_b(grad, a, b)]

    return rule


def fitting(left: Node, right: Node, like: Node) -> Node:
    """The product where it has the right shape (of square matrices), else zeros: a wrong shape is no number."""
    try:
        found = left @ right
    except G.GraphError:
        return G.fill(like, 0.0)
    return found if found.shape[-2:] == like.shape[-2:] else G.fill(like, 0.0)


T = G.transpose


def reversed_axes(x: Node) -> Node:
    return G.transpose(x, list(range(len(x.shape)))[::-1])


def reversed_product(node: Node, grad: Node) -> list:
    """All axes turned round, where that fits; of two axes it is the transpose."""
    a, b = node.inputs
    if a.shape != b.shape:
        return list(RULES[type(node.operator)](node, grad))
    return [fitting(grad, reversed_axes(b), a), fitting(reversed_axes(a), grad, b)]


def mean_by_all(node: Node, grad: Node) -> list:
    shape = node.inputs[0].shape
    return [G.broadcast_to(kept(grad / prod(shape), node), shape)]


def mean_undivided(node: Node, grad: Node) -> list:
    return [G.broadcast_to(kept(grad, node), node.inputs[0].shape)]


def last_axes(node: Node, grad: Node) -> list:
    """Broadcast as it comes, where that fits."""
    try:
        return [G.broadcast_to(grad, node.inputs[0].shape)]
    except G.GraphError:
        return list(RULES[type(node.operator)](node, grad))


def same_order(node: Node, grad: Node) -> list:
    found = G.transpose(grad, node.operator.order)
    return [found if found.shape == node.inputs[0].shape else G.fill(node.inputs[0], 0.0)]


def at_the_start(node: Node, grad: Node) -> list:
    shape = node.inputs[0].shape
    return [G.pad(grad, shape, tuple((0, size, 1) for size in grad.shape))]


def other_way_round(node: Node, grad: Node) -> list:
    axis, pieces, start = node.operator.axis, [], 0
    for x in reversed(node.inputs):
        pieces.append(grad[tuple([slice(None)] * axis + [slice(start, start + x.shape[axis])])])
        start += x.shape[axis]
    return pieces[::-1]


LINEAR = [
    Misconception(
        "mean undivided", but("mean", mean_undivided), "By how much does a mean of n entries move when one does?"
    ),
    Misconception(
        "mean by all", but("mean", mean_by_all), "How many entries share one mean: all, or those along the axes?"
    ),
    Misconception(
        "axes not put back",
        but("sum", last_axes),
        "Broadcasting lines shapes up at the last axis. Which axis did the sum take away?",
    ),
    Misconception(
        "same order", but("transpose", same_order), "Axes went round by three places. How do they come back?"
    ),
    Misconception(
        "reshape for transpose",
        but("transpose", lambda n, g: [G.reshape(g, n.inputs[0].shape)]),
        "A reshape keeps the order of numbers in memory. Does a transpose?",
    ),
    Misconception("slice at the start", but("slice", at_the_start), "From where was the slice cut?"),
    Misconception("pieces the other way round", but("concatenate", other_way_round), "Which piece came first?"),
    Misconception(
        "Jacobian not transposed",
        but("matmul", matrices(lambda g, a, b: fitting(g, b, a), lambda g, a, b: fitting(a, g, b))),
        "Write shapes under dY, A and B. A square example hides which of them must be transposed.",
    ),
    Misconception(
        "sides swapped",
        but("matmul", matrices(lambda g, a, b: fitting(T(b), g, a), lambda g, a, b: fitting(g, T(a), b))),
        "Matrix products do not commute. On which side of dY does B stand in the forward product?",
    ),
    Misconception(
        "all axes turned round",
        but("matmul", reversed_product),
        "With a batch, which axes does the transpose of a matrix exchange, and which stay?",
    ),
]
