"""Lab 9, sealed: cases of the cost model, the schedule, and data-parallel training."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

F64 = torch.float64


def seconds_cases(draw: Draw) -> list[Given]:
    """For each algorithm: where latency decides, where bytes do, and worlds that are no power of two."""

    def case(algorithm: str, name: str, worlds: Sequence[int], public: bool = False) -> Given:
        sizes = [float(draw.integer(1, 9) * 10**k) for k in (2, 5, 8)] + ([] if public else [0.0])
        link = {"alpha": draw.integer(5, 50) * 1e-6, "beta": 1e-9 / draw.integer(1, 50)}
        inputs = {"algorithm": algorithm, "n_bytes": sizes, "world_sizes": list(worlds), **link}
        return Given(f"{algorithm}, {name}", algorithm, inputs, public)

    return [
        one
        for algorithm in ("naive", "ring", "tree", "halving_doubling")
        for one in (
            case(algorithm, "powers of two", [2, 4, 8, 64], True),
            case(algorithm, "one rank", [1], algorithm == "ring"),
            case(algorithm, "other powers", [16, 32, 1024]),
            *([] if algorithm == "halving_doubling" else [case(algorithm, "other worlds", [3, 5, 6, 100], True)]),
            *([] if algorithm == "halving_doubling" else [case(algorithm, "just over powers", [9, 17, 31])]),
        )
    ]


def schedule_cases(draw: Draw) -> list[Given]:
    """Where the link waits for backward, where backward is long done, buckets of several layers."""

    def numbers(count: int, low: int = 1, high: int = 9) -> list[float]:
        return [float(draw.integer(low, high)) for _ in range(count)]

    def case(name: str, aspect: str, backward, reduce, buckets, public: bool = False) -> Given:
        return Given(name, aspect, {"backward": backward, "reduce": reduce, "buckets": buckets}, public)

    each = [[n] for n in reversed(range(6))]
    return [
        case("three layers", "one by one", [1.0, 3.0, 2.0], [4.0, 1.0, 2.0], [[2], [1], [0]], True),
        case("a fast link", "one by one", numbers(6, 5, 9), numbers(6, 1, 3), each, True),
        case("a slow link", "one by one", numbers(6, 1, 3), numbers(6, 5, 9), each),
        case("drawn", "one by one", numbers(6), numbers(6), each),
        case("one layer", "one by one", numbers(1), numbers(1), [[0]]),
        case("two buckets", "buckets", numbers(5), numbers(2), [[4, 3, 2], [1, 0]], True),
        case("one bucket", "buckets", numbers(4), numbers(1), [[3, 2, 1, 0]], True),
        case("uneven buckets", "buckets", numbers(6), numbers(3), [[5], [4, 3, 2, 1], [0]]),
        case("in another order", "buckets", numbers(5), numbers(3), [[2], [4, 3], [1, 0]], True),
        case("names inside a bucket in any order", "buckets", numbers(5), numbers(2), [[2, 4, 3], [0, 1]]),
        case("nothing to send", "buckets", numbers(3), [], [], True),
        case("in another order, some take no time", "one by one", [*numbers(2), 0.0, *numbers(2), 0.0],
             [*numbers(1), 0.0, *numbers(2), 0.0, *numbers(1)], [[2], *draw.shuffled([k for k in each if k != [2]])]),
        case("layers in no bucket and in two", "buckets", [30.0, *numbers(3), 0.0], [0.0, *numbers(2)],
             [[4, 3], [3, 2], [4, 1]]),
        case("the link keeps up late", "buckets", numbers(7, 2, 4), numbers(4, 7, 9), [[6], [5, 4], [3], [2, 1, 0]]),
        case("short times", "one by one", [n / 100 for n in numbers(4)], [n / 100 for n in numbers(4)], each[2:]),
    ]  # fmt: skip


# ---- models, by what is drawn ----------------------------------------------------------------------------------------


def starts(draw: Draw, layers: int, width: int, worlds: int) -> list[dict[str, Any]]:
    """Weights and buffer by rank."""
    return [
        {
            "weights": [draw.normal(width, width, dtype=F64) for _ in range(layers)],
            "shift": draw.normal(width, dtype=F64),
        }
        for _ in range(worlds)
    ]


def batches(draw: Draw, steps: int, parts: Sequence[int], width: int) -> list[list[torch.Tensor]]:
    """For each step, each rank's examples."""
    return [[draw.normal(part, width, dtype=F64) for part in parts] for _ in range(steps)]


