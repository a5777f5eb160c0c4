"""What goes over the wire first: a step's transfers by the order of layers, on paper."""

from collections.abc import Sequence
from typing import NamedTuple

from ..substrate.errors import CourseProblem

Span = tuple[float, float]  # start and end, in seconds


class Slice(NamedTuple):
    """A piece of a layer's transfer on the link, in seconds."""

    layer: int
    start: float
    end: float


class Timetable(NamedTuple):
    """Slices in the order in which they were sent, each layer's forward, and the end of the last one."""

    slices: list[Slice]
    forward: list[Span]
    end: float


POLICIES = ("fifo", "priority")


def priority_schedule(
    backward: Sequence[float],
    forward: Sequence[float],
    transfer: Sequence[float],
    slice_seconds: float,
    overhead: float = 0.0,
    policy: str = "priority",
) -> Timetable:
    """From the beginning of backward to the end of the next forward: bp_N, ..., bp_1, fp_1, ..., fp_N.

    All are seconds by layer, layer 0 first. A layer's gradient is there when its backward ends; its push and pull
    together keep the link busy for ``transfer`` seconds, in slices of ``slice_seconds`` (the last has the rest), each
    of which costs ``overhead`` more. Whenever the link is free, the next slice is of the layer that forward needs first
    ("priority"), or of the gradient that was there first ("fifo"). A layer's forward begins when the one before it has
    ended and its own transfer is through. Without slices (infinity) nothing that is under way is pre-empted.
    Raises CourseProblem. Sources: Jayarajan et al. 2019 (P3); Peng et al. 2019 (ByteScheduler).
    Lab 8, exercise ``priority_schedule``.
    """
    layers = range(len(backward))
    if not slice_seconds > 0 or policy not in POLICIES:
        raise CourseProblem(
            f"slice_seconds={slice_seconds}, policy={policy!r}; give more than 0, and one of {POLICIES}"
        )
    there = [sum(backward[layer:]) for layer in layers]  # when each gradient is
    left, through = list(transfer), list(there)
    slices: list[Slice] = []
    now = 0.0
    while waiting := [layer for layer in layers if left[layer] > 0]:
        now = max(now, min(there[layer] for layer in waiting))
        ready = [layer for layer in waiting if there[layer] <= now]
        layer = min(ready) if policy == "priority" else max(ready)
        sent = min(slice_seconds, left[layer])
        end = now + overhead + sent
        slices.append(Slice(layer, now, end))
        left[layer] -= sent
        now = through[layer] = end
    clock, spans = 0.0, []  # no gradient is there before backward gets to it
    for layer in layers:
        start = max(clock, through[layer])
        clock = start + forward[layer]
        spans.append((start, clock))
    return Timetable(slices, spans, clock)
