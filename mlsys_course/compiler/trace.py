"""Define, then run: a function that is run once on nodes becomes a graph, or is refused with a reason."""

import contextlib
import io
import random
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..substrate.graph import GraphError, Node, constant
from ..substrate.graph.arguments import argument


def trace(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[list[Node], list[Node]]:
    """Inputs and outputs of the graph of ``function(*arguments)``. Lab 6, exercise ``trace``.

    Tensors among the arguments become variables of their shape and dtype; other values are handed on as they are, and
    the graph is that of these values. Results that are tensors or numbers become constants. Raises GraphError where a
    graph would not do what the function does: it prints, draws random numbers, updates an argument in place, decides
    by a node's value or asks for it, or returns something else. Source: lecture note 004, "Define-then-run".
    """
    given = [argument(f"x{n}", x.shape, x.dtype) if isinstance(x, Tensor) else x for n, x in enumerate(arguments)]
    printed, drawn = io.StringIO(), chance()
    try:
        with contextlib.redirect_stdout(printed):
            returned = function(*given)
    except (TypeError, AttributeError) as problem:
        raise refused(function, f"{problem}; a node has no value before the graph runs", problem) from problem
    if printed.getvalue():
        raise refused(function, "it prints, which the graph would not do")
    if chance() != drawn:
        raise refused(function, "it draws random numbers, which the graph would repeat; hand them in as an argument")
    results = returned if isinstance(returned, tuple | list) else [returned]
    return [x for x in given if isinstance(x, Node)], [result_of(x, function) for x in results]


def chance() -> tuple[Any, ...]:
    """Where PyTorch's and Python's random numbers stand."""
    return torch.get_rng_state().tolist(), random.getstate()


def result_of(value: Any, function: Callable[..., Any]) -> Node:
    """A result as a node."""
    if isinstance(value, Node):
        return value
    if isinstance(value, Tensor | bool | int | float):
        return constant(value)
    raise refused(function, f"it returns {value!r}; return nodes, tensors or numbers")


def refused(function: Callable[..., Any], why: str, problem: BaseException | None = None) -> GraphError:
    """That a function cannot be traced, with the line if it is known, else that of the function."""
    frames = traceback.extract_tb(problem.__traceback__)[1:] if problem else []
    code = getattr(function, "__code__", None)
    line = frames[0].lineno if frames else code.co_firstlineno if code else "unknown"
    return GraphError(f"{getattr(function, '__name__', function)}, line {line}, cannot be traced: {why}")
