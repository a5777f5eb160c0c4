"""Lab 6, sealed: cases of tracing and of guards."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls

F64, F32 = torch.float64, torch.float32


def several(name: str, aspect: str, inputs: Sequence[dict[str, Any]], public: bool = False) -> Given:
    """Many calls in one case."""
    return Given(name, aspect, calls(*inputs), public)


def trace_cases(draw: Draw) -> list[Given]:
    def traced(function: str, arguments: list[Any], **more: Any) -> dict[str, Any]:
        tensors = [x for x in arguments if isinstance(x, torch.Tensor)]
        feeds = [draw.normal(*(x.shape or (1,)), dtype=F64).reshape(x.shape).to(x.dtype) for x in tensors]
        return {"function": function, "arguments": arguments, "feeds": feeds, **more}

    def x(*shape: int, dtype: torch.dtype = F64) -> torch.Tensor:
        return draw.normal(*shape, dtype=dtype)

    def refused(*names: str) -> list[dict[str, Any]]:
        rest = {"scales_in_place": [x(2), x(2)]}
        return [{"refused": name, "arguments": rest.get(name, [x(2)])} for name in names]

    n, m = draw.integer(2, 4), draw.integer(5, 7)
    plain, other = traced("several", [x(n, m), x(m, n)]), traced("rows", [x(n, m)])
    wide = [traced("shapes", [x(size, 3)]) for size in (2, n + 1)]
    return [
        Given("a function of one tensor", "graph", traced("one", [x(3)]), True),
        Given("several results", "graph", plain, True),
        Given("names used again", "graph", traced("summed", [x(n), x(n)]), True),
        several("rows, and shapes that decide", "graph", [other, *wide]),
        several(
            "lists, whole numbers, float32, no axes",
            "graph",
            [
                traced("list", [x(2), x(n, 2)]),
                traced("not all", [x(2), x(m, dtype=F32), torch.tensor(1.5, dtype=F64)]),
                traced("choice", [x(n, 2, dtype=F32)], twice=1),
                traced("one", [torch.tensor(0.5, dtype=F64)], twice=1),
            ],
        ),
        Given("values of Python", "values", traced("powers", [x(3), 2, "powers"]), True),
        several(
            "other values of Python",
            "values",
            [
                traced("powers", [x(n), 3, "products"]),
                traced("powers", [x(n), 1, "powers"]),
                traced("powers", [x(m), 0, "products"], twice=1),
            ],
        ),
        several("fixed results", "values", [traced("fixed", [x(2)]), traced("nothing given", [])]),
        Given("fixed results, shown", "values", traced("fixed", [x(3)]), True),
        several("prints and decides", "refusals", refused("prints", "decides"), True),
        several("in place, shown", "refusals", refused("adds_in_place"), True),
        several("random numbers, shown", "refusals", refused("draws"), True),
        several("asks for values, shown", "refusals", refused("asks_for_a_number", "returns_a_word"), True),
        several("all that print", "refusals", refused("prints_to_output", "prints", "own error")),
        several("all that draw", "refusals", refused("draws", "draws_unused", "draws_in_python")),
        several("all in place", "refusals", refused("adds_in_place", "scales_in_place", "writes_an_entry")),
        several(
            "all that need a value",
            "refusals",
            refused("decides", "goes_on", "asks_for_a_number", "asks_for_an_item", "shape_by_value", "as_many_as"),
        ),
        several("other results", "refusals", refused("returns_a_word", "returns_nothing")),
    ]


def jit_cases(draw: Draw) -> list[Given]:
    def x(*shape: int, dtype: torch.dtype = F64) -> torch.Tensor:
        return draw.normal(*shape, dtype=dtype)

    def case(name: str, aspect: str, rows: list[list[Any]], public: bool = False, **more: Any) -> Given:
        return Given(name, aspect, {"calls": rows, **more}, public)

    n = draw.integer(3, 5)
    a, b = x(n, 2), x(n, 2)
    pair = [{"tuple": [1, n]}, {"tuple": [1.0, n]}, {"tuple": [1, {"tuple": [n]}]}, {"tuple": []}, {"tuple": [n, 1]}]
    equal_values: list[Any] = [1, 1.0, True, 0, 0.0, False, -0.0, None, "", "None", "1", n, float(n)]
    return [
        case("same kinds, other numbers", "programs", [[a], [b], [a]], True),
        case("two arguments", "programs", [[a, 2, b], [b, 2, a], [b, 2, b], [a, 3, b]], True),
        case("two functions in turn", "programs", [[a, 1], [a, 1], [b, 1], [b, 1]], two=1),
        case("called again after others", "programs", [[a, k % 3, x(1 + k % 2)] for k in range(12)]),
        case("nothing, and no tensors", "programs", [[], [2], [2], [], ["word", None], ["word", None]]),
        case("shapes", "guards", [[a], [x(n + 1, 2)], [x(2, n)], [x(2 * n)], [x(n, 2, 1)], [b]], True),
        case("dtypes", "guards", [[a], [a.float()], [a.double()], [a.to(torch.int64)], [b.float()]], True),
        case("numbers", "guards", [[a, 1], [a, 2], [a, 1], [a, "1"]], True),
        case("equal numbers of other types", "guards", [[a, 1], [a, 1.0], [a, True], [b, 1], [a, 1.0]], True),
        case("all kinds of values", "guards", [[a, v] for v in equal_values] + [[b, v] for v in equal_values[::-1]]),
        case("tuples", "guards", [[a, v] for v in pair] + [[b, v] for v in pair[::2]]),
        case("which is first", "guards", [[a, n], [n, a], [a, n, b], [n, a, b], [b, n], [n, b, b]]),
        case("axes of one, and none", "guards", [[x(1, n)], [x(n, 1)], [x(n)], [x(1)], [torch.tensor(0.5)], [x(0, n)]]),
        case("how many", "guards", [[a], [a, b], [a, b, a], [b, a], [a, b, b]]),
        case("refused, and again", "errors", [[a, "refused"], [a, 1], [a, "refused"], [b, 1]], True),
        case("refused, then others", "errors", [[a, 2], [b, "refused"], [b, 2], [a, "refused"], [a, n], [b, n]]),
    ]
