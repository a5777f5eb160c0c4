"""When which bucket leaves: computing and sending side by side, on paper. Lab 9, exercise ``overlap_schedule``."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Spans (start, end) in seconds: of each layer's backward, by layer, and of each bucket's all-reduce."""

    backward: list[tuple[float, float]]
    buckets: list[tuple[float, float]]

    @property
    def end(self) -> float:
        """When the last of them has ended; the optimizer's step comes then."""
        return max((end for _, end in self.backward + self.buckets), default=0.0)

    @property
    def utilisation(self) -> float:
        """The share of the time in which the rank computes; 1 for nothing to do."""
        return sum(end - start for start, end in self.backward) / self.end if self.end else 1.0


def overlap_schedule(
    backward: Sequence[float], reduce: Sequence[float], buckets: Sequence[Sequence[int]], overlap: bool = True
) -> Schedule:
    """Backward from the last layer to the first, and one all-reduce at a time, in the order of ``buckets``.

    ``backward`` are seconds by layer, ``reduce`` by bucket. A bucket leaves when all its layers are done and the one
    before it is through; without ``overlap``, when backward has ended too.
    """
    layers: list[tuple[float, float]] = [(0.0, 0.0)] * len(backward)
    clock = 0.0
    for layer in reversed(range(len(backward))):
        layers[layer] = (clock, clock + backward[layer])
        clock += backward[layer]
    spans, free = [], 0.0 if overlap else clock
    for bucket, seconds in zip(buckets, reduce, strict=True):
        start = max([free, *(layers[layer][1] for layer in bucket)])
        free = start + seconds
        spans.append((start, free))
    return Schedule(layers, spans)
