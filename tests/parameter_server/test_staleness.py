"""Workers that do not wait: bounds that hold, both ends of the range, and training on what happened."""

import itertools
import random

import pytest
import torch

from mlsys_course.parameter_server import (
    asynchronous_training,
    backup_workers,
    bounded_staleness,
    staleness,
    staleness_with_absences,
)
from mlsys_course.substrate.errors import CourseProblem


def times(seed, workers=4, iterations=6):
    draw = random.Random(seed)
    return [[draw.randint(1, 12) / 4 for _ in range(iterations)] for _ in range(workers)]


def progress(events, workers):
    """Before each pull: how many iterations each worker has finished."""
    finished = [0] * workers
    for event in events:
        if event.what == "pull":
            yield event, tuple(finished)
        else:
            finished[event.worker] += 1


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("bound", [0, 1, 2, 5])
def test_nobody_is_ahead_of_the_slowest_by_more_than_the_bound_and_nobody_waits_in_vain(seed, bound):
    seconds = times(seed)
    events = bounded_staleness(seconds, bound)
    assert [e.time for e in events] == sorted(e.time for e in events)
    for event, finished in progress(events, 4):
        busy = [n for n in finished if n < 6]
        assert finished[event.worker] - min(busy) <= bound
        before = [e for e in events if e.time < event.time and e.what == "push"]
        counts = [sum(e.worker == w for e in before) for w in range(4)]
        if counts[event.worker] == finished[event.worker] and event.time > 0:  # it waited, for it was too far ahead
            assert counts[event.worker] - min(n for n in counts if n < 6) > bound
    assert sum(e.what == "push" for e in events) == 24
    assert max(staleness(events)) <= 2 * 3 * (bound + 1) and events[-1].version == 24


@pytest.mark.parametrize("seed", range(4))
def test_zero_is_synchronous_and_none_waits_for_nobody(seed):
    seconds = times(seed)
    together = bounded_staleness(seconds, 0)
    ends = list(itertools.accumulate(max(step) for step in zip(*seconds, strict=True)))
    assert sorted({e.time for e in together if e.what == "pull"}) == [0.0, *ends[:-1]]
    assert together[-1].time == ends[-1] and all(n <= 3 for n in staleness(together))
    alone = bounded_staleness(seconds, None)
    for worker, own in enumerate(seconds):
        pushes = [e.time for e in alone if e.worker == worker and e.what == "push"]
        assert pushes == list(itertools.accumulate(own))
    assert bounded_staleness(seconds, 6) == alone


def test_a_straggler_by_hand():
    events = bounded_staleness([[1.0, 1.0, 1.0], [5.0, 5.0, 5.0]], 1)
    assert events == [
        (0.0, "pull", 0, 0), (0.0, "pull", 1, 0), (1.0, "push", 0, 1), (1.0, "pull", 0, 1), (2.0, "push", 0, 2),
        (5.0, "push", 1, 3), (5.0, "pull", 0, 3), (5.0, "pull", 1, 3), (6.0, "push", 0, 4), (10.0, "push", 1, 5),
        (10.0, "pull", 1, 5), (15.0, "push", 1, 6),
    ]  # fmt: skip
    assert staleness(events) == [0, 0, 2, 0, 1, 0]


def test_who_has_nothing_left_to_do_holds_up_nobody():
    events = bounded_staleness([[1.0] * 4, [1.0], []], 0)
    assert [e.time for e in events if e.what == "push" and e.worker == 0] == [1, 2, 3, 4]
    assert bounded_staleness([], 0) == [] == bounded_staleness([[], []], None)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("accepted", [1, 2, 4])
def test_backup_workers_end_a_step_with_the_last_gradient_that_counts(seed, accepted):
    seconds = times(seed)
    steps, now = backup_workers(seconds, accepted), 0.0
    for step, (end, workers) in enumerate(steps):
        own = [row[step] for row in seconds]
        assert end == now + sorted(own)[accepted - 1] and len(workers) == accepted
        assert max(own[w] for w in workers) <= min([own[w] for w in range(4) if w not in workers], default=99.0)
        now = end
    if accepted == 4:
        assert now == bounded_staleness(seconds, 0)[-1].time


def test_backup_workers_of_equal_times_and_of_too_many():
    assert backup_workers([[1.0], [1.0], [1.0]], 2) == [(1.0, [0, 1])]
    for accepted in (0, 4):
        with pytest.raises(CourseProblem, match=f"accepted={accepted} of 3"):
            backup_workers([[1.0]] * 3, accepted)


# ---- a worker that dies and rejoins ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bound", [0, 2, None])
def test_without_absences_nothing_changes(seed, bound):
    assert staleness_with_absences(times(seed), bound, {}) == bounded_staleness(times(seed), bound)


def test_nobody_waits_for_the_dead_who_come_back_as_far_as_the_slowest():
    seconds = [[1.0] * 10, [1.0] * 10, [1.0] * 10]
    events = staleness_with_absences(seconds, 0, {2: (2.5, 6.25)})
    of_two = [(e.time, e.what) for e in events if e.worker == 2]
    assert of_two[:5] == [(0.0, "pull"), (1.0, "push"), (1.0, "pull"), (2.0, "push"), (2.0, "pull")]
    assert of_two[5:7] == [(6.25, "pull"), (7.25, "push")]  # what was under way at 2.5 is lost
    others = [e.time for e in events if e.worker == 0 and e.what == "push"]
    assert others[:6] == [1, 2, 3, 4, 5, 6] and others[6:8] == [7, 8.25]  # from then on they wait for it again
    assert sum(e.what == "push" and e.worker == 2 for e in events) == 2 + 4


def test_who_never_had_anything_to_do_and_who_dies_after_the_end():
    assert staleness_with_absences([[1.0], [2.0]], 0, {0: (1.5, 9.0)}) == bounded_staleness([[1.0], [2.0]], 0)
    alone = staleness_with_absences([[1.0, 1.0]], 0, {0: (0.5, 3.0)})
    assert [(e.time, e.what) for e in alone] == [
        (0.0, "pull"), (3.0, "pull"), (4.0, "push"), (4.0, "pull"), (5.0, "push")]  # fmt: skip


# ---- training --------------------------------------------------------------------------------------------------------


def test_stale_gradients_are_those_of_what_was_pulled():
    x = [torch.tensor([1.0, -2.0], dtype=torch.float64)]
    events = bounded_staleness(times(1), 2)
    losses = asynchronous_training(
        events, x, lambda worker, iteration, pulled: (float(pulled[0].square().sum()), [2 * pulled[0]]),
        lambda gradients: x[0].sub_(0.05 * gradients[0]))  # fmt: skip
    versions, pulled = [torch.tensor([1.0, -2.0], dtype=torch.float64)], {}
    for _, what, worker, version in events:
        if what == "pull":
            pulled[worker] = versions[version]
        else:
            versions.append(versions[-1] - 0.1 * pulled[worker])
    torch.testing.assert_close(x[0], versions[-1], rtol=1e-14, atol=0.0)
    assert [time for time, _ in losses] == [e.time for e in events if e.what == "push"]


def test_synchronous_events_of_one_worker_are_plain_descent():
    x, seen = [torch.ones(3, dtype=torch.float64)], []

    def gradient(worker, iteration, pulled):
        seen.append((worker, iteration))
        return 0.0, [pulled[0].clone()]

    asynchronous_training(bounded_staleness([[1.0] * 5], 0), x, gradient, lambda g: x[0].sub_(0.5 * g[0]))
    assert torch.equal(x[0], torch.full((3,), 0.5**5, dtype=torch.float64))
    assert seen == [(0, n) for n in range(5)]
