"""Schedules by layer: against brute force over all orders of slices, and against FIFO by hand."""

import functools
import itertools
import math
import random

import pytest

from mlsys_course.all_reduce import overlap_schedule
from mlsys_course.parameter_server import priority_schedule
from mlsys_course.substrate.errors import CourseProblem


def test_the_lectures_three_layers():
    backward, forward, transfer = [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 4.0]
    whole = priority_schedule(backward, forward, transfer, math.inf, policy="fifo")
    assert whole.slices == [(2, 1, 5), (1, 5, 6), (0, 6, 7)] and whole.end == 10
    # Priority without slices: the last layer's four seconds are under way when the first layer's gradient comes.
    assert priority_schedule(backward, forward, transfer, math.inf).slices == [(2, 1, 5), (0, 5, 6), (1, 6, 7)]
    sliced = priority_schedule(backward, forward, transfer, 1.0)
    assert sliced.slices == [(2, 1, 2), (1, 2, 3), (0, 3, 4), (2, 4, 5), (2, 5, 6), (2, 6, 7)]
    assert sliced.forward == [(4, 5), (5, 6), (7, 8)] and sliced.end == 8


def best_end(backward, forward, transfer):
    """The earliest end of forward over all orders of unit slices, idling included, for whole numbers of seconds."""
    there = [sum(backward[n:]) for n in range(len(backward))]

    @functools.cache
    def search(now, left, last):
        if not any(left):
            clock = sum(backward)
            for layer, seconds in enumerate(forward):
                clock = max(clock, last[layer]) + seconds
            return clock
        found = [search(now + 1, left, last)] if any(there[n] > now for n in range(len(left)) if left[n]) else []
        for n in range(len(left)):
            if left[n] and there[n] <= now:
                fewer = (*left[:n], left[n] - 1, *left[n + 1 :])
                found.append(search(now + 1, fewer, (*last[:n], now + 1, *last[n + 1 :])))
        return min(found)

    return search(0, tuple(transfer), tuple(there))


@pytest.mark.parametrize("seed", range(25))
def test_priority_in_small_slices_is_as_good_as_any_order(seed):
    draw = random.Random(seed)
    n = draw.randint(1, 4)
    backward, forward = ([draw.randint(1, 3) for _ in range(n)] for _ in range(2))
    transfer = [draw.randint(0, 3) for _ in range(n)]
    best = best_end(backward, forward, transfer)
    assert priority_schedule(backward, forward, transfer, 1.0).end == best
    assert priority_schedule(backward, forward, transfer, math.inf, policy="fifo").end >= best


@pytest.mark.parametrize("seed", range(10))
def test_fifo_in_one_piece_is_lab_9s_overlap_with_a_bucket_for_each_layer(seed):
    draw = random.Random(seed)
    n = draw.randint(1, 6)
    backward, forward, transfer = ([draw.uniform(0.1, 3) for _ in range(n)] for _ in range(3))
    found = priority_schedule(backward, forward, transfer, math.inf, policy="fifo")
    spans, end, _ = overlap_schedule(backward, transfer[::-1], [[layer] for layer in reversed(range(n))])
    assert [s[1:] for s in found.slices] == [pytest.approx(span) for span in spans]
    first, last = found.forward[0], found.forward[-1]
    assert first[0] == pytest.approx(end) and last[1] == pytest.approx(end + sum(forward))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("policy", ["fifo", "priority"])
def test_what_every_schedule_keeps(seed, policy):
    draw = random.Random(seed)
    n, overhead = draw.randint(1, 6), 0.25
    backward, forward = ([draw.randint(1, 8) / 4 for _ in range(n)] for _ in range(2))
    transfer, cut = [draw.randint(0, 12) / 4 for _ in range(n)], draw.choice([0.5, 0.75, 2.0])
    slices, spans, end = priority_schedule(backward, forward, transfer, cut, overhead, policy)
    assert all(a.end <= b.start for a, b in itertools.pairwise(slices))
    for layer in range(n):
        own = [s for s in slices if s.layer == layer]
        assert sum(s.end - s.start - overhead for s in own) == pytest.approx(transfer[layer])
        assert len(own) == math.ceil(transfer[layer] / cut)
        assert all(s.start >= sum(backward[layer:]) for s in own)
        assert spans[layer][0] >= max([sum(backward), *(s.end for s in own)])
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans)) and end == spans[-1][1]


def test_slices_that_cost_something_have_a_best_size():
    layers = [1.0] * 8
    ends = {cut: priority_schedule(layers, layers, [1.5] * 8, cut, 0.02).end for cut in (0.01, 0.2, math.inf)}
    assert ends[0.2] < ends[0.01] and ends[0.2] < ends[math.inf]


@pytest.mark.parametrize("wrong", [{"slice_seconds": 0.0}, {"slice_seconds": -1.0}, {"policy": "lifo"}])
def test_what_cannot_be_is_told(wrong):
    with pytest.raises(CourseProblem, match="slice_seconds="):
        priority_schedule(**{"backward": [1.0], "forward": [1.0], "transfer": [1.0], "slice_seconds": 1.0, **wrong})
