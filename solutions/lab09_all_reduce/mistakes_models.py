"""Lab 9, sealed: misconceptions about costs, schedules and buckets."""

import math

import torch

from autograder.exercise import Misconception
from mlsys_course import all_reduce as A

from . import references

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
    return spans, end, busy / end if end else 1.0


def mis_scheduled(name: str, mistake: str, hint: str) -> Misconception:
    return Misconception(name, lambda b, r, k: scheduled(b, r, k, mistake), hint)


SCHEDULE = [
    mis_scheduled("no overlap", "no overlap", "Must the first bucket wait until backward has ended?"),
    mis_scheduled("all at once", "no queue", "Two all-reduces overlap in your schedule. How many can the link carry?"),
    mis_scheduled("forward order", "forward", "Which layer's gradient does backward reach first?"),
    mis_scheduled("first layer suffices", "first layer", "Is the whole bucket there when its first layer is done?"),
    mis_scheduled("backward is the end", "ends with backward", "Can the optimizer step while a bucket is under way?"),
    mis_scheduled(
        "sending counts as computing",
        "link counts",
        "Utilisation is about the processor. Does it compute while it sends?",
    ),
]


# ---- buckets ---------------------------------------------------------------------------------------------------------


def forward_order(sizes, bucket_bytes):
    reverse = A.make_buckets(list(sizes)[::-1], bucket_bytes)
    return [[len(sizes) - 1 - k for k in bucket] for bucket in reverse]


def turned_at_the_end(sizes, bucket_bytes):
    """Filled from the front, then turned: the leftover is in the bucket that is to leave first."""
    return [bucket[::-1] for bucket in forward_order(sizes, bucket_bytes)][::-1]


def one_each(sizes, bucket_bytes):
    return [[k] for k in reversed(range(len(sizes)))]


def closes_when_over(sizes, bucket_bytes):
    buckets, filled = [[]], 0
    for k in reversed(range(len(sizes))):
        buckets[-1].append(k)
        filled += sizes[k]
        if filled >= bucket_bytes:
            buckets.append([])
            filled = 0
    return [bucket for bucket in buckets if bucket]


def strictly_under(sizes, bucket_bytes):
    return A.make_buckets(sizes, bucket_bytes - 1)


def fills_gaps(sizes, bucket_bytes):
    """Each goes to the first bucket with room for it."""
    buckets, filled = [], []
    for k in reversed(range(len(sizes))):
        place = next((n for n, used in enumerate(filled) if used + sizes[k] <= bucket_bytes), None)
        if place is None:
            buckets.append([])
            filled.append(0)
            place = len(buckets) - 1
        buckets[place].append(k)
        filled[place] += sizes[k]
    return buckets


def all_in_one(sizes, bucket_bytes):
    return [list(reversed(range(len(sizes))))] if sizes else []


BUCKETS = [
    Misconception("forward order", forward_order, "Which gradient is there first, and in which bucket is it?"),
    Misconception(
        "filled from the front",
        turned_at_the_end,
        "The last bucket to be filled is the one with the leftover. Which one should that be?",
    ),
    Misconception("one message a parameter", one_each, "How many parameters fit into a bucket?"),
    Misconception(
        "closed when it is over",
        closes_when_over,
        "Add up the bytes of your buckets. Look at the next parameter before you put it in.",
    ),
    Misconception("not quite full", strictly_under, "May a bucket hold exactly bucket_bytes?"),
    Misconception(
        "fills gaps", fills_gaps, "When is your first bucket complete, if a late parameter was put into its gap?"
    ),
    Misconception("one for all", all_in_one, "How large may a bucket be? And when can the only one leave?"),
]


# ---- one bucket ------------------------------------------------------------------------------------------------------


def bucket_mean(parameters, comm, all_reduce, scale):
    references.average_bucket(parameters, comm, all_reduce)
    for p in parameters:
        p.grad *= scale(comm.world_size)


def one_message_each(parameters, comm, all_reduce):
    for p in parameters:
        references.average_bucket([p], comm, all_reduce)


def leaves_missing_out(parameters, comm, all_reduce):
    references.average_bucket([p for p in parameters if p.grad is not None], comm, all_reduce)


def missing_stay_missing(parameters, comm, all_reduce):
    absent = [p for p in parameters if p.grad is None]
    references.average_bucket(parameters, comm, all_reduce)
    for p in absent:
        p.grad = None


def mean_of_those_present(parameters, comm, all_reduce):
    present = all_reduce(torch.tensor([float(p.grad is not None) for p in parameters]), comm)
    references.average_bucket(parameters, comm, all_reduce)
    for p, count in zip(parameters, present.tolist(), strict=True):
        p.grad *= comm.world_size / max(count, 1)


AVERAGE = [
    Misconception(
        "a sum",
        lambda p, c, a: bucket_mean(p, c, a, lambda size: size),
        "With three ranks your gradients are three times as large.",
    ),
    Misconception(
        "divided twice", lambda p, c, a: bucket_mean(p, c, a, lambda size: 1 / size), "How often do you divide by P?"
    ),
    Misconception("one message a parameter", one_message_each, "How many tensors did you all-reduce for one bucket?"),
    Misconception(
        "leaves missing ones out",
        leaves_missing_out,
        "A rank without a gradient brings a shorter tensor than the others. What would a zero do?",
    ),
    Misconception(
        "missing ones stay missing",
        missing_stay_missing,
        "The other ranks step by the mean. What does this rank step by?",
    ),
    Misconception(
        "mean of those that have one",
        mean_of_those_present,
        "One process on the whole batch: what do the examples add that do not reach a parameter, and are they counted?",
    ),
]
