"""Lab 9, sealed: exercises, points, and what each forbids. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Exercise, Item, Part, Question, exercises_of
from mlsys_course import all_reduce as A
from mlsys_course.desk.check.seen import unforeseen

from . import cases_collectives, cases_training, drivers, mistakes_collectives, mistakes_training

FORBIDDEN = (
    "torch.distributed",
    "torch.distributed.all_reduce",
    "torch.distributed.reduce_scatter",
    "torch.distributed.all_gather",
    "torch.distributed.nn",
    "torch.nn.parallel",
)
exercise = exercises_of(A, forbidden=FORBIDDEN)


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

    step = {"gradient": 5, "optimizer": 3, "uneven": 4}
    replica = {"start": 4, "gradients": 5, "overlap": 5, "unused": 4, "no_sync": 4}
    parts = {
        "arrival": Part(arrival, lambda n, key, count, width: abs(width * width), most=64, secret=True),
        "mark": Part(drivers.mark, lambda place: 0),
    }
    loose = {"float64": 1e-6}  # a share of the examples may be worked out in float32
    every = {"naive": 2, "ring": 2, "tree": 2, "halving_doubling": 2}
    c, t, m, w = cases_collectives, cases_training, mistakes_collectives, mistakes_training
    return [
        exercise("broadcast", {"values": 4, "root": 3, "steps": 3}, c.broadcast_cases, m.BROADCAST),
        exercise("ring_all_reduce", {"sum": 6, "uneven": 4, "traffic": 6}, c.ring_cases, m.RING),
        exercise("all_reduce_seconds", every, t.seconds_cases, w.SECONDS),
        exercise("data_parallel_step", step, t.step_cases, w.STEP, tolerance=loose),
        exercise("make_buckets", {"buckets": 5, "edges": 3}, t.bucket_cases, w.BUCKETS),
        exercise("average_bucket", {"mean": 3, "missing": 3, "traffic": 2}, t.average_cases, w.AVERAGE),
        exercise("DataParallel", replica, t.data_parallel_cases, w.DATA_PARALLEL, parts=parts),
        exercise("overlap_schedule", {"one by one": 5, "buckets": 3}, t.schedule_cases, w.SCHEDULE),
    ]


def extensions() -> list[Exercise]:
    """For who wants more."""
    c, m, more = cases_collectives, mistakes_collectives, {"kind": "extension"}
    halving = {"sum": 4, "worlds": 3, "traffic": 3}
    return [
        exercise("halving_doubling_all_reduce", halving, c.halving_doubling_cases, m.HALVING, **more),
        exercise("hierarchical_all_reduce", {"sum": 4, "traffic": 4}, c.hierarchical_cases, m.HIERARCHY, **more),
        exercise("all_to_all", {"values": 4, "traffic": 2}, c.all_to_all_cases, m.ALL_TO_ALL, **more),
        exercise("barrier", {"waits": 4, "steps": 2}, c.barrier_cases, m.BARRIER, **more),
    ]


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
