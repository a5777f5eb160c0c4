"""Lab 11, sealed: cases of the steps of ZeRO 1, 2 and 3."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

F64 = torch.float64


def ceil(n: int, world_size: int) -> int:
    """Entries of a shard."""
    return -(-n // world_size)


def held(draw: Draw, public: bool, n_bytes: float) -> dict[str, float]:
    """The limit of a case of memory. A public kind is small, since it ships, and is measured by the meter, which is
    exact; where it is sealed the system would read its own few MiB, so there the large kind alone is limited."""
    ships = draw.tensors is draw.generator  # sealed numbers come from a group's own stream
    return {"peak_memory": n_bytes} if ships or not public else {}


def optimizer(draw: Draw, normalized: bool, decay: bool = False) -> dict[str, Any]:
    return {"normalized": normalized, "lr": draw.integer(2, 9) / 50, "decay": 0.5 * decay}


def zero1_cases(draw: Draw) -> list[Given]:
    """Worlds and sizes, optimizers with a memory, missing gradients; bytes sent; bytes held."""

    def case(
        name: str,
        aspect: str,
        world_size: int,
        shapes: Sequence[tuple[int, ...]],
        public: bool = False,
        missing: Sequence[tuple[int, int]] = (),
        normalized: bool = True,
        dtype: torch.dtype = F64,
        again: Sequence[tuple[int, ...]] = (),
        decay: bool = False,
    ) -> Given:
        models = [list(shapes), *([list(again)] if again else [])]
        steps = 3

        def gradients(rank: int, model: Sequence[tuple[int, ...]]) -> list[list[torch.Tensor | None]]:
            return [
                [None if (rank, k) in missing else draw.normal(*shape, dtype=dtype) for k, shape in enumerate(model)]
                for _ in range(steps)
            ]

        inputs: dict[str, Any] = {
            "ranks": [{"own": [gradients(rank, model) for model in models]} for rank in range(world_size)],
            "start": [draw.normal(*shape, dtype=dtype) for shape in shapes],
            "steps": steps,
            **optimizer(draw, normalized, decay),
        }
        if again:
            start = [draw.normal(*shape, dtype=dtype) for shape in again]
            inputs["again"] = {"start": start, **optimizer(draw, not normalized)}
        shards = sum(ceil(sum(map(prod, model)), world_size) for model in models)
        sent = steps * 2 * (world_size - 1) * shards * dtype.itemsize
        return Given(name, aspect, inputs, public, {"rank_bytes": sent} if aspect == "traffic" else {})

    def large(name: str, world_size: int, entries: int, public: bool = False) -> Given:
        count = 24
        inputs = {
            "ranks": [{"fill": float(draw.integer(1, 9))} for _ in range(world_size)],
            "shapes": [[entries // 4], [entries // 2], [entries - entries // 4 - entries // 2]],
            "steps": 1,
            "normalized": False,
            "lr": 0.01,
            "velocities": count,
        }
        return Given(name, "memory", inputs, public, held(draw, public, 1.6 * (count / world_size + 5) * 4 * entries))

    few = draw.integer(2, 4)
    return [
        case("two ranks", "values", 2, [(few, 2), (4,)], True),
        case("three ranks, uneven", "values", 3, [(few, 3), (5,), (2,)], True, normalized=False),
        case("one rank", "values", 1, [(few,), (3,)]),
        case("a world larger than the parameters", "values", 4, [(2,), (1,)], True),
        case("a scalar, weights decay", "values", 2, [(), (few, 3)], decay=True),
        case("gradients are missing", "values", 2, [(few,), (3,), (2,)], True, missing=[(0, 1), (1, 2)]),
        case("a gradient is missing everywhere", "values", 3, [(few,), (3,)], missing=[(0, 1), (1, 1), (2, 1)],
             decay=True),
        case("two models in turn", "values", 2, [(few, 2), (3,)], again=[(4,), (few,)]),
        case("float32", "values", 2, [(few, 5), (2,)], dtype=torch.float32),
        case("what is sent", "traffic", 2, [(few, 2), (6,)], True),
        case("what is sent, uneven", "traffic", 4, [(few, 2), (9,)], True),
        case("what is sent, three ranks", "traffic", 3, [(few, 4)], dtype=torch.float32),
        large("what a rank holds", 4, 6000, True),
        large("what a rank holds at full size", 4, (1 << 18) + 4 * draw.integer(1, 99)),
    ]  # fmt: skip


def mixed_cases(draw: Draw) -> list[Given]:
    """Gradients are eighths, whose sums have no rounding; steps are shorter than half a gap of the parameters."""

    def case(
        name: str, aspect: str, world_size: int, shapes: Sequence[tuple[int, ...]], public: bool = False, **more: Any
    ) -> Given:
        dtype, steps = more.pop("dtype", torch.bfloat16), more.pop("steps", 44)
        missing = more.pop("missing", ())
        lr = draw.integer(8, 12) / 1000 / (1 if dtype is torch.bfloat16 else 8)

        def gradients(rank: int) -> list[torch.Tensor | None]:
            drawn = [(draw.integers(*shape, low=5, high=9) / 8).to(dtype) for shape in shapes]
            return [None if (rank, k) in missing else g for k, g in enumerate(drawn)]

        inputs = {
            "ranks": [{"own": gradients(rank)} for rank in range(world_size)],
            "start": [(4 + draw.integers(*shape, low=0, high=20) / 8).to(dtype) for shape in shapes],
            "steps": steps,
            "normalized": more.pop("normalized", False),
            "lr": lr if aspect == "masters" else 0.25,
            "velocities": more.pop("velocities", 0),
        }
        shards = ceil(sum(map(prod, shapes)), world_size)
        limits = {"rank_bytes": steps * 2 * (world_size - 1) * shards * 2} if aspect == "traffic" else {}
        return Given(name, aspect, inputs, public, limits)

    few = draw.integer(2, 4)
    return [
        case("long steps", "values", 2, [(few, 2), (3,)], True, steps=4),
        case("four ranks, velocities, uneven", "values", 4, [(few,), (5,)], steps=4, velocities=1),
        case("more ranks than parameters", "values", 4, [(2,)], steps=2, dtype=torch.float16),
        case("a gradient is missing", "values", 2, [(few,), (2,)], True, steps=3, missing=[(0, 1)]),
        case("short steps", "masters", 2, [(few, 2), (3,)], True),
        case("short steps, float16", "masters", 2, [(few, 3)], dtype=torch.float16, steps=16),
        case("short steps, three ranks", "masters", 3, [(few,), (6,)], steps=16),
        case("what is sent", "traffic", 2, [(few, 2), (6,)], True, steps=2),
        case("what is sent, float16", "traffic", 4, [(few, 2), (9,)], steps=2, dtype=torch.float16),
    ]


def zero2_cases(draw: Draw) -> list[Given]:
    def case(
        name: str,
        aspect: str,
        world_size: int,
        buckets: Sequence[Sequence[int]],
        public: bool = False,
        uses: Sequence[int] | Sequence[Sequence[int]] = (0, 1, 2),
        rows: Sequence[int] = (),
        layers: int = 3,
        width: int = 3,
        **more: Any,
    ) -> Given:
        steps, dtype = more.pop("steps", 3), more.pop("dtype", F64)
        rows = rows or [2] * world_size
        by_rank = [list(uses[r]) if isinstance(uses[0], list) else list(uses) for r in range(world_size)]  # type: ignore[arg-type]
        start = [draw.normal(width, width, dtype=dtype) / width**0.5 for _ in range(layers)]
        own = [[draw.normal(rows[r], width, dtype=dtype) for _ in range(steps)] for r in range(world_size)]
        inputs = {  # each rank's weights are its own, since they are written to
            "ranks": [{"uses": by_rank[r], "own": own[r], "start": start} for r in range(world_size)],
            "buckets": [list(bucket) for bucket in buckets],
            **optimizer(draw, more.pop("normalized", True), more.pop("decay", False)),
            **more,
        }
        shards = sum(ceil(len(bucket) * width**2, world_size) for bucket in buckets)
        limits = {
            "traffic": {"rank_bytes": steps * 2 * (world_size - 1) * shards * dtype.itemsize},
            "memory": held(draw, public, dtype.itemsize * layers * width**2),
        }
        return Given(name, aspect, inputs, public, limits.get(aspect, {}))

    def large(name: str, width: int, public: bool = False) -> Given:
        layers = 64
        buckets = [[k] for k in reversed(range(layers))]
        more = {"layers": layers, "width": width, "dtype": torch.float32, "uses": list(range(layers)), "large": True}
        more |= {"rows": [1] * 4, "steps": 1, "normalized": False, "velocities": 0}
        return case(name, "memory", 4, buckets, public, **more)

    two, each = [[2, 1], [0]], [[2], [1], [0]]
    return [
        case("two ranks", "values", 2, two, True),
        case("three ranks, a bucket each", "values", 3, each, True, normalized=False),
        case("one rank", "values", 1, two),
        case("one bucket, four ranks", "values", 4, [[2, 1, 0]]),
        case("a layer used twice", "values", 2, each, uses=[0, 1, 2, 1]),
        case("float32, weights decay", "values", 2, two, dtype=torch.float32, decay=True),
        case("buckets in another order", "values", 2, [[0], [2, 1]], True),
        case("a layer that is not used", "unused", 2, two, True, uses=[0, 2], decay=True),
        case("other layers on each rank", "unused", 2, each, True, uses=[[0, 1, 2], [2, 0, 1]]),
        case("a rank without examples", "unused", 2, two, True, rows=[3, 0]),
        case("other layers, three ranks", "unused", 3, [[2], [1, 0]], uses=[[0], [1], [2, 1]]),
        case("what is sent", "traffic", 2, two, True),
        case("what is sent, a bucket each", "traffic", 4, each, uses=[0, 1, 2, 1]),
        case("what is sent with a layer that is not used", "traffic", 3, two, uses=[0, 2]),
        large("what a rank holds", 20, True),
        large("what a rank holds at full size", 210 + 2 * draw.integer(0, 3)),
    ]


def zero3_cases(draw: Draw) -> list[Given]:
    def case(
        name: str,
        aspect: str,
        world_size: int,
        shapes: Sequence[tuple[int, ...]],
        public: bool = False,
        uses: Sequence[int] = (0,),
        frozen: Sequence[int | str] = (),
        passes: int = 0,
        **more: Any,
    ) -> Given:
        width, rows, dtype = shapes[0][0], more.pop("rows", 2), more.pop("dtype", F64)
        n = sum(map(prod, shapes))
        size = ceil(n, world_size)
        wholes = []
        for _ in range(max(uses) + 1):
            numbers = torch.cat([draw.normal(n, dtype=dtype) / width**0.5, torch.zeros(size * world_size - n)])
            wholes.append(numbers.to(dtype).view(world_size, -1))
        inputs = {
            "ranks": [
                {"shards": [whole[r] for whole in wholes], "x": draw.normal(rows, width, dtype=dtype)}
                for r in range(world_size)
            ],
            "shapes": [list(shape) for shape in shapes],
            "uses": list(uses),
            **({"frozen": list(frozen)} if frozen else {}),
            **more,
        }
        limits = {
            "traffic": {"rank_bytes": passes * (world_size - 1) * size * dtype.itemsize},
            "memory": held(draw, public, 9 * n * dtype.itemsize),
        }
        return Given(name, aspect, inputs, public, limits.get(aspect, {}))

    def large(name: str, width: int, public: bool = False) -> Given:
        layers = 24
        frozen = list(range(layers))
        return case(name, "memory", 2, [(width, width)], public, frozen, frozen, rows=1, dtype=torch.float32)

    w = draw.integer(2, 4)
    return [
        case("two ranks", "forward", 2, [(w, w), (w,)], True),
        case("three ranks, uneven", "forward", 3, [(w, 4), (4,)], True, dtype=torch.float32),
        case("without a graph", "forward", 2, [(w, w), (w,)], no_grad=True),
        case("nothing to learn", "forward", 2, [(w, w)], frozen=[0, "x"]),
        case("one rank", "gradient", 1, [(w, w), (w,)]),
        case("two layers", "gradient", 2, [(w, w), (w,)], True, [0, 1]),
        case("a layer used twice", "gradient", 2, [(w, w), (w,)], True, [0, 1, 0]),
        case("three ranks, uneven, gradients", "gradient", 3, [(3, 3), (3,)], True, [0, 1]),
        case("more ranks than parameters", "gradient", 4, [(1, 1), (1,)]),
        case("x needs none", "gradient", 2, [(w, w), (w,)], True, [0], ["x"]),
        case("frozen weights", "gradient", 2, [(w, w), (w,)], True, [0, 1], [0]),
        case("a parameter that is not used", "gradient", 2, [(w, w), (w,), (2,)], uses=[0, 1]),
        wrong_shard(draw, 2, w),
        case("what is sent", "traffic", 2, [(w, w), (w,)], True, passes=3),
        case("what is sent, four ranks", "traffic", 4, [(w, 3), (3,)], passes=3, rows=40),
        case("what is sent for frozen weights", "traffic", 3, [(w, w)], True, [0], [0], passes=2),
        case("what is sent without a graph", "traffic", 3, [(w, w)], passes=1, no_grad=True),
        large("what a rank holds", 24, True),
        large("what a rank holds at full size", 280 + 2 * draw.integer(0, 10)),
    ]  # fmt: skip


def wrong_shard(draw: Draw, world_size: int, width: int) -> Given:
    """A shard that is an entry too long on every rank."""
    size = ceil(width**2 + width, world_size) + 1
    ranks = [
        {"shards": [draw.normal(size, dtype=F64)], "x": draw.normal(2, width, dtype=F64)} for _ in range(world_size)
    ]
    inputs = {"ranks": ranks, "shapes": [[width, width], [width]], "uses": [0], "wrong": True}
    return Given("a shard of another size", "forward", inputs, True)
