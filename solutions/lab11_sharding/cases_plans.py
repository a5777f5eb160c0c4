"""Lab 11, sealed: cases of partition, prefetching, clipping, traffic and resharding."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls

from .cases_steps import F64, ceil


def partition_cases(draw: Draw) -> list[Given]:
    def one(sizes: Sequence[int], world_size: int, **more: Any) -> dict[str, Any]:
        return {"sizes": list(sizes), "world_size": world_size, **more}

    def drawn(count: int, most: int) -> list[int]:
        return [draw.integer(1, most) for _ in range(count)]

    few = draw.integer(2, 5)
    even = [few * 4, few * 2, few * 6]
    return [
        Given("four ranks", "pieces", calls(one(even, 4)), True),
        Given("a tensor on three ranks", "pieces", calls(one([few, 4 * few, few], 3)), True),
        Given("of many sizes", "pieces", calls(one(even, 2), one([6] * 6, 9), one([few * 20], 5), one(even, 1))),
        Given("uneven", "uneven", calls(one([7, 4], 4), one([5, 5], 3)), True),
        Given("uneven, drawn", "uneven", calls(*(one(drawn(6, 30), p) for p in (2, 3, 5, 7, 8)))),
        Given("the last ranks have less than others", "uneven", calls(one([10], 7), one([3, 3, 3], 8), one([17], 6))),
        Given("more ranks than entries", "edges", calls(one([2, 1], 5)), True),
        Given("empty tensors", "edges", calls(one([0, few, 0, 0, few, 0], 2), one([0, 0], 3), one([], 2)), True),
        Given("one entry, one rank", "edges", calls(one([1], 1), one([1], 8), one([0, 1], 2))),
        Given("no rank, no such size", "edges",
              calls(one([few], 0, wrong=True), one([few], -2, wrong=True), one([3, -1], 2, wrong=True)), True),
    ]  # fmt: skip


def prefetch_cases(draw: Draw) -> list[Given]:
    def one(n_layers: int, most: int | None = None, **more: Any) -> dict[str, Any]:
        return {"n_layers": n_layers, "most": most, **more}

    many = draw.integer(5, 9)
    return [
        Given("three layers", "two layers", calls(one(3)), True),
        Given("four layers", "two layers", calls(one(4, 2)), True),
        Given("many layers", "two layers", calls(one(many), one(many + 6), one(5))),
        Given("one at a time", "other limits", calls(one(3, 1)), True),
        Given("three at a time", "other limits", calls(one(5, 3)), True),
        Given("more at a time", "other limits", calls(one(many, 4), one(many + 3, 1), one(many, many - 1))),
        Given("as many as there are", "edges", calls(one(3, 3), one(3, 5)), True),
        Given("few layers", "edges", calls(one(1), one(1, 1), one(0), one(2), one(2, 7), one(0, 1))),
        Given("none may be held", "edges", calls(one(3, 0, wrong=True), one(0, 0, wrong=True), one(2, -1, wrong=True)),
              True),
    ]  # fmt: skip


def clip_cases(draw: Draw) -> list[Given]:
    def case(
        name: str,
        aspect: str,
        world_size: int,
        parts: Sequence[int],
        whole: Sequence[int] = (),
        public: bool = False,
        clips: bool = True,
        dtype: torch.dtype = F64,
        **more: Any,
    ) -> Given:
        everywhere = [draw.normal(size, dtype=dtype) for size in whole]
        own = [[draw.normal(size, dtype=dtype) for size in parts] for _ in range(world_size)]
        if spoiled := more.pop("spoiled", None):
            own[-1][0][0] = spoiled
        if more.pop("zero", False):
            own, everywhere = [[0 * x for x in one] for one in own], [0 * x for x in everywhere]
        if more.pop("large", False):  # float16 does not hold their squares
            own = [[300 * x for x in one] for one in own]
        norm = sum(float(x.double().square().sum()) for x in (*itertools.chain(*own), *everywhere)) ** 0.5
        inputs = {
            "ranks": [{"gradients": [*one, *everywhere]} for one in own],
            "whole": [0] * len(parts) + [1] * len(whole),
            "max_norm": (norm * (0.4 if clips else 3.0) if 0 < norm < float("inf") else 1.0),
            **more,
        }
        limits = {"rank_bytes": 16 * (world_size - 1)} if aspect == "traffic" else {}
        return Given(name, aspect, inputs, public, limits)

    few = draw.integer(2, 6)
    return [
        case("two ranks", "norm", 2, [few, 3], public=True),
        case("nothing to clip", "norm", 2, [few, 4], public=True, clips=False),
        case("three ranks", "norm", 3, [few]),
        case("one rank", "norm", 1, [few, 2]),
        case("large float16", "norm", 2, [few + 20, 30], dtype=torch.float16, large=True),
        case("gradients of zero", "norm", 2, [few], zero=True),
        case("an empty part", "norm", 3, [0, few], dtype=torch.float32),
        case("one is whole", "whole", 2, [few], [3], True),
        case("three ranks, two are whole", "whole", 3, [few, 2], [3, few], True, clips=False),
        case("all are whole", "whole", 4, [], [few, 2]),
        case("what is sent", "traffic", 2, [few, 3, 2], [3], True),
        case("what is sent, four ranks", "traffic", 4, [few, 3, 2, 4], [3, 2]),
        case("infinite on one rank", "norm", 2, [few], public=True, spoiled=float("inf"), wrong=True),
        case("no number on one rank", "norm", 3, [few], [2], spoiled=float("nan"), wrong=True),
    ]


def traffic_cases(draw: Draw) -> list[Given]:
    def case(name: str, aspect: str, given: Sequence[Sequence[int]], public: bool = False, **more: Any) -> Given:
        return Given(name, aspect, {"calls": [list(one) for one in given], **more}, public)

    n, stages = 840 * draw.integer(100, 999), (0, 1, 2, 3)
    return [
        case("eight ranks", "one pass", [(stage, n, 8) for stage in stages], True),
        case("two ranks", "one pass", [(stage, n, 2) for stage in stages], True),
        case("other worlds", "one pass", [(stage, n, p) for stage in stages for p in (3, 5, 7, 120)]),
        case("micro-batches", "micro-batches", [(stage, n, 4, 6) for stage in stages], True),
        case("micro-batches, drawn", "micro-batches",
             [(stage, n, p, draw.integer(2, 50)) for stage in stages for p in (2, 5)]),
        case("padding", "edges", [(stage, 10, 4) for stage in stages], True),
        case("padding, more ranks than entries", "edges", [(stage, 7, p, 2) for stage in stages for p in (3, 9, 64)]),
        case("one rank", "edges", [(stage, n, 1, 3) for stage in stages]),
        case("no such stage", "edges", [(4, n, 2), (-1, n, 2), (1, n, 0), (3, n, 2, 0)], True, wrong=True),
    ]  # fmt: skip


def reshard_cases(draw: Draw) -> list[Given]:
    """Every world to every other; what is read; what is another model's."""

    def one(n: int, old_size: int, new_size: int, ranks: Sequence[int] = (), **more: Any) -> dict[str, Any]:
        dtype = {"saved_dtype": "float32"} if "dtype" not in more else {"saved_dtype": more["dtype"]}
        inputs = {"n": n, "old_size": old_size, "new_size": new_size, "ranks": list(ranks or range(new_size))}
        return {"key": draw.integer(0, 2**53), **inputs, **dtype, **more}

    def needed(inputs: dict[str, Any]) -> int:
        old, new, n = ceil(inputs["n"], inputs["old_size"]), ceil(inputs["n"], inputs["new_size"]), inputs["n"]
        spans = [(r * new, min((r + 1) * new, n)) for r in inputs["ranks"]]
        return sum(-(-stop // old) - start // old for start, stop in spans if start < stop)

    def reads(name: str, inputs: dict[str, Any], public: bool = False) -> Given:
        return Given(name, "reads", inputs, public, {"part_calls": needed(inputs)})

    n = draw.integer(20, 40)
    return [
        Given("four ranks for two", "values", calls(one(4 * n, 2, 4)), True),
        Given("two for three, uneven", "values", calls(one(11, 3, 2)), True),
        Given("any for any", "values", calls(*(one(n, p, q) for p, q in ((1, 3), (5, 2), (3, 7), (7, 3), (4, 4))))),
        Given("float64 and float16", "values", calls(one(n, 3, 2, dtype="float64"), one(n, 2, 5, dtype="float16"))),
        Given("more ranks than entries", "values", calls(one(3, 2, 5), one(3, 5, 2), one(1, 4, 6)), True),
        Given("as it was", "values", calls(one(n, 3, 3), one(n, 1, 1), one(5, 8, 8))),
        reads("what is read", one(24, 6, 2, [1]), True),
        reads("what is read for less", one(4 * n, 2, 8, [5]), True),
        reads("what is read of uneven shards", one(50, 7, 4, [2])),
        reads("nothing but padding is read from nobody", one(4, 3, 7, [6])),
        reads("nothing is left for the last rank", one(10, 3, 6, [5])),
        Given("of another length", "errors", one(12, 3, 2, length=5, wrong=True), True),
        Given("of another dtype", "errors", {**one(12, 3, 2, dtype="float64", wrong=True), "saved_dtype": "float32"},
              True),
        Given("too short", "errors", one(n, 4, 3, [0], length=1, wrong=True)),
        Given("no such rank", "errors", one(n, 2, 3, [3, 7, -1], wrong=True), True),
    ]  # fmt: skip
