"""Lab 0, sealed: cases of softmax, its logarithm, its gradient, and the loss."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

BF16, F64 = torch.bfloat16, torch.float64
LONG, LOG_LONG = (
    1028,
    2087,
)  # rounded to bfloat16 they change the result, and its logarithm, by one unit of its last place


def _scores(draw: Draw, aspects: tuple[str, str, str, str], long: int) -> list[Given]:
    """What softmax and its logarithm share: values, stability, edges and dtypes, under the aspects' names.

    A row of ``long`` equal scores tells whether 16 bits were left.
    """
    values, stability, edges, dtypes = aspects
    equal = torch.full((long,), float(draw.integer(-7, 8)))
    n, m = draw.integer(3, 4), draw.integer(5, 7)
    apart = draw.normal(3, m)
    apart += torch.tensor([[600.0], [0.0], [-600.0]])
    unlikely = draw.normal(2, m, scale=0.5)
    unlikely[:, 0] += 1000.0  # exp(-1000) is 0 in float64 too
    hidden = draw.normal(n, m)
    hidden[0, 1] = hidden[1, 0] = hidden[1, 3] = -torch.inf
    nothing = draw.normal(3, m)
    nothing[1] = -torch.inf
    column = draw.normal(n, m)
    column[:, 2] = -torch.inf
    return [
        Given("one row", values, {"x": draw.normal(m)}, public=True),
        Given("a batch of rows", values, {"x": draw.normal(n, m)}, public=True),
        Given("along the first axis", values, {"x": draw.normal(n, m), "dim": 0}, public=True),
        Given("along the middle axis", values, {"x": draw.normal(2, n, m, scale=2.0), "dim": 1}, public=True),
        Given("along the last but one", values, {"x": draw.normal(2, n, m), "dim": -2}),
        Given("a single score", values, {"x": draw.normal(n, 1)}),
        Given("large scores", stability, {"x": draw.normal(n, m, scale=3.0) + 1000.0}, public=True),
        Given("very negative scores", stability, {"x": draw.normal(n, m, scale=3.0) - 1000.0}),
        Given("rows far apart", stability, {"x": apart}, public=True),
        Given("unlikely entries", stability, {"x": unlikely}, public=True),
        Given("some entries -inf", edges, {"x": hidden}, public=True),
        Given("a row of -inf only", edges, {"x": nothing}, public=True),
        Given("a column of -inf only", edges, {"x": column, "dim": 0}),
        Given("no rows", edges, {"x": torch.zeros(0, m)}),
        Given("empty rows", edges, {"x": torch.zeros(n, 0)}, public=True),
        Given("float64", dtypes, {"x": draw.normal(n, m, dtype=F64)}, public=True),
        Given("bfloat16", dtypes, {"x": draw.normal(n, m, dtype=BF16)}, public=True),
        Given("large scores in bfloat16", dtypes, {"x": draw.normal(n, m, dtype=BF16, scale=200.0)}),
        Given("a long row in bfloat16", dtypes, {"x": equal, "as": "bfloat16"}, public=True),
    ]


def softmax(draw: Draw) -> Sequence[Given]:
    return _scores(draw, ("values", "stability", "edges", "dtypes"), LONG)


def log_softmax(draw: Draw) -> Sequence[Given]:
    return _scores(draw, ("values", "stability", "edges", "edges"), LOG_LONG)


def _batch(draw: Draw, n: int, classes: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> dict[str, Any]:
    labels = draw.integers(n, high=classes)
    return {"logits": draw.normal(n, classes, dtype=dtype, scale=scale), "labels": labels}


def _ruled_out(draw: Draw, n: int, classes: int) -> dict[str, Any]:
    """Classes with a logit of -inf, which are nobody's label."""
    given = _batch(draw, n, classes)
    for row in range(n):
        given["logits"][row, (int(given["labels"][row]) + 1) % classes] = -torch.inf
    return given


LOSS, GRADIENT = {"returns": ["loss"]}, {"returns": ["gradient"]}