def step_cases(draw: Draw) -> list[Given]:
    """By aspect: gradient with plain descent, optimizers with a memory, parts of different sizes."""

    def case(
        name: str, aspect: str, parts: Sequence[int], optimizer: tuple[bool, float], public: bool = False, **more: Any
    ) -> Given:
        steps, layers, width = more.pop("steps", 3), more.pop("layers", 2), 3
        inputs = {
            "world_size": len(parts),
            "starts": starts(draw, layers, width, 1),
            "uses": more.pop("uses", list(range(layers))),
            "frozen": more.pop("frozen", []),
            "normalized": optimizer[0],
            "lr": more.pop("lr", 0.1),
            "momentum": optimizer[1],
            "steps": batches(draw, steps, parts, width),
        }
        if more.pop("left", False):
            inputs["left"] = [draw.normal(width, width, dtype=F64) for _ in range(layers)]
        for n in more.pop("zero", []):
            inputs["starts"][0]["weights"][n].zero_()
        if more.pop("opposite", False):  # with weights of 0, of two ranks' gradients only a little is left
            inputs["starts"][0]["shift"].zero_()
            for batch in inputs["steps"]:
                batch[1] = batch[0] * torch.tensor([-1.001, 1.0, 1.0], dtype=F64)
        return Given(name, aspect, inputs | more, public)

    descent, momentum, normalized = (False, 0.0), (False, 0.9), (True, 0.9)
    return [
        case("two ranks", "gradient", [3, 3], descent, True),
        case("three ranks", "gradient", [2, 2, 2], descent, decay=0.5),
        case("one rank", "gradient", [4], descent, True, left=True),
        case("a frozen layer", "gradient", [2, 2], descent, True, layers=3, frozen=[1]),
        case("a layer used twice", "gradient", [3, 3], descent, uses=[0, 1, 0]),
        case("normalized steps", "optimizer", [2, 2], normalized, True),
        case("normalized steps on three ranks", "optimizer", [1, 1, 1], normalized, steps=4),
        case("momentum", "optimizer", [2, 2], momentum, steps=4, left=True),
        case("parts of different sizes", "uneven", [1, 3], descent, True),
        case("different sizes, normalized steps", "uneven", [301, 1, 2], normalized),
        case("a rank without examples", "uneven", [3, 0], descent, True, zero=[1]),
        case("two of three without examples", "uneven", [0, 2, 0], normalized),
        case("a frozen layer, weights decay", "gradient", [2, 2], descent, layers=3, frozen=[1], decay=0.5,
             zero=[0, 2]),
        case("five ranks", "gradient", [1, 1, 1, 1, 1], descent, steps=1),
        case("gradients that nearly cancel", "gradient", [4, 4], descent, layers=1, zero=[0], opposite=True,
             steps=1, lr=1e3),
        case("other layers frozen in each step", "gradient", [2, 2], descent, True, layers=3, left=True,
             frozen_by_step=[[1], [0, 2], []]),
    ]  # fmt: skip


