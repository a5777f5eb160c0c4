"""Lab 9, sealed: misconceptions about buckets, and about the mean of one."""

import torch

from autograder.exercise import Misconception
from mlsys_course import all_reduce as A

from . import references


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


def starts_with_an_empty_one(sizes, bucket_bytes):
    """A bucket is there before anything is put into it."""
    buckets, filled = [[]], 0
    for k in reversed(range(len(sizes))):
        if filled + sizes[k] > bucket_bytes:
            buckets.append([])
            filled = 0
        buckets[-1].append(k)
        filled += sizes[k]
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
    Misconception(
        "an empty one", starts_with_an_empty_one, "No bucket is empty: how many are there where there is no parameter?"
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


def by_view(parameters, comm, all_reduce):
    """A gradient as a row without copying, which not all strides allow."""
    for p in parameters:
        if p.grad is not None:
            p.grad.view(-1)
    references.average_bucket(parameters, comm, all_reduce)


def leaves_rows(parameters, comm, all_reduce):
    """Pieces of the row as they are; a scalar's becomes one of one entry."""
    references.average_bucket(parameters, comm, all_reduce)
    for p in parameters:
        p.grad = p.grad.flatten()


AVERAGE = [
    Misconception(
        "view of any strides",
        by_view,
        "`view` wants entries that lie one after the other in memory. A transposed gradient's do not: what copies?",
    ),
    Misconception("rows", leaves_rows, "A piece of the sum is a row of entries. Which shape has its parameter?"),
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
