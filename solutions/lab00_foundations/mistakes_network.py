"""Lab 0, sealed: misconceptions about the network and the step."""

import torch

from autograder.exercise import Misconception
from mlsys_course import foundations as component


def relu(x):
    return x.clamp(min=0)


def layers(x, weights, biases, activation=relu):
    z, a = [], [x]
    for w, b in zip(weights, biases, strict=True):
        z.append(a[-1] @ w + b)
        a.append(activation(z[-1]))
    return z, a


def one_more(x, weights, biases):
    return layers(x, weights, biases)


def relu_on_logits(x, weights, biases):
    z, a = component.forward(x, weights, biases)
    return [*z[:-1], relu(z[-1])], a


def z_overwritten(x, weights, biases):
    z, a = component.forward(x, weights, biases)
    return [*map(relu, z[:-1]), z[-1]], a


def without_x(x, weights, biases):
    z, a = component.forward(x, weights, biases)
    return z, a[1:]


def no_biases(x, weights, biases):
    return component.forward(x, weights, [torch.zeros_like(b) for b in biases])


def linear(x, weights, biases):
    z, a = layers(x, weights, biases, lambda z: z)
    return z, a[:-1]


def sigmoid(x, weights, biases):
    z, a = layers(x, weights, biases, torch.sigmoid)
    return z, a[:-1]


def absolute(x, weights, biases):
    z, a = layers(x, weights, biases, torch.abs)
    return z, a[:-1]


def three_layers(x, weights, biases):
    return component.forward(x, weights[:3], biases[:3])


FORWARD = [
    Misconception("one a too many", one_more, "a holds the input of each layer. How many layers are there?"),
    Misconception("relu on the logits", relu_on_logits, "May a logit be negative? What is the last z?"),
    Misconception("z overwritten", z_overwritten, "backward needs z as it was before relu. Is it still there?"),
    Misconception("x missing", without_x, "What is the input of the first layer called, in the list a?"),
    Misconception("no biases", no_biases, "Set x to 0: what should z of the first layer be?"),
    Misconception("no activation", linear, "Without relu three layers are one. Where is it applied?"),
    Misconception("sigmoid", sigmoid, "Which activation does the docstring name?"),
    Misconception("absolute value", absolute, "What does relu make of -2?"),
    Misconception("three layers only", three_layers, "How many layers are there? Look at the length of weights."),
]


def back(weights, z, a, grad, *, slope=None, pass_on=None, of_weight=None, of_bias=None):
    """Backward with a place for each mistake."""
    slope = slope or (lambda z, a: (z > 0).to(z.dtype))
    pass_on = pass_on or (lambda grad, w: grad @ w.T)
    ws, bs = [], []
    for n in reversed(range(len(weights))):
        ws.insert(0, of_weight(a[n], grad) if of_weight else a[n].T @ grad)
        bs.insert(0, of_bias(grad) if of_bias else grad.sum(0))
        if n:
            grad = pass_on(grad, weights[n]) * slope(z[n - 1], a[n])
    return ws, bs


def mistaken(name, hint, **change):
    return Misconception(name, lambda weights, z, a, grad: back(weights, z, a, grad, **change), hint)


def slope_of_the_output(weights, z, a, grad):
    return back(weights, z, a, grad * (z[-1] > 0))


def from_last_to_first(weights, z, a, grad):
    ws, bs = back(weights, z, a, grad)
    return ws[::-1], bs[::-1]


def updates_first(weights, z, a, grad):
    """The next layer's gradient through the weight after a step."""
    ws, bs = [], []
    for n in reversed(range(len(weights))):
        ws.insert(0, a[n].T @ grad)
        bs.insert(0, grad.sum(0))
        if n:
            grad = grad @ (weights[n] - ws[0]).T * (z[n - 1] > 0)
    return ws, bs


def last_gradient_everywhere(weights, z, a, grad):
    ws, bs = back(weights, z, a, grad)
    return ws, [*bs[:-1][:0], *[b * 0 for b in bs[:-1]], bs[-1]]


def below_the_first_layer(weights, z, a, grad):
    ws, bs = [], []
    for n in reversed(range(len(weights))):
        ws.insert(0, a[n].T @ grad)
        bs.insert(0, grad.sum(0))
        grad = (grad @ weights[n].T) * (z[n - 1] > 0)  # z[-1] once n is 0
    return ws, bs


def always_three(weights, z, a, grad):
    g3 = grad
    g2 = (g3 @ weights[2].T) * (z[1] > 0)
    g1 = (g2 @ weights[1].T) * (z[0] > 0)
    gradients = (g1, g2, g3)
    return [a[n].T @ g for n, g in enumerate(gradients)], [g.sum(0) for g in gradients]


BACKWARD = [
    Misconception(
        "below the first layer",
        below_the_first_layer,
        "After the first layer there is nothing to pass on: when n is 0, which entry is z[n - 1]?",
    ),
    Misconception("three layers only", always_three, "How many layers are there? Look at the length of weights."),
    mistaken(
        "not transposed",
        "A square weight hides it: unit j reached unit k of the next layer through w[j, k]."
        " Which index is summed over?",
        pass_on=lambda grad, w: grad @ w,
    ),
    mistaken(
        "slope missing", "A unit that relu has set to 0 cannot move the loss. Does it in yours?", slope=lambda z, a: 1
    ),
    mistaken(
        "slope at 0 is 1",
        "Exactly at 0: which slope does the docstring ask for?",
        slope=lambda z, a: (z >= 0).to(z.dtype),
    ),
    mistaken(
        "sigmoid's slope", "a (1 - a) is the slope of another function than relu.", slope=lambda z, a: a * (1 - a)
    ),
    mistaken("a for the slope", "What is the slope of relu at 3? It is not 3.", slope=lambda z, a: a),
    mistaken(
        "mean over the batch",
        "grad holds the mean already, if the loss is one. Does each example's part still add up?",
        of_weight=lambda a, grad: a.T @ grad / max(1, len(a)),
        of_bias=lambda grad: grad.sum(0) / max(1, len(grad)),
    ),
    mistaken("biases not summed", "One bias serves all examples. What shape has it?", of_bias=lambda grad: grad),
    mistaken(
        "biases of one example", "One bias serves all examples. Whose gradients add up?", of_bias=lambda g: g[:1].sum(0)
    ),
    mistaken(
        "weights transposed", "Which shape has W in this lab, and which your gradient?", of_weight=lambda a, g: g.T @ a
    ),
    Misconception(
        "slope at the logits", slope_of_the_output, "Is relu applied to the last z? Then what is its slope doing there?"
    ),
    Misconception("from last to first", from_last_to_first, "In which order does the docstring want the gradients?"),
    Misconception(
        "weights updated first",
        updates_first,
        "The gradient goes back through the weights that were used on the way up.",
    ),
    Misconception("only the last biases", last_gradient_everywhere, "Do biases below the last layer move the loss?"),
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


MOMENTUM = [
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