def bucket_cases(draw: Draw) -> list[Given]:
    def case(name: str, aspect: str, sizes: list[int], bucket_bytes: int, public: bool = False, **more: Any) -> Given:
        return Given(name, aspect, {"sizes": sizes, "bucket_bytes": bucket_bytes, **more}, public)

    def drawn(count: int, low: int = 4, high: int = 40) -> list[int]:
        return [4 * draw.integer(low, high) for _ in range(count)]

    return [
        case("six layers", "buckets", [40, 40, 40, 40, 40, 40], 100, True),
        case("of many sizes", "buckets", [100, 50, 8, 60, 30, 8, 20], 70, True),
        case("drawn", "buckets", drawn(20), 300, again=[drawn(20), drawn(5)]),
        case("drawn, small buckets", "buckets", drawn(15), 170),
        case("a layer and its bias", "buckets", [n for k in drawn(6) for n in (10 * k, 8)], 900),
        case("all in one", "buckets", drawn(60), 10_000),
        case("just full", "edges", [60, 40, 30, 70], 100, True),
        case("just too full", "edges", [61, 40, 31, 70], 100),
        case("larger than a bucket", "edges", [20, 500, 20, 20], 100, True),
        case("all larger", "edges", [500, 300, 200], 100),
        case("small ones beside a large one", "edges", [30, 30, 300, 30, 30, 300], 100),
        case("one parameter", "edges", [12], 100),
        case("none", "edges", [], 100, True),
        case("empty ones", "edges", [40, 0, 60, 0, 40], 100, True),
        case("empty ones beside large ones", "edges", [0, 500, 0, 30, 0, 0, 200, 0], 100,
             again=[[0, 0, 0], [0], [0, 70, 0, 500], [0, 0, 30, 80, 20], [0, 0, 30, 80, 20]]),
    ]  # fmt: skip


def average_cases(draw: Draw) -> list[Given]:
    def case(
        name: str,
        aspect: str,
        world_size: int,
        shapes: list[tuple[int, ...]],
        public: bool = False,
        missing: Sequence[tuple[int, int]] = (),
        strided: bool = False,
        dtype: torch.dtype = F64,
        calls: Sequence[Sequence[int]] = (),
    ) -> Given:
        def grad(rank: int, n: int) -> torch.Tensor | None:
            if (rank, n) in missing:
                return None
            return draw.normal(*shapes[n], dtype=dtype)

        inputs = {
            "ranks": [{"gradients": [grad(rank, n) for n in range(len(shapes))]} for rank in range(world_size)],
            "shapes": [torch.zeros(shape, dtype=dtype) for shape in shapes],
        }
        flags: dict[str, Any] = {"outside": "traffic"} if aspect == "traffic" else {"strided": True} if strided else {}
        flags |= {"calls": [list(numbers) for numbers in calls]} if calls else {}
        return Given(name, aspect, inputs | flags, public)

    few = draw.integer(2, 5)
    return [
        case("two ranks", "mean", 2, [(few, 2), (few,), (2,)], True),
        case("three ranks", "mean", 3, [(2, few), (few,)], True),
        case("one rank", "missing", 1, [(few,), (2,), (3,)], missing=[(0, 1)]),
        case("of other strides", "mean", 2, [(few, 2), (2, 3), (2, 3, few), (2, 3, 1, 2), (3, 2, 2, 3)], True,
             strided=True),
        case("a scalar, and three axes", "mean", 2, [(), (2, few, 2)], True),
        case("bfloat16", "mean", 2, [(few, 4)], dtype=torch.bfloat16),
        case("without a gradient on one rank", "missing", 2, [(few,), (2, 2)], True, [(1, 0)]),
        case("without one on different ranks", "missing", 3, [(few,), (2, 2), (3,)], False, [(0, 2), (2, 1)]),
        case("without one anywhere", "missing", 2, [(few,), (2,), (2,)], True, [(0, 1), (1, 1), (0, 2), (1, 2)]),
        case("none at all on one rank", "missing", 2, [(few,), (2,)], False, [(0, 0), (0, 1)]),
        case("one message", "traffic", 2, [(few, 2), (few,), (4,)], True),
        case("one message, one missing", "traffic", 3, [(few, 2), (few,), (4,)], False, [(1, 1)]),
        case("five ranks, float32", "mean", 5, [(few,), (1, 2)], dtype=torch.float32),
        case("an empty one", "mean", 2, [(few,), (0, 3), (2,)]),
        case("empty ones, and again", "missing", 2, [(few,), (0, 3), (2,), (0,), (few,), (2,)], False,
             [(0, 1), (1, 1), (1, 3), (0, 5), (1, 5)], calls=[[1, 0, 2], [3], [4, 5]]),
    ]  # fmt: skip


