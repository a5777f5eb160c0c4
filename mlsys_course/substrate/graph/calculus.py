"""Symbolic differentiation of a formula by the rules of calculus, and how the formula swells."""

from collections.abc import Sequence

from . import arithmetic as a
from . import elementwise as e
from .arithmetic import fill, power
from .elementwise import cos, exp, sin
from .node import GraphError, Node, listed


def differentiate(formula: Node, x: Node) -> Node:
    """d formula / d x by the rules for sums, products, quotients and chains, from the outside in, nothing simplified.

    Of arithmetic, exp, log, sin and cos; raises GraphError on anything else. What comes out is a formula: see
    ``written_size``. Source: lecture note 004, "Symbolic Differentiation".
    """
    found: dict[Node, Node] = {}
    for part in in_order([formula]):  # inner parts first, so that depth is limited by memory only
        found[part] = _by_calculus(part, x, [found[inner] for inner in part.inputs])
    return found[formula]


def _by_calculus(formula: Node, x: Node, inner: Sequence[Node]) -> Node:
    """The rule at one node, from its inputs' derivatives."""
    if formula is x:
        return fill(x, 1.0)
    if not formula.inputs:
        return fill(formula, 0.0)
    match formula.operator, formula.inputs, inner:
        case a.Add(), _, (df, dg):
            return df + dg
        case a.Subtract(), _, (df, dg):
            return df - dg
        case a.Multiply(), (f, g), (df, dg):
            return g * df + f * dg
        case a.Divide(), (f, g), (df, dg):
            return (df * g - f * dg) / (g * g)
        case a.Negate(), _, (df,):
            return -df
        case a.Shift(), _, (df,):
            return df
        case a.Scale(factor), _, (df,):
            return df * factor
        case a.Power(exponent), (f,), (df,):
            return power(f, exponent - 1) * exponent * df
        case e.Exp(), (f,), (df,):
            return exp(f) * df
        case e.Log(), (f,), (df,):
            return df / f
        case e.Sin(), (f,), (df,):
            return cos(f) * df
        case e.Cos(), (f,), (df,):
            return -sin(f) * df
    raise GraphError(f"no rule of calculus for {formula} here; use automatic differentiation")


def in_order(outputs: Sequence[Node]) -> list[Node]:
    """All nodes that ``outputs`` need, as they were made."""
    found, waiting = set(), listed(outputs, "outputs")
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.inputs)
    return sorted(found, key=lambda node: node.number)


def written_size(formula: Node) -> int:
    """How many symbols the formula has, written out on one line: a part that is used twice is written twice."""
    size: dict[Node, int] = {}
    for node in in_order([formula]):
        size[node] = 1 + sum(size[x] for x in node.inputs)
    return size[formula]


def graph_size(*outputs: Node) -> int:
    """How many nodes the outputs need together: each counts once, however often it is used."""
    return len(in_order(outputs))
