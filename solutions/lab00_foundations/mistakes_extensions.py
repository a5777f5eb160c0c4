"""Lab 0, sealed: misconceptions about the gradient of softmax and the step with momentum."""

from autograder.exercise import Misconception
from mlsys_course import foundations as component

from .mistakes_softmax import wide


def sloped(name, formula, hint):
    """A wrong formula, computed as wide as it should be."""

    def candidate(y, grad, dim=-1):
        return formula(wide(y), wide(grad), dim).to(y.dtype)

    return Misconception(name, candidate, hint)


def diagonal_only(y, grad, dim):
    return y * (1 - y) * grad


def not_weighted(y, grad, dim):
    return y * (grad - grad.mean(dim, keepdim=True))


def without_y(y, grad, dim):
    return grad - (y * grad).sum(dim, keepdim=True)


def gradient_last_axis(y, grad, dim):
    return y * (grad - (y * grad).sum(-1, keepdim=True))


def sum_of_grad(y, grad, dim):
    return y * (grad - grad.sum(dim, keepdim=True))


def plus(y, grad, dim):
    return y * (grad + (y * grad).sum(dim, keepdim=True))


def sum_in_16_bits(y, grad, dim=-1):
    return y * (grad - (y * grad).sum(dim, keepdim=True))


SOFTMAX_GRADIENT = [
    sloped(
        "the diagonal only", diagonal_only, "Raise one score: every probability of the row moves, not only its own."
    ),
    sloped("a plain mean", not_weighted, "Which weights has the mean that is subtracted from grad?"),
    sloped("a plain sum", sum_of_grad, "What is subtracted from grad is a sum of products. Is y in it?"),
    sloped("y missing", without_y, "A score with probability near 0 moves hardly anything. Does yours?"),
    sloped("always the last axis", gradient_last_axis, "Along which axis does the sum run when dim is 0?"),
    sloped("sign", plus, "If grad is the same everywhere, nothing can be gained: what is the gradient then?"),
    Misconception("in 16 bits", sum_in_16_bits, "A difference of two large numbers: in which dtype is it computed?"),
]


def step(parameters, gradients, velocities, lr, momentum, moved, new):
    velocities = [moved(v, g, lr, momentum) for v, g in zip(velocities, gradients, strict=True)]
    return [new(p, v, lr) for p, v in zip(parameters, velocities, strict=True)], velocities


def moving(name, hint, moved=lambda v, g, lr, m: m * v + g, new=lambda p, v, lr: p - lr * v):
    def candidate(parameters, gradients, velocities, lr, momentum):
        return step(parameters, gradients, velocities, lr, momentum, moved, new)

    return Misconception(name, candidate, hint)


def old_velocity(parameters, gradients, velocities, lr, momentum):
    moved = [momentum * v + g for v, g in zip(velocities, gradients, strict=True)]
    return [p - lr * v for p, v in zip(parameters, velocities, strict=True)], moved


def forgets(parameters, gradients, velocities, lr, momentum):
    return component.momentum_step(parameters, gradients, velocities, lr, momentum)[0], list(velocities)


def velocities_first(parameters, gradients, velocities, lr, momentum):
    return component.momentum_step(parameters, gradients, velocities, lr, momentum)[::-1]


MOMENTUM = [
    Misconception("velocities first", velocities_first, "In which order does the docstring want the two lists?"),
    moving("an average", "Here a gradient enters with weight 1.", moved=lambda v, g, lr, m: m * v + (1 - m) * g),
    moving(
        "the rate inside",
        "The velocity is made of gradients alone. Where does lr come in?",
        moved=lambda v, g, lr, m: m * v + lr * g,
        new=lambda p, v, lr: p - v,
    ),
    moving("uphill", "Which way is down?", new=lambda p, v, lr: p + lr * v),
    moving("plain descent", "What does the velocity of earlier steps do in yours?", moved=lambda v, g, lr, m: g),
    Misconception("the old velocity", old_velocity, "Which velocity moves the parameters: the old or the new one?"),
    Misconception("velocity forgotten", forgets, "The next step needs the velocity of this one. Which do you return?"),
]
