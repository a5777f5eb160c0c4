"""Lab 0, sealed: misconceptions about the network."""

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


def turned_if_square(weights):
    """A transposed weight raises where it is not square, as much else does: only square layers tell this mistake."""
    return [w.T if w.shape[0] == w.shape[1] else w for w in weights]


def transposed(x, weights, biases):
    return component.forward(x, turned_if_square(weights), biases)


def relu_on_x(x, weights, biases):
    return component.forward(relu(x), weights, biases)


def exchanged(x, weights, biases):
    return component.forward(x, weights, biases)[::-1]


FORWARD = [
    Misconception(
        "transposed", transposed, "Write the shapes under a (B, in) and W (in, out). Which product gives (B, out)?"
    ),
    Misconception("relu on x", relu_on_x, "The input may be negative. Does a[0] still hold it?"),
    Misconception("z and a exchanged", exchanged, "In which order does the docstring want the two lists?"),
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
        "Write the shapes under each letter of the line that raised. If it raised at n = 0: what is z[n - 1] there?",
    ),
    Misconception("three layers only", always_three, "How many layers are there? Look at the length of weights."),
    mistaken(
        "not transposed",
        "g @ W works only where W is square. Write the shapes under g (B, out) and W (in, out).",
        pass_on=lambda grad, w: grad @ turned_if_square([w])[0].T,
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
    mistaken(
        "relu of the gradient",
        "A gradient may be negative. Of what does relu's slope depend: of the gradient, or of z?",
        pass_on=lambda grad, w: relu(grad @ w.T),
        slope=lambda z, a: 1,
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
        "biases summed over units",
        "Which axis of g counts the examples? That one is summed over.",
        of_bias=lambda grad: grad.sum(1),
    ),
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
