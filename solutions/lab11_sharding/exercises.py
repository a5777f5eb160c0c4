"""Lab 11, sealed: exercises and points. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Item, Part, Question, exercises_of
from mlsys_course import sharding
from mlsys_course.desk.check.seen import unforeseen

from . import cases_plans, cases_steps, drivers, mistakes_plans, mistakes_steps

FORBIDDEN = ("torch.distributed", "torch.nn.parallel")


def variants(draw: Draw) -> dict[str, Any]:
    """A model, a world and what ZeRO 3 sends in a step, for the choice; and a secret of the files to reshard."""
    billions, ranks, micro = draw.choice([3, 7, 13, 30]), draw.choice([8, 16, 64]), draw.integer(2, 5)
    one = 2 * billions * (ranks - 1) / ranks  # GB of a pass in 16 bits
    answers = [3 * micro * one, 3 * one, (2 + micro) * one, 2 * micro * one]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": f"{answers[i]:,.1f} GB" for letter, i in zip("abcd", order, strict=True)}
    numbers = {"billions": billions, "ranks": ranks, "micro": micro, "secret": draw.integer(0, 2**60)}
    return {**numbers, **options, "traffic_answer": "abcd"[order.index(0)]}


def exercises(v: dict) -> list[Item]:
    """Lab 11's items."""

    def saved(k: int, key: int, n: int, old_size: int, length: int, dtype: str):
        return drivers.shard_of(unforeseen((n,), v["secret"], key), k, old_size, length, dtype)

    files = {"saved": Part(saved, lambda k, key, n, old_size, length, dtype: abs(n) + abs(length), secret=True)}
    exercise = exercises_of(sharding, forbidden=FORBIDDEN)
    one = {"values": 6, "traffic": 4, "memory": 4}
    two = {"values": 5, "unused": 3, "traffic": 3, "memory": 4}
    three = {"forward": 3, "gradient": 6, "traffic": 3, "memory": 4}
    order = {"two layers": 4, "other limits": 4, "edges": 2}
    p, s = cases_plans, cases_steps
    rubric = [
        (2, "reads from the figures what each stage holds and what it sends, and that the third alone sends more"),
        (2, "explains why stages 1 and 2 cost no traffic: an all-reduce is a reduce-scatter and an all-gather, and the "
            "step fits between the two"),
        (2, "says when stage 3's third pass is free (each gather takes less time than the layer that runs meanwhile) "
            "and what makes it so: more tokens a rank, faster links, larger layers"),
    ]  # fmt: skip
    return [
        exercise("partition", {"pieces": 4, "uneven": 2, "edges": 2}, p.partition_cases, mistakes_plans.PARTITION),
        exercise("zero1_step", one, s.zero1_cases, mistakes_steps.ZERO1),
        exercise("zero2_step", two, s.zero2_cases, mistakes_steps.ZERO2, unchanged=False),
        exercise("zero3_layer", three, s.zero3_cases, mistakes_steps.ZERO3),
        exercise("prefetch_order", order, p.prefetch_cases, mistakes_plans.PREFETCH),
        exercise("clip_sharded", {"norm": 4, "whole": 3, "traffic": 2}, p.clip_cases, mistakes_plans.CLIP),
        exercise("zero_traffic", {"one pass": 4, "micro-batches": 3, "edges": 2}, p.traffic_cases,
                 mistakes_plans.TRAFFIC),
        Choice("traffic_choice", 3, options=list("abcd"), answer=v["traffic_answer"]),
        exercise("reshard", {"values": 5, "reads": 3, "errors": 2}, p.reshard_cases, mistakes_plans.RESHARD,
                 parts=files),
        Question("which_stage", rubric),
        exercise("mixed_zero1_step", {"values": 3, "masters": 4, "traffic": 3}, s.mixed_cases, mistakes_steps.MIXED,
                 kind="extension"),
    ]  # fmt: skip