def data_parallel_cases(draw: Draw) -> list[Given]:
    """Each aspect looks at one thing only, and only who judges knows at which: start, gradients, order, all that is
    sent. A rank's ``key`` is its own, so that nobody can ask for another's gradients."""

    def case(
        name: str, aspect: str, returns: str, buckets: list[list[int]], public: bool = False, **more: Any
    ) -> Given:
        layers, width, world_size = more.pop("layers", 4), 2, more.pop("world_size", 2)
        inputs: dict[str, Any] = {
            "uses": more.pop("uses", list(range(layers))),
            "frozen": more.pop("frozen", []),
            "buckets": buckets,
            "outside": returns,
        }
        begin = starts(draw, layers, width, world_size)
        for n, own in itertools.product(more.pop("float32", []), begin):
            own["weights"][n] = own["weights"][n].float()
        if "zero" in more:  # weights after which nothing comes back, and a gradient of 0 is whole as any other
            begin[0]["weights"][zero := more.pop("zero")].zero_()
            inputs["silent"] = [n for n in range(layers) if n != zero]
        inputs |= {"interrupted": True} if more.pop("interrupted", False) else {}
        micro, parts = more.pop("micro", 1), more.pop("parts", [2] * world_size)
        steps = more.pop("steps", 0 if returns == "state" else 1)
        inputs["ranks"] = [
            {
                "start": begin[rank if aspect == "start" else 0],
                "steps": [[draw.normal(parts[rank], width, dtype=F64) for _ in range(micro)] for _ in range(steps)],
                "key": draw.integer(0, 2**53),
            }
            for rank in range(world_size)
        ]
        assert not more
        return Given(name, aspect, inputs, public)

    one, two, each = [[3, 2, 1, 0]], [[3, 2], [1, 0]], [[3], [2], [1], [0]]
    timed = "during backward"
    first = draw.integer(1, 3)  # full after three others
    after = [n for n in (3, 2, 1) if n != first]
    return [
        case("two ranks", "start", "state", two, True),
        case("three ranks, a frozen layer", "start", "state", [[3, 2], [0]], True, frozen=[1], world_size=3),
        case("four ranks", "start", "state", [[3, 1, 0]], frozen=[2], world_size=4),
        case("two ranks ", "gradients", "gradients", two, True),
        case("three ranks, one bucket", "gradients", "gradients", one, world_size=3),
        case("one rank", "unused", "gradients", two, world_size=1, uses=[0, 1, 3], steps=2),
        case("several steps", "gradients", "gradients", two, True, steps=3, world_size=3),
        case("a layer used twice", "gradients", "gradients", two, True, uses=[0, 1, 2, 3, 1]),
        case("a frozen layer", "gradients", "gradients", [[3], [1, 0]], frozen=[2]),
        case("what leaves when", "overlap", timed, two, True),
        case("what leaves when, bucket by bucket", "overlap", timed, each, True, steps=2),
        case("one bucket leaves last", "overlap", timed, one),
        case("in the order given", "overlap", timed, [[3], [1, 0], [2]], True, steps=2),
        case("in the order given, forward", "overlap", timed, [[0, 1], [2, 3]], zero=2),
        case("used twice, when", "overlap", timed, each, uses=[0, 1, 2, 3, 2]),
        case("a layer that is not used", "unused", "gradients", two, True, uses=[0, 1, 3]),
        case("the last bucket is not used", "unused", "gradients", two, uses=[2, 3], steps=2),
        case("none of the first bucket", "unused", "gradients", two, uses=[0, 1], steps=2, float32=[2, 3]),
        case("a rank without examples", "unused", "gradients", two, True, parts=[2, 0]),
        case("what is sent with an unused layer", "unused", "sent", two, uses=[0, 1, 3]),
        case("two backward passes", "no_sync", "gradients", two, True, micro=2),
        case("three backward passes, several steps", "no_sync", "gradients", two, micro=3, steps=2),
        case("sent once", "no_sync", "sent", two, True, micro=2),
        case("the last pass sends as it goes", "no_sync", timed, two, True, micro=3, steps=2),
        case("five ranks", "gradients", "gradients", two, world_size=5),
        case(
            "many at a time", "overlap", timed, [[first], [6], [5], [4], *([n] for n in after), [0]], layers=7, steps=2
        ),
        case("after an error inside", "no_sync", timed, two, micro=3, steps=2, interrupted=True),
    ]
