"""Rules of arithmetic and of functions entry by entry: the adjoint times the slope, whatever the shapes."""

from ..substrate.graph import Node, cos, power, sin, where
from ..substrate.graph import arithmetic as a
from ..substrate.graph import elementwise as e
from .rules import no_rule, rule


def elementwise_gradients(node: Node, grad: Node) -> list[Node | None]:
    """What ``node`` passes to its inputs, in the node's shape: ``grad``, its adjoint, times each slope.

    Raises GraphError for an operator that is none of those below. Lab 5, exercise ``elementwise_gradients``.
    """
    x, *others = node.inputs
    match node.operator:
        case a.Add():
            return [grad, grad]
        case a.Subtract():
            return [grad, -grad]
        case a.Multiply():
            (y,) = others
            return [grad * y, grad * x]
        case a.Divide():  # d(x/y)/dy is -x/y^2, and x/y is the node itself
            (y,) = others
            to_x = grad / y
            return [to_x, -to_x * node]
        case a.Negate():
            return [-grad]
        case a.Shift():
            return [grad]
        case a.Scale(factor):
            return [grad * factor]
        case a.Power(exponent):
            return [grad * (power(x, exponent - 1) * exponent)]
        case e.Exp():
            return [grad * node]
        case e.Log():
            return [grad / x]
        case e.Sin():
            return [grad * cos(x)]
        case e.Cos():
            return [-grad * sin(x)]
        case e.Tanh():
            return [grad - grad * (node * node)]
        case e.Sqrt():
            return [grad / (2 * node)]
        case e.Relu():  # 0 at 0, as PyTorch has it
            return [where(node > 0, grad, 0.0)]
    raise no_rule(node)


rule(a.Add, a.Subtract, a.Multiply, a.Divide, a.Negate, a.Shift, a.Scale, a.Power)(elementwise_gradients)
rule(e.Exp, e.Log, e.Sin, e.Cos, e.Tanh, e.Sqrt, e.Relu)(elementwise_gradients)
