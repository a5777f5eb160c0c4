"""Rules of arithmetic and of functions entry by entry: the adjoint times the slope, whatever the shapes."""

import math

from ..substrate.graph import Node, cast, cos, exp, gelu_slope, power, sigmoid, sin, where
from ..substrate.graph import arithmetic as a
from ..substrate.graph import elementwise as e
from .rules import rule


@rule(a.Add)
def add(node: Node, grad: Node):
    return [grad, grad]


@rule(a.Subtract)
def subtract(node: Node, grad: Node):
    return [grad, -grad]


@rule(a.Multiply)
def multiply(node: Node, grad: Node):
    x, y = node.inputs
    return [grad * y, grad * x]


@rule(a.Divide)
def divide(node: Node, grad: Node):
    """d(x/y)/dy is -x/y^2, and x/y is the node itself."""
    _, y = node.inputs
    to_x = grad / y
    return [to_x, -to_x * node]


@rule(a.Negate)
def negate(node: Node, grad: Node):
    return [-grad]


@rule(e.Exp)
def exponential(node: Node, grad: Node):
    return [grad * node]


@rule(e.Log)
def logarithm(node: Node, grad: Node):
    return [grad / node.inputs[0]]


@rule(e.Sin)
def sine(node: Node, grad: Node):
    return [grad * cos(node.inputs[0])]


@rule(e.Cos)
def cosine(node: Node, grad: Node):
    return [-grad * sin(node.inputs[0])]


@rule(e.Tanh)
def hyperbolic_tangent(node: Node, grad: Node):
    return [grad - grad * (node * node)]


@rule(e.Sqrt)
def square_root(node: Node, grad: Node):
    return [grad / (2 * node)]


@rule(e.Sigmoid)
def logistic(node: Node, grad: Node):
    return [grad * (node * (1 - node))]


@rule(e.Relu)
def rectifier(node: Node, grad: Node):
    """0 at 0, as PyTorch has it."""
    return [where(node > 0, grad, 0.0)]


@rule(e.Silu)
def swish(node: Node, grad: Node):
    (x,) = node.inputs
    s = sigmoid(x)
    return [grad * (s * (1 + x * (1 - s)))]


@rule(e.Gelu)
def gaussian_unit(node: Node, grad: Node):
    return [grad * gelu_slope(node.inputs[0])]


@rule(e.GeluSlope)
def gaussian_unit_slope(node: Node, grad: Node):
    (x,) = node.inputs
    square = x**2
    return [grad * (exp(square * -0.5) * (1 / math.sqrt(2 * math.pi))) * (2 - square)]


@rule(a.Shift)
def shift(node: Node, grad: Node):
    return [grad]


@rule(a.Scale)
def scale(node: Node, grad: Node):
    return [grad * node.operator.factor]


@rule(a.Power)
def constant_power(node: Node, grad: Node):
    exponent = node.operator.exponent
    return [grad * (power(node.inputs[0], exponent - 1) * exponent)]


@rule(a.Cast)
def converted(node: Node, grad: Node):
    return [cast(grad, node.inputs[0].dtype)]


@rule(a.Where)
def choose(node: Node, grad: Node):
    """To the chosen entry. What was not chosen gets 0, even where it was infinite."""
    condition = node.inputs[0]
    return [None, where(condition, grad, 0.0), where(condition, 0.0, grad)]
