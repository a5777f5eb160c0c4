"""Lab 12, sealed: cases of products of matrices and of convolutions."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given
from mlsys_course.kernels import matmul_bound

F64 = torch.float64


def on_the_machine(
    name: str, aspect: str, capacity: int, arrays: Sequence[torch.Tensor], names: Sequence[str], public: bool = False,
    limits: dict[str, float] | None = None, **more: Any,
) -> Given:  # fmt: skip
    """A case of a kernel: the candidate's process has the shapes, the trusted side the numbers."""
    inputs = {"capacity": capacity, "shapes": [list(x.shape) for x in arrays]}
    return Given(name, aspect, {**inputs, **more, "outside": {"arrays": list(arrays), "names": list(names)}}, public,
                 limits or {})  # fmt: skip


# ---- tiled_matmul ----------------------------------------------------------------------------------------------------


def matmul_cases(draw: Draw) -> list[Given]:
    """By aspect: values, edges, batch, traffic. Sums are long where traffic counts: the result weighs little."""

    def case(name: str, aspect: str, capacity: int, *sizes: int, public: bool = False, batch: Sequence[int] = (),
             limited: bool = False, **more: Any) -> Given:  # fmt: skip
        m, k, n = sizes
        arrays = [draw.normal(*batch, m, k, dtype=F64), draw.normal(*batch, k, n, dtype=F64)]
        times = batch[0] if batch else 1
        limits = {"entries_moved": 1.9 * times * matmul_bound(m, k, n, capacity)} if limited else {}
        return on_the_machine(name, aspect, capacity, arrays, ["c"], public, limits, **more)

    def odd(least: int, most: int) -> int:
        """A size that 3, 4, 5 and 6 do not divide."""
        return draw.choice([n for n in range(least, most + 1) if n % 2 and n % 3 and n % 5])

    a, b = draw.integer(2, 4), draw.integer(5, 7)
    bad = {"bad": "raised"}
    shapes = {"inner": ((2, a), (a + 1, 3)), "batches": ((2, 3, a), (3, a, 4)), "a vector": ((3,), (3, 4)),
              "two and three": ((2, 3, a), (a, 4))}  # fmt: skip
    refused = [
        on_the_machine(
            f"shapes: {name}", "edges", 100, [draw.normal(*x, dtype=F64) for x in pair], ["c"], n % 2 == 1, **bad
        )
        for n, (name, pair) in enumerate(shapes.items())
    ]
    return [
        case("tiles that fit", "values", 48, 8, 12, 8, public=True),
        case("sizes that differ", "values", 75, 5 * a, 10, 15),
        case("all of it fits", "values", 3 * 64, 3, 4, 5),
        case("ragged", "edges", 48, 4 * a + 1, 4 * b - 1, 4 * a + 3, public=True),
        case("two vectors", "edges", 48, 1, 40, 1, public=True),
        case("one row", "edges", 48, 1, 4 * b + 1, 6),
        case("sums of one", "edges", 48, b, 1, b + 4),
        case("no sum", "edges", 48, a, 0, b),
        case("no rows", "edges", 48, 0, a, b),
        case("a capacity that three do not divide", "edges", 3 * 25 + 8, 11, 13, 12),
        case("room for one each", "edges", 3, a, 3, 2),
        *refused,
        case("two products", "batch", 48, 4, 8, 6, public=True, batch=[2]),
        case("several, ragged", "batch", 48, 5, 6, 7, batch=[3]),
        case("none", "batch", 48, 3, 4, 5, batch=[0]),
        case("long sums", "traffic", 75, 15, 60, 15, public=True, limited=True),
        case("long sums, ragged", "traffic", 75, 15, odd(60, 80), 20, limited=True),
        case("larger tiles", "traffic", 300, 40, 80, 40, limited=True),
        case("of a batch", "traffic", 75, 10, 40, 15, batch=[2], limited=True),
        case("skinny", "traffic", 192, 3, 40, 50, limited=True),
    ]


# ---- im2col ----------------------------------------------------------------------------------------------------------


