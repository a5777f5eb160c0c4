"""Lab 0, sealed: cases of softmax, its logarithm, its gradient, and the loss."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls, on_a_card

BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64
# Rounded to bfloat16, or to float16, they change the result, and its logarithm, by one unit of its last place.
LONG, LOG_LONG, LONG16, LOG_LONG16 = 1028, 2087, 2049, 2053


def _scores(
    draw: Draw, aspects: tuple[str, str, str, str], long: int, long16: int, lost: Sequence[float] = ()
) -> list[Given]:
    """What softmax and its logarithm share: values, stability, edges and dtypes, under the aspects' names.

    A row of ``long`` equal scores, ``long16`` in float16, tells whether 16 bits were left. ``lost`` are sizes at which
    the scores' differences are: x - logsumexp(x), which is a right logarithm, would be off by what float32 cannot hold.
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
    shapes = [((n, m), -1), ((n, m), 0), ((2, n, m), -2), ((2, n, m), -3), ((2, n, m), 1), ((n, 1), -1), ((m,), 0)]
    far = draw.normal(3, m, scale=20.0, dtype=F64) + torch.tensor([[-2e4], [3e4], [-400.0]], dtype=F64)
    far = [{"x": far}, {"x": -far}] + [{"x": draw.normal(2, m) + most} for most in lost]
    gaps = torch.tensor([0.0, -20.0, -60.0, -90.0, -101.7, -102.9, -103.2, -2e4, -1e6, -3e38])
    gaps = gaps[None] - torch.tensor([[0.0], [5.0]])
    lowest = -3e38 if lost else -300.0
    low = torch.tensor([[-200.0, -torch.inf, -200.0, -3e38], [lowest, lowest, -torch.inf, -torch.inf]])
    nowhere = [
        (torch.zeros(0, m), 0),
        (torch.zeros(0, m), 1),
        (torch.zeros(2, 0, 3), 1),
        (torch.zeros(2, 0, 3, dtype=BF16), -1),
    ]
    hide = [hidden, nothing, hidden.double(), nothing.to(BF16), nothing.to(F16)]
    halves = [draw.normal(n, m, dtype=dtype, scale=4.0) for dtype in (F16, BF16)]
    return [
        Given("axes, one call after the other", values, calls(*({"x": draw.normal(*s), "dim": d} for s, d in shapes))),
        Given("scores of any size", stability, calls(*far, {"x": gaps}, {"x": gaps.double() * 10})),
        Given("the lowest scores beside -inf", edges, calls({"x": low}, *({"x": x} for x in hide))),
        Given("-inf along the first axis", edges, calls({"x": column, "dim": 0}, {"x": nothing.T.clone(), "dim": 0})),
        Given("no entries, any axis", edges, calls(*({"x": x, "dim": dim} for x, dim in nowhere))),
        Given("16 bits", dtypes, calls(*({"x": x} for x in halves), {"x": draw.normal(n, m, dtype=F16) * 9000})),
        Given("a long row in float16", dtypes, {"x": torch.zeros(long16), "as": "float16"}),
        on_a_card(Given("", "", {"x": nothing}), "as on a card", edges),
        Given("one row", values, {"x": draw.normal(m)}, public=True),
        Given("a batch of rows", values, {"x": draw.normal(n, m)}, public=True),
        Given("along the first axis", values, {"x": draw.normal(n, m), "dim": 0}, public=True),
        Given("along the middle axis", values, {"x": draw.normal(2, n, m, scale=2.0), "dim": 1}, public=True),
        Given("large scores", stability, {"x": draw.normal(n, m, scale=3.0) + 1000.0}, public=True),
        Given("very negative scores", stability, {"x": draw.normal(n, m, scale=3.0) - 1000.0}),
        Given("rows far apart", stability, {"x": apart}, public=True),
        Given("unlikely entries", stability, {"x": unlikely}, public=True),
        Given("some entries -inf", edges, {"x": hidden}, public=True),
        Given("a row of -inf only", edges, {"x": nothing}, public=True),
        Given("empty rows", edges, {"x": torch.zeros(n, 0)}, public=True),
        Given("float64", dtypes, {"x": draw.normal(n, m, dtype=F64)}, public=True),
        Given("bfloat16", dtypes, {"x": draw.normal(n, m, dtype=BF16)}, public=True),
        Given("large scores in bfloat16", dtypes, {"x": draw.normal(n, m, dtype=BF16, scale=200.0)}),
        Given("a long row in bfloat16", dtypes, {"x": equal, "as": "bfloat16"}, public=True),
    ]


def softmax(draw: Draw) -> Sequence[Given]:
    return _scores(draw, ("values", "stability", "edges", "dtypes"), LONG, LONG16, (1e20, -1e30))


