"""Lab 9, sealed: exercises, points, and what each forbids. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Exercise, Item, Part, Question
from mlsys_course import all_reduce as A
from mlsys_course.desk.check.seen import unforeseen

from . import cases_collectives as collectives
from . import cases_training as training
from . import (
    drivers,
    mistakes_all_reduce,
    mistakes_buckets,
    mistakes_collectives,
    mistakes_data_parallel,
    mistakes_models,
    mistakes_ring,
    mistakes_training,
    references,
)

FORBIDDEN = (
    "torch.distributed",
    "torch.distributed.all_reduce",
    "torch.distributed.reduce_scatter",
    "torch.distributed.all_gather",
    "torch.distributed.nn",
    "torch.nn.parallel",
)


def variants(draw: Draw) -> dict[str, Any]:
    """A cluster, and from which size on the ring beats the tree on it, in KB."""
    world_size, alpha, gigabytes = draw.choice([16, 32, 64]), draw.integer(1, 9) * 10, draw.choice([5, 10, 20, 40])
    size = A.crossover_bytes("tree", "ring", world_size, alpha * 1e-6, 1e-9 / gigabytes) / 1e3
    bandwidth_only = alpha * gigabytes  # where a message's two parts are equal
    answers = [f"{size:,.0f} KB", f"{size / 2:,.0f} KB", f"{bandwidth_only:,.0f} KB", "the ring is never faster"]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": answers[i] for letter, i in zip("abcd", order, strict=True)}
    numbers = {"world_size": world_size, "alpha": alpha, "gigabytes": gigabytes}
    return {**numbers, **options, "size_answer": "abcd"[order.index(0)], "secret": draw.integer(0, 2**60)}


def core(secret: int) -> list[Exercise]:
    """The lab itself. What arrives while grading depends on ``secret``."""

    def arrival(n: int, key: int, count: int, width: int):
        return unforeseen((width, width), secret, key, count)

    return [
        exercise(
            "broadcast",
            A.broadcast,
            {"values": 4, "root": 3, "steps": 3},
            collectives.broadcast_cases,
            mistakes_collectives.BROADCAST,
        ),
        exercise(
            "ring_all_reduce",
            A.ring_all_reduce,
            {"sum": 6, "uneven": 4, "traffic": 6},
            collectives.ring_cases,
            mistakes_ring.RING,
        ),
        exercise(
            "all_reduce_seconds",
            A.all_reduce_seconds,
            {"naive": 2, "ring": 2, "tree": 2, "halving_doubling": 2},
            training.seconds_cases,
            mistakes_models.SECONDS,
        ),
        exercise(
            "data_parallel_step",
            references.data_parallel_step,
            {"gradient": 5, "optimizer": 3, "uneven": 4},
            training.step_cases,
            mistakes_training.STEP,
            unchanged=False,
            tolerance={"float64": 1e-6},  # a share of the examples may be worked out in float32
        ),
        exercise(
            "make_buckets", A.make_buckets, {"buckets": 5, "edges": 3}, training.bucket_cases, mistakes_buckets.BUCKETS
        ),
        exercise(
            "average_bucket",
            references.average_bucket,
            {"mean": 3, "missing": 3, "traffic": 2},
            training.average_cases,
            mistakes_buckets.AVERAGE,
        ),
        exercise(
            "DataParallel",
            references.DataParallel,
            {"start": 4, "gradients": 5, "overlap": 5, "unused": 4, "no_sync": 4},
            training.data_parallel_cases,
            mistakes_data_parallel.DATA_PARALLEL,
            parts={
                "arrival": Part(arrival, lambda n, key, count, width: abs(width * width), most=64, secret=True),
                "mark": Part(drivers.mark, lambda place: 0),
            },
        ),
        exercise(
            "overlap_schedule",
            references.overlap_schedule,
            {"one by one": 5, "buckets": 3},
            training.schedule_cases,
            mistakes_models.SCHEDULE,
        ),
    ]


def extensions() -> list[Exercise]:
    """For who wants more."""
    return [
        exercise(
            "halving_doubling_all_reduce",
            references.halving_doubling_all_reduce,
            {"sum": 4, "worlds": 3, "traffic": 3},
            collectives.halving_doubling_cases,
            mistakes_all_reduce.HALVING,
            kind="extension",
        ),
        exercise(
            "hierarchical_all_reduce",
            references.hierarchical_all_reduce,
            {"sum": 4, "traffic": 4},
            collectives.hierarchical_cases,
            mistakes_all_reduce.HIERARCHY,
            kind="extension",
        ),
        exercise(
            "all_to_all",
            references.all_to_all,
            {"values": 4, "traffic": 2},
            collectives.all_to_all_cases,
            mistakes_collectives.ALL_TO_ALL,
            kind="extension",
        ),
        exercise(
            "barrier",
            A.barrier,
            {"waits": 4, "steps": 2},
            collectives.barrier_cases,
            mistakes_collectives.BARRIER,
            kind="extension",
        ),
    ]


def exercise(
    id: str, reference, points, cases, mistakes, kind="core", unchanged=True, tolerance=None, parts=None
) -> Exercise:
    """An exercise of this lab: PyTorch's own collectives are forbidden in each."""
    return Exercise(
        id=id,
        component="mlsys_course.all_reduce",
        reference=reference,
        points=points,
        cases=cases,
        misconceptions=mistakes,
        kind=kind,
        forbidden=FORBIDDEN,
        unchanged=unchanged,
        tolerance=tolerance or {},
        parts=parts or {},
    )


def exercises(v: dict) -> list[Item]:
    """Lab 9's items."""
    rubric = [
        (2, "reads from the figure that the busiest rank's bytes stay below twice the tensor in a ring, and grow with "
            "the number of ranks at the root"),
        (2, "names the price, 2(P - 1) steps one after the other, and that it decides for small tensors"),
        (2, "works out both for 350 GB on 1,024 ranks: about 0.7 TB from each rank, about 358 TB from the root"),
    ]  # fmt: skip
    return [
        *core(v["secret"]),
        Choice("size_choice", 2, options=list("abcd"), answer=v["size_answer"]),
        Question("why_a_ring", rubric),
        *extensions(),
    ]