def im2col_cases(draw: Draw) -> list[Given]:
    """By aspect: values, stride and padding, gradient, errors."""

    def case(name: str, aspect: str, shape: Sequence[int], kernel: Sequence[int], settings: Sequence[int] = (),
             public: bool = False, dtype: torch.dtype = F64, **more: Any) -> Given:  # fmt: skip
        x = draw.normal(*shape, dtype=dtype)
        return Given(name, aspect, {"x": x, "kernel": list(kernel), "settings": list(settings), **more}, public)

    H, W = draw.integer(6, 8), draw.integer(9, 11)
    grad = {"grad": draw.normal(2, 2 * 12, 3 * 3, dtype=F64)}  # (6, 7) by (3, 4), stride 2 and padding 1: 3 x 3 places
    apart = {"grad": draw.normal(1, 6, 2 * 2, dtype=F64)}
    bad = {"bad": "raised"}
    return [
        case("3 by 3", "values", (2, 3, H, W), (3, 3), public=True),
        case("5 by 5", "values", (1, 2, H, W), (5, 5)),
        case("wide", "values", (1, 2, H, W), (2, 5)),
        case("a point", "values", (2, 4, 3, 5), (1, 1)),
        case("float32", "values", (1, 2, H, W), (3, 2), dtype=torch.float32),
        case("the whole image", "values", (3, 1, 4, 5), (4, 5)),
        case("the whole image and its frame", "stride and padding", (1, 2, 3, 3), (5, 5), (1, 1)),
        case("padding", "stride and padding", (1, 2, H, W), (3, 3), (1, 1), public=True),
        case("stride", "stride and padding", (2, 1, H, W), (3, 3), (2,)),
        case("both, 5 by 5", "stride and padding", (1, 2, 9, W), (5, 5), (3, 2)),
        case("a stride beyond the kernel", "stride and padding", (1, 1, 11, 10), (2, 3), (4, 1)),
        case("more padding than kernel", "stride and padding", (1, 1, 3, 4), (2, 2), (1, 3)),
        case("where patches overlap", "gradient", (2, 2, 6, 7), (3, 4), (2, 1), public=True, **grad),
        case("of every entry once", "gradient", (1, 1, 4, 6), (2, 3), (2,), **apart),
        case("too large a kernel", "errors", (1, 1, 3, 9), (5, 3), (1, 0), public=True, **bad),
        case("a wide one", "errors", (1, 1, 9, 3), (3, 6), (1, 1), **bad),
        case("a high one", "errors", (1, 1, 3, 9), (6, 3), (1, 1), **bad),
        case("no stride", "errors", (1, 1, 4, 4), (2, 2), (0, 0), **bad),
    ]  # fmt: skip


# ---- conv2d ----------------------------------------------------------------------------------------------------------


def conv2d_cases(draw: Draw) -> list[Given]:
    """By aspect: values, stride and padding, traffic, errors. The fast memory is as the text says; with ``extra``
    there is more."""

    def case(name: str, aspect: str, shape: Sequence[int], kernel: Sequence[int], stride: int = 1, padding: int = 0,
             outputs: int = 2, public: bool = False, extra: int = 0, channels: int = 0,
             **more: Any) -> Given:  # fmt: skip
        B, C, H, W = shape
        R, S = kernel
        x, w = draw.normal(B, C, H, W, dtype=F64), draw.normal(outputs, channels or C, R, S, dtype=F64)
        rows, columns = ((n + 2 * padding - k) // max(stride, 1) + 1 for n, k in ((H, R), (W, S)))
        capacity = w.numel() + R * C * W + outputs * max(columns, 1) + extra
        limits = {}
        if aspect == "traffic":
            limits = {"entries_moved": float(x.numel() + w.numel() + B * outputs * rows * columns)}
        settings = {
            name: value for name, value, plain in (("stride", stride, 1), ("padding", padding, 0)) if value != plain
        }
        return on_the_machine(name, aspect, capacity, [x, w], ["out"], public, limits, settings=settings, **more)

    H, W, C = draw.integer(6, 8), draw.integer(7, 9), draw.integer(2, 3)
    bad = {"bad": "raised"}
    return [
        case("3 by 3", "values", (1, C, H, W), (3, 3), public=True, extra=99),
        case("5 by 5, a batch", "values", (2, 1, H, W), (5, 5), outputs=3, public=True, extra=99),
        case("a point", "values", (1, C, 3, 4), (1, 1), outputs=4, extra=99),
        case("wide", "values", (1, 2, H, W), (2, 4), extra=99),
        case("the whole image", "values", (1, 2, 4, 5), (4, 5), extra=99),
        case("padding", "stride and padding", (1, 2, H, W), (3, 3), 1, 1, public=True, extra=99),
        case("stride", "stride and padding", (1, 2, H, W), (3, 3), 2, public=True, extra=99),
        case("both, 5 by 5", "stride and padding", (1, 1, H, W), (5, 5), 2, 2, extra=99),
        case("stride 3", "stride and padding", (2, 1, 10, 11), (4, 2), 3, 1, extra=99),
        case("more padding than kernel", "stride and padding", (1, 1, 3, 4), (2, 2), 1, 3, extra=99),
        case("a stride beyond the kernel", "stride and padding", (1, 1, 7, 9), (2, 2), 4, 1, extra=99),
        case("the whole image and its frame", "stride and padding", (1, 2, 3, 3), (5, 5), 1, 1, extra=99),
        case("places of padding alone", "stride and padding", (1, 1, 2, 2), (2, 2), 5, 3, extra=99),
        case("each entry once", "traffic", (1, C, H + 2, W), (3, 3), 1, 1, outputs=3, public=True),
        case("5 by 5, once", "traffic", (1, 2, 9, W), (5, 5), 1, 2, outputs=2),
        case("of a batch, once", "traffic", (2, 2, H, W), (3, 3), 2, 0, outputs=3),
        case("wide, once", "traffic", (1, 2, 8, W), (4, 2), 1, 1),
        case("channels that differ", "errors", (1, 2, 6, 6), (3, 3), channels=3, public=True, extra=999, **bad),
        case("too large a kernel", "errors", (1, 2, 3, 6), (4, 3), extra=999, **bad),
        case("a high one", "errors", (1, 1, 3, 9), (6, 3), 1, 1, extra=999, **bad),
        case("a wide one", "errors", (1, 1, 9, 3), (3, 6), 1, 1, extra=999, **bad),
        case("no stride", "errors", (1, 2, 5, 5), (3, 3), 0, extra=999, **bad),
    ]  # fmt: skip