def log_softmax(draw: Draw) -> Sequence[Given]:
    return _scores(draw, ("values", "stability", "edges", "edges"), LOG_LONG, LOG_LONG16)


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
    batches = [
        _batch(draw, rows, width) for rows, width in ((1, classes), (2, 3), (6, classes), (9, 2), (classes, classes))
    ]
    ruled = [_ruled_out(draw, rows, classes) for rows in (1, 2, 6)]
    halves = [_batch(draw, 3, 70, dtype, 3.0) for dtype in (F16, BF16)]
    marked = [one | LOSS | {"marked": True} for one in (_batch(draw, n, classes), _batch(draw, 2, 3, F64))]
    refused = [
        bad(0, -2),
        bad(-classes, 1),
        bad(1, 2**40),
        bad(0, 1, classes, rows=3),
        bad(-3, rows=1),
        bad(0, 0, rows=0),
    ]
    return [
        Given("batches of any size", "loss", calls(*(one | LOSS for one in batches), *(one | LOSS for one in marked))),
        Given("gradients of batches of any size", "gradient", calls(*(one | GRADIENT for one in (*batches, *ruled)))),
        Given("16 bits, loss", "loss", calls(*(one | LOSS for one in halves))),
        Given("16 bits, gradient", "gradient", calls(*(one | GRADIENT for one in halves))),
        Given("labels that are no classes", "edges", calls(*refused)),
        on_a_card(Given("", "", _batch(draw, n, classes) | GRADIENT), "its gradient as on a card", "gradient"),
        Given("a small batch", "loss", _batch(draw, n, classes) | LOSS, public=True),
        Given("large logits", "loss", surely | LOSS, public=True),
        Given("float64", "loss", _batch(draw, n, classes, F64) | LOSS, public=True),
        Given("loss in bfloat16", "loss", _batch(draw, 4 * n, classes, BF16, 2.0) | LOSS, public=True),
        Given("gradient of a small batch", "gradient", _batch(draw, n, classes) | GRADIENT, public=True),
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

    def sized(rows: int, width: int, s: float, **more: Any) -> dict[str, Any]:
        return {**_batch(draw, rows, width, **more), "smoothing": s}

    sizes = [sized(1, 4, 0.1), sized(2, 7, 0.0), sized(6, 3, 1.0), sized(5, 5, 0.25), sized(3, 8, 0.3, scale=40.0)]
    halves = [sized(3, 9, 0.3, dtype=dtype, scale=3.0) for dtype in (BF16, F16)]
    marked = sized(2, 5, 0.2) | {"marked": True}
    return [
        Given("batches of any size", "loss", calls(*(one | LOSS for one in (*sizes, marked)))),
        Given("gradients of batches of any size", "gradient", calls(*(one | GRADIENT for one in sizes))),
        Given("16 bits, loss", "loss", calls(*(one | LOSS for one in halves))),
        Given("16 bits, gradient", "gradient", calls(*(one | GRADIENT for one in halves))),
        on_a_card(Given("", "", sized(3, 4, 0.1) | GRADIENT), "its gradient as on a card", "gradient"),
        Given("a tenth", "loss", batch(0.1) | LOSS, public=True),
        Given("gradient at a fifth", "gradient", batch(0.2) | GRADIENT, public=True),
        Given("gradient at 1", "gradient", batch(1.0) | GRADIENT),
        Given("gradient in float64", "gradient", batch(draw.number(0.05, 0.5), dtype=F64) | GRADIENT),
    ]


def softmax_gradient(draw: Draw) -> Sequence[Given]:
    n, m = draw.integer(3, 4), draw.integer(5, 6)

    def case(*shape: int, dim: int | None = None, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
        y = torch.softmax(draw.normal(*shape, dtype=F64), -1 if dim is None else dim).to(dtype)
        return {"y": y, "grad": draw.normal(*shape, dtype=dtype), **({} if dim is None else {"dim": dim})}

    large = case(n, m, dtype=BF16)
    large["grad"] = 32 * large["grad"] + 8000.0  # what is left of it after the mean is small
    large16 = case(n, m, dtype=F16)
    large16["grad"] = 8 * large16["grad"] + 4000.0
    hidden, wide = case(n, m), case(2, 300, dtype=F64)
    hidden["y"][1] = 0.0  # a row of -inf only
    hidden["y"][0, 2:] = 0.0
    shapes = [
        ((n, m), -1),
        ((n, m), -2),
        ((2, n, m), -3),
        ((2, n, m), -2),
        ((2, n, m, 2), 2),
        ((n, 1), -1),
        ((m, n), 0),
    ]
    return [
        Given("16 bits", "values", calls(case(n, m, dtype=F16), large16, case(2, 40, dtype=BF16))),
        Given("scores of -inf", "values", calls(hidden, hidden, case(n, m))),
        Given("float64, long rows", "values", calls(wide, case(n, m, dtype=F64))),
        Given("axes, one call after the other", "axes", calls(*(case(*shape, dim=dim) for shape, dim in shapes))),
        on_a_card(Given("", "", hidden), "as on a card", "values"),
        Given("one row", "values", case(m), public=True),
        Given("a batch", "values", case(n, m), public=True),
        Given("three axes", "values", case(2, n, m)),
        Given("bfloat16", "values", case(n, m, dtype=BF16), public=True),
        Given("large gradients in bfloat16", "values", large, public=True),
        Given("along the first axis", "axes", case(n, m, dim=0), public=True),
        Given("along the middle axis", "axes", case(2, n, m, dim=1)),
    ]
