"""When which bucket leaves: computing and sending side by side, on paper. Lab 9, exercise ``overlap_schedule``."""

from collections.abc import Sequence
from typing import NamedTuple

Span = tuple[float, float]  # start and end, in seconds


class Schedule(NamedTuple):
    """The span of each bucket's all-reduce, when all is done, and the share of that time in which the rank computes."""

    spans: list[Span]
    end: float
    utilisation: float


def backward_spans(backward: Sequence[float]) -> list[Span]:
    """Of each layer, by layer, from the seconds of each: the last one's backward runs first, without a pause."""
    spans, clock = [], 0.0
    for seconds in reversed(backward):
        spans.append((clock, clock + seconds))
        clock += seconds
    return spans[::-1]


def overlap_schedule(
    backward: Sequence[float], reduce: Sequence[float], buckets: Sequence[Sequence[int]], overlap: bool = True
) -> Schedule:
    """Backward from the last layer to the first, and one all-reduce at a time, in the order of ``buckets``.

    ``backward`` are seconds by layer, ``reduce`` by bucket. A bucket leaves when all its layers are done and the one
    before it is through; without ``overlap``, when backward has ended too. The optimizer's step comes at ``end``, which
    is 0 for nothing to do, with a utilisation of 1. Lab 9, exercise ``overlap_schedule``.
    """
    done = [end for _, end in backward_spans(backward)]
    clock = max(done, default=0.0)
    spans, free = [], 0.0 if overlap else clock
    for bucket, seconds in zip(buckets, reduce, strict=True):
        start = max([free, *(done[layer] for layer in bucket)])
        free = start + seconds
        spans.append((start, free))
    end = max(clock, free)
    return Schedule(spans, end, clock / end if end else 1.0)
