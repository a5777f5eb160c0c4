"""Workers that do not wait for one another, or not for long: who pulls and pushes when."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..substrate.errors import CourseProblem


class Happened(NamedTuple):
    """A worker pulls or pushes at some second; ``version`` is how many pushes the server has applied by then."""

    time: float
    what: str  # "pull" or "push"
    worker: int
    version: int


def bounded_staleness(seconds: Sequence[Sequence[float]], bound: int | None) -> list[Happened]:
    """Pulls and pushes in their order, from each worker's seconds (above 0) of each of its iterations.

    A worker pulls, computes, pushes, and pulls again. It may begin its iteration k, from 0, once no worker that still
    has iterations to do has finished fewer than k - ``bound``: 0 is synchronous training, None waits for nobody. At one
    time pushes come before pulls, and lower workers before higher ones. Source: Ho et al. 2013 (stale synchronous
    parallel). Lab 8, exercise ``bounded_staleness``.
    """
    finished, version, now = [0] * len(seconds), 0, 0.0
    events: list[Happened] = []
    waiting, ends = {worker for worker, own in enumerate(seconds) if own}, dict[int, float]()
    while waiting or ends:
        slowest = min(finished[worker] for worker in waiting | ends.keys())
        for worker in sorted(waiting):
            if bound is None or finished[worker] - slowest <= bound:
                waiting.remove(worker)
                events.append(Happened(now, "pull", worker, version))
                ends[worker] = now + seconds[worker][finished[worker]]
        now = min(ends.values())
        for worker in sorted(worker for worker, end in ends.items() if end == now):
            del ends[worker]
            version += 1
            finished[worker] += 1
            events.append(Happened(now, "push", worker, version))
            if finished[worker] < len(seconds[worker]):
                waiting.add(worker)
    return events


def staleness(events: Sequence[Happened]) -> list[int]:
    """Of each push, in order: how many of the others' pushes came between it and its pull."""
    pulled, found = dict[int, int](), list[int]()
    for _, what, worker, version in events:
        if what == "pull":
            pulled[worker] = version
        else:
            found.append(version - 1 - pulled[worker])
    return found


def backup_workers(seconds: Sequence[Sequence[float]], accepted: int) -> list[tuple[float, list[int]]]:
    """When each synchronous step ends, and whose gradients it took: the first ``accepted``, by worker.

    ``seconds`` by worker and step. All begin a step together, and it ends with the last gradient that it takes; who is
    late gives up and begins the next one with the others. Of equal times the lower worker counts as first. Source: Chen
    et al. 2016.
    """
    if not 1 <= accepted <= len(seconds):
        raise CourseProblem(f"accepted={accepted} of {len(seconds)} workers; give from 1 to all of them")
    now, steps = 0.0, list[tuple[float, list[int]]]()
    for own in zip(*seconds, strict=True):
        first = sorted(range(len(own)), key=lambda worker: own[worker])[:accepted]
        now += own[first[-1]]
        steps.append((now, sorted(first)))
    return steps


def staleness_with_absences(
    seconds: Sequence[Sequence[float]], bound: int | None, away: Mapping[int, tuple[float, float]]
) -> list[Happened]:
    """``bounded_staleness`` where workers die and rejoin: ``away`` gives the seconds of their death and their return.

    What a worker had under way is lost, and nobody waits for it while it is away. It comes back as far as the slowest
    of the others, pulls, and goes on. At one time pushes come first, then deaths, returns and pulls.
    """
    finished, version, now = [0] * len(seconds), 0, 0.0
    events: list[Happened] = []
    waiting, ends = {worker for worker, own in enumerate(seconds) if own}, dict[int, float]()
    leaves, returns = {w: a for w, (a, _) in away.items()}, {w: b for w, (_, b) in away.items()}
    while waiting or ends or returns:
        for worker in [worker for worker, time in leaves.items() if time <= now]:
            del leaves[worker]
            if worker not in waiting and worker not in ends:  # it had done all it had to do
                del returns[worker]
            waiting.discard(worker)
            ends.pop(worker, None)
        for worker in [w for w, time in returns.items() if time <= now and w not in leaves]:
            del returns[worker]
            finished[worker] = min((finished[w] for w in waiting | ends.keys()), default=finished[worker])
            waiting.add(worker)
        slowest = min((finished[worker] for worker in waiting | ends.keys()), default=0)
        for worker in sorted(waiting):
            if bound is None or finished[worker] - slowest <= bound:
                waiting.remove(worker)
                events.append(Happened(now, "pull", worker, version))
                ends[worker] = now + seconds[worker][finished[worker]]
        if not (times := [*ends.values(), *leaves.values(), *returns.values()]):
            break
        now = min(times)
        for worker in sorted(worker for worker, end in ends.items() if end == now):
            del ends[worker]
            version, finished[worker] = version + 1, finished[worker] + 1
            events.append(Happened(now, "push", worker, version))
            if finished[worker] < len(seconds[worker]):
                waiting.add(worker)
    return events
