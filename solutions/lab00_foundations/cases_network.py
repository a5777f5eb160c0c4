"""Lab 0, sealed: cases of blocks, the network, and a step."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls, on_a_card
from mlsys_course.desk.check.tree import map_tensors

BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64
TILES = {"outside": "tiles"}


def block_matmul(draw: Draw) -> Sequence[Given]:
    p, q, r = draw.shuffled([2, 3, 4])

    def case(n: int, k: int, m: int, *block: int, dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        a, b = draw.normal(n, k, dtype=dtype), draw.normal(k, m, dtype=dtype)
        return {"a": a, "b": b, "block": list(block), **more}

    many = 1200  # positive terms: a sum in bfloat16 stops growing long before the last
    ones = {
        "a": draw.uniform(2, many, low=0.2, high=0.6, dtype=BF16),
        "b": draw.uniform(many, 3, low=0.2, high=0.6, dtype=BF16),
        "block": [1, 1, 3],
    }
    mismatch = {"a": draw.normal(4, 5), "b": draw.normal(6, 3), "block": [2, 2, 2], "bad": True}
    ones16 = {
        name: draw.uniform(*shape, low=2.0, high=6.0, dtype=F16) for name, shape in (("a", (2, many)), ("b", (many, 3)))
    }
    return [
        Given("nothing between a and b, in float16", "edges", case(3, 0, 2, 2, 2, 2, dtype=F16)),
        Given("no rows", "edges", case(0, 3, 2, 2, 2, 2, dtype=BF16)),
        Given("the first size is negative", "edges", case(4, 4, 4, -2, 2, 2, bad=True)),
        Given("the last size is 0", "edges", case(4, 4, 4, 2, 2, 0, bad=True)),
        Given("a long sum in float16", "precision", ones16 | {"block": [1, 1, 3]}),
        Given("tiles in their dtype", "precision", case(3, 3, 3, 2, 3, 2, dtype=F16) | {"marked": True}),
        Given("blocks that divide", "values", case(2 * p, 3 * q, 2 * r, p, q, r), public=True),
        Given("single entries", "values", case(p, q, r, 1, 1, 1)),
        Given("float64", "values", case(2 * p, 2 * q, 3 * r, p, q, r, dtype=F64), public=True),
        Given("ragged everywhere", "ragged", case(2 * p + 1, 2 * q + 1, 2 * r + 1, p, q, r), public=True),
        Given("ragged inside", "ragged", case(2 * p, 3 * q - 1, r, p, q, r), public=True),
        Given("blocks larger than all", "ragged", case(p, q, r, 10, 11, 12), public=True),
        Given("ragged rows", "ragged", case(3 * p - 1, q, 2 * r, p, q, r)),
        Given("ragged columns", "ragged", case(p, 2 * q, 3 * r + 1, p, q, r)),
        Given("tiles that divide", "tiles", case(2 * p, 3 * q, 2 * r, p, q, r) | TILES, public=True),
        Given("ragged tiles", "tiles", case(2 * p + 1, q + 1, 3 * r - 1, p, q, r) | TILES, public=True),
        Given("tiles of another size", "tiles", case(7, 11, 5, r, p, q) | TILES),
        Given("no tiles between a and b", "tiles", case(p, 0, q, 2, 2, 2) | TILES),
        Given("no tiles of a", "tiles", case(0, p, q, 2, 2, 2) | TILES),
        Given("no tiles of b", "tiles", case(p, q, 0, 2, 2, 2) | TILES),
        Given("a long sum in bfloat16", "precision", ones, public=True),
        Given("bfloat16", "precision", case(5, 6, 7, 2, 2, 3, dtype=BF16)),
        Given("nothing between a and b", "edges", case(3, 0, 2, 2, 2, 2), public=True),
        Given("sizes that do not fit", "edges", mismatch, public=True),
        Given("a block of 0", "edges", case(4, 4, 4, 2, 0, 2, bad=True), public=True),
        Given("a negative block", "edges", case(4, 4, 4, 2, 2, -1, bad=True), public=True),
    ]


def parameters(draw: Draw, widths: Sequence[int], dtype: torch.dtype) -> dict[str, Any]:
    weights = [draw.normal(n, m, dtype=dtype) for n, m in itertools.pairwise(widths)]
    return {"weights": weights, "biases": [draw.normal(m, dtype=dtype) for m in widths[1:]]}


def network(draw: Draw, batch: int, *widths: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    return {"x": draw.normal(batch, widths[0], dtype=dtype), **parameters(draw, widths, dtype)}


def whole(given: dict[str, Any]) -> dict[str, Any]:
    """The same with entries -1, 0 and 1, which 16 bits hold exactly whatever the order of sums."""
    return map_tensors(given, lambda x: x.round().clamp(-1, 1))


def forward(draw: Draw) -> Sequence[Given]:
    w = draw.shuffled([3, 4, 5, 6])
    depths = [network(draw, 2, *(w * 2)[: n + 1]) for n in (2, 4, 6, 7)] + [network(draw, 1, *[2] * 13)]
    large = {"x": torch.full((2, 2), 200.0), "weights": [torch.tensor([[100.0, -100.0], [100.0, 100.0]]), torch.eye(2)]}
    large = map_tensors({**large, "biases": [torch.zeros(2), torch.ones(2)]}, lambda x: x.to(F16))  # a unit of 40,000
    nobody = [network(draw, 0, *w, dtype=dtype) for dtype in (F64, BF16, F16)]
    return [
        Given("depths, one call after the other", "other depths", calls(*depths, network(draw, 5, 3, 3))),
        Given("no examples, in every dtype", "dtypes", calls(*nobody)),
        Given("float16", "dtypes", calls(whole(network(draw, 3, 2, 3, 3, 2, dtype=F16)), large)),
        on_a_card(Given("", "", network(draw, 2, *w)), "as on a card", "three layers"),
        Given("the lecture's network", "three layers", network(draw, 1, 2, 2, 2, 1), public=True),
        Given("a batch", "three layers", network(draw, 4, *w), public=True),
        Given("another batch", "three layers", network(draw, 7, *w[::-1])),
        Given("square layers", "three layers", network(draw, 3, 4, 4, 4, 4), public=True),
        Given("one layer", "other depths", network(draw, 3, w[0], w[1]), public=True),
        Given("five layers", "other depths", network(draw, 2, *w, 4, 3), public=True),
        Given("no examples", "other depths", network(draw, 0, *w), public=True),
        Given("float64", "dtypes", network(draw, 3, *w, dtype=F64), public=True),
        Given("bfloat16", "dtypes", whole(network(draw, 3, 2, 3, 3, 2, dtype=BF16)), public=True),
    ]


def run(given: dict[str, Any]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """z and a of a network, in float64 and rounded at the end."""
    dtype, x = given["x"].dtype, given["x"].double()
    z, a = [], [x]
    for w, b in zip(given["weights"], given["biases"], strict=True):
        z.append(a[-1] @ w.double() + b.double())
        a.append(z[-1].clamp(min=0))
    return [value.to(dtype) for value in z], [value.to(dtype) for value in a[:-1]]


def at_zero(draw: Draw, *widths: int) -> dict[str, Any]:
    """A network whose first two layers have units at exactly 0, where the slope of relu is a matter of agreement."""
    given = network(draw, 3, *widths)
    for layer in (0, 1):
        given["weights"][layer][:, 0] = 0.0
        given["biases"][layer][0] = 0.0
    return given


def backward(draw: Draw) -> Sequence[Given]:
    w = draw.shuffled([3, 4, 5, 6])

    def case(given: dict[str, Any], *returns: str) -> dict[str, Any]:
        z, a = run(given)
        grad = draw.normal(*z[-1].shape, dtype=z[-1].dtype)
        return {"weights": given["weights"], "z": z, "a": a, "grad": grad, "returns": list(returns)}

    def net(batch: int, *widths: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
        return network(draw, batch, *widths, dtype=dtype)

    def small(given: dict[str, Any]) -> dict[str, Any]:
        """Units that are hardly above 0: what lies before them is as small."""
        given["weights"][0] *= 1e-7
        given["biases"][0] *= 1e-7
        return given

    both = ("weights", "biases")
    depths = [case(net(2, *(w * 2)[: n + 1]), *both) for n in (2, 4, 6)] + [case(net(1, *[2] * 13), *both)]
    halves = [case(whole(net(rows, 3, 3, 3, 2, dtype=dtype)), *both) for rows in (1, 2) for dtype in (F16, BF16)]
    single = [case(net(1, *w), *both), case(net(1, 4, 4), *both), case(net(0, 3, 2, dtype=F64), *both)]
    return [
        Given("depths, one call after the other", "weights", calls(*depths)),
        Given("16 bits", "biases", calls(*halves)),
        Given("one example, or none", "biases", calls(*single)),
        Given(
            "units hardly above 0", "slope", calls(case(small(net(3, *w)), *both), case(small(net(2, 4, 4, 4)), *both))
        ),
        on_a_card(Given("", "", case(net(2, *w), *both)), "as on a card", "weights"),
        Given("one layer", "one layer", case(net(4, w[0], w[1]), *both), public=True),
        Given("one layer, one example", "one layer", case(net(1, w[1], w[2]), *both)),
        Given("the lecture's network", "weights", case(net(1, 2, 2, 2, 1), "weights"), public=True),
        Given("a batch", "weights", case(net(4, *w), "weights"), public=True),
        Given("square layers", "weights", case(net(5, 4, 4, 4, 4), "weights"), public=True),
        Given("float64", "weights", case(net(3, *w, dtype=F64), "weights"), public=True),
        Given("bfloat16", "weights", case(whole(net(2, 3, 3, 3, 2, dtype=BF16)), "weights"), public=True),
        Given("biases of a batch", "biases", case(net(4, *w), "biases"), public=True),
        Given("biases of square layers", "biases", case(net(3, 5, 5, 5, 5), "biases")),
        Given("no examples", "biases", case(net(0, *w), *both), public=True),
        Given("units at 0", "slope", case(at_zero(draw, *w), *both), public=True),
        Given("units at 0 in square layers", "slope", case(at_zero(draw, 4, 4, 4, 4), *both)),
    ]


def momentum_step(draw: Draw) -> Sequence[Given]:
    def case(
        momentum: float, lr: float = 0.1, dtype: torch.dtype = torch.float32, still: bool = False, count: int = 3
    ) -> dict:
        shapes = [(draw.integer(2, 4), 3), (draw.integer(2, 5),), (), (1, 2, 1), (0, 3), (2,)][:count]
        names = ("parameters", "gradients", "velocities")
        given = {name: [draw.normal(*shape, dtype=dtype) for shape in shapes] for name in names}
        if still:
            given["velocities"] = [torch.zeros_like(v) for v in given["velocities"]]
        return {**given, "lr": lr, "momentum": momentum}

    counts = [case(0.7, count=count) for count in (1, 6, 2)]
    written = [
        case(momentum, lr) | {"written": True} for momentum, lr in ((0.0, 0.1), (0.9, 0.1), (0.9, 0.0), (0.0, 0.0))
    ]
    return [
        Given("lists of any length", "step", calls(*counts, case(0.5, lr=0.0), case(0.7, count=0))),
        Given("new tensors", "limits", calls(*written)),
        Given("16 bits", "limits", calls(case(0.5, 0.25, BF16), case(0.5, 0.25, F16), case(0.5, 0.0, F16))),
        on_a_card(Given("", "", case(0.9, still=True)), "as on a card", "step"),
        Given("a first step", "step", case(0.9, still=True), public=True),
        Given("a later step", "step", case(0.9), public=True),
        Given("a larger rate", "step", case(draw.number(0.5, 0.8), lr=0.7)),
        Given("no momentum", "limits", case(0.0), public=True),
        Given("a rate of 0", "limits", case(0.5, lr=0.0)),
        Given("float64", "limits", case(0.99, dtype=F64)),
    ]
