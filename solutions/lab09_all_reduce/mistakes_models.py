"""Lab 9, sealed: misconceptions about costs and schedules."""

import math

from autograder.exercise import Misconception
from mlsys_course import all_reduce as A

TWO_PASSES = "An all-reduce goes up and down, or round twice: which half of yours is missing?"


def changed(rule):
    """The right costs, with steps and volume changed by ``rule``."""

    def seconds(algorithm, n_bytes, world_size, alpha, beta):
        right = A.cost(algorithm, world_size)
        steps, volume = rule(algorithm, right.steps, right.volume, world_size)
        return steps * alpha + volume * n_bytes * beta

    return seconds


def whole_tensor_in_every_step(algorithm, steps, volume, world_size):
    return steps, float(steps)


SECONDS = [
    Misconception("half of it", changed(lambda a, s, v, p: (s / 2, v / 2)), TWO_PASSES),
    Misconception(
        "whole tensors in every step",
        changed(whole_tensor_in_every_step),
        "Is it the whole tensor that travels in each step, or a chunk of it?",
    ),
    Misconception(
        "one latency for all", changed(lambda a, s, v, p: (min(s, 1), v)), "How many messages follow one another?"
    ),
    Misconception(
        "as many steps as ranks",
        changed(lambda a, s, v, p: (2 * p, v * p / (p - 1)) if p > 1 and a in ("naive", "ring") else (s, v)),
        "With two ranks, count the steps on your fingers. A rank sends nothing to itself.",
    ),
    Misconception(
        "logarithm rounded down",
        changed(lambda a, s, v, p: (2 * int(math.log2(p)),) * 2 if a == "tree" else (s, v)),
        "Three ranks: can one step reach both others?",
    ),
    Misconception(
        "a logarithm without rounding",
        changed(lambda a, s, v, p: (2 * math.log2(p),) * 2 if a == "tree" else (s, v)),
        "Three ranks: there is no step and a half.",
    ),
    Misconception(
        "receives all at once",
        changed(lambda a, s, v, p: (p, p) if a == "naive" and p > 1 else (s, v)),
        "Rank 0 has one cable: how many messages can it receive at a time?",
    ),
    Misconception(
        "half in every step",
        changed(lambda a, s, v, p: (s, s / 2) if a == "halving_doubling" else (s, v)),
        "Half of the tensor travels in the first step. How much in the second?",
    ),
]


# ---- the schedule ----------------------------------------------------------------------------------------------------


def scheduled(backward, reduce, buckets, mistake=""):
    """The right schedule with a place for each mistake."""
    clock, done = 0.0, [0.0] * len(backward)
    order = range(len(backward)) if mistake == "forward" else reversed(range(len(backward)))
    for layer in order:
        clock += backward[layer]
        done[layer] = clock
    free, spans = clock if mistake == "no overlap" else 0.0, []
    for bucket, seconds in zip(buckets, reduce, strict=True):
        ready = (min if mistake == "first layer" else max)(done[layer] for layer in bucket)
        start = ready if mistake == "no queue" else max(free, ready)
        free = start + seconds
        spans.append((start, free))
    end = max([clock, *(stop for _, stop in spans)])
    if mistake == "ends with the link":
        end = spans[-1][1] if spans else 0.0
    if mistake == "ends with backward":
        end = clock
    busy = clock + sum(reduce) if mistake == "link counts" else clock
    return spans, end, busy / end


def mis_scheduled(name: str, mistake: str, hint: str) -> Misconception:
    return Misconception(name, lambda b, r, k: scheduled(b, r, k, mistake), hint)


SCHEDULE = [
    mis_scheduled("no overlap", "no overlap", "Must the first bucket wait until backward has ended?"),
    mis_scheduled("all at once", "no queue", "Two all-reduces overlap in your schedule. How many can the link carry?"),
    mis_scheduled("forward order", "forward", "Which layer's gradient does backward reach first?"),
    mis_scheduled("first layer suffices", "first layer", "Is the whole bucket there when its first layer is done?"),
    mis_scheduled("backward is the end", "ends with backward", "Can the optimizer step while a bucket is under way?"),
    mis_scheduled("the link is the end", "ends with the link", "Where nothing is sent, when has backward ended?"),
    mis_scheduled(
        "sending counts as computing",
        "link counts",
        "Utilisation is about the processor. Does it compute while it sends?",
    ),
]