def cross_entropy(draw: Draw) -> Sequence[Given]:
    n, classes = draw.integer(3, 5), draw.integer(6, 8)

    def bad(*labels: int, rows: int = 2) -> dict[str, Any]:
        labels_ = torch.tensor(labels, dtype=torch.int64)
        return {"logits": draw.normal(rows, classes), "labels": labels_, "bad": True}

    surely = _batch(draw, n, classes)
    surely["logits"][0] *= 400.0
    large = _batch(draw, n, classes, scale=100.0)
    large["logits"] += 1000.0
    return [
        Given("a small batch", "loss", _batch(draw, n, classes) | LOSS, public=True),
        Given("one row", "loss", _batch(draw, 1, classes) | LOSS),
        Given("large logits", "loss", surely | LOSS, public=True),
        Given("float64", "loss", _batch(draw, n, classes, F64) | LOSS, public=True),
        Given("loss in bfloat16", "loss", _batch(draw, 4 * n, classes, BF16, 2.0) | LOSS, public=True),
        Given("gradient of a small batch", "gradient", _batch(draw, n, classes) | GRADIENT, public=True),
        Given("gradient of one row", "gradient", _batch(draw, 1, classes) | GRADIENT),
        Given("gradient of large logits", "gradient", large | GRADIENT, public=True),
        Given("gradient in float64", "gradient", _batch(draw, n + 2, classes, F64) | GRADIENT),
        Given("gradient in bfloat16", "gradient", _batch(draw, n, classes, BF16) | GRADIENT, public=True),
        Given("a class ruled out", "edges", _ruled_out(draw, n, classes) | LOSS, public=True),
        Given("its gradient", "edges", _ruled_out(draw, n, classes) | GRADIENT),
        Given("a label too large", "edges", bad(0, classes), public=True),
        Given("a label of -100", "edges", bad(1, -100), public=True),
        Given("a label of -1", "edges", bad(-1, 2), public=True),
        Given("no rows", "edges", bad(rows=0), public=True),
        Given("fewer labels than rows", "edges", bad(1, rows=3), public=True),
        Given("more labels than rows", "edges", bad(1, 0, 2, rows=2), public=True),
    ]


def smooth_cross_entropy(draw: Draw) -> Sequence[Given]:
    n, classes = draw.integer(3, 5), draw.integer(4, 6)

    def batch(s: float, **more: Any) -> dict[str, Any]:
        return {**_batch(draw, n, classes, **more), "smoothing": s}

    return [
        Given("a tenth", "loss", batch(0.1) | LOSS, public=True),
        Given("no smoothing", "loss", batch(0.0) | LOSS),
        Given("all of it", "loss", batch(1.0) | LOSS),
        Given("in bfloat16", "loss", batch(0.3, dtype=BF16) | LOSS),
        Given("gradient at a fifth", "gradient", batch(0.2) | GRADIENT, public=True),
        Given("gradient at 1", "gradient", batch(1.0) | GRADIENT),
        Given("gradient in float64", "gradient", batch(draw.number(0.05, 0.5), dtype=F64) | GRADIENT),
        Given("gradient in bfloat16", "gradient", batch(0.4, dtype=BF16) | GRADIENT),
    ]


def softmax_gradient(draw: Draw) -> Sequence[Given]:
    n, m = draw.integer(3, 4), draw.integer(5, 6)

    def case(*shape: int, dim: int | None = None, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
        y = torch.softmax(draw.normal(*shape, dtype=F64), -1 if dim is None else dim).to(dtype)
        return {"y": y, "grad": draw.normal(*shape, dtype=dtype), **({} if dim is None else {"dim": dim})}

    large = case(n, m, dtype=BF16)
    large["grad"] = 32 * large["grad"] + 8000.0  # what is left of it after the mean is small
    return [
        Given("one row", "values", case(m), public=True),
        Given("a batch", "values", case(n, m), public=True),
        Given("three axes", "values", case(2, n, m)),
        Given("float64", "values", case(n, m, dtype=F64)),
        Given("bfloat16", "values", case(n, m, dtype=BF16), public=True),
        Given("large gradients in bfloat16", "values", large, public=True),
        Given("along the first axis", "axes", case(n, m, dim=0), public=True),
        Given("along the middle axis", "axes", case(2, n, m, dim=1)),
    ]
