"""Which layers to checkpoint: the least time lost that fits into the memory there is."""

import functools
import itertools
import math
from collections.abc import Sequence

Segments = list[tuple[int, int]]


def optimal_checkpoints(inputs: Sequence[int], saved: Sequence[int], seconds: Sequence[float], limit: int) -> Segments:
    """The segments of a chain of layers to checkpoint: the least time of recomputing with a peak of at most ``limit``.

    Layer k keeps ``saved[k]`` bytes for backward, its input of ``inputs[k]`` bytes among them, and its forward takes
    ``seconds[k]``. A segment (start, stop) of layers start to stop - 1 keeps the input of its first layer only, until
    backward comes to it, runs it again and has all its layers' bytes. Layers in no segment keep theirs from the start.
    Backward frees what it has passed, so each segment, and each layer in none, has its peak when backward comes to it:
    what all before it keep, and all its own. Segments ascend and do not overlap; two may touch.
    Source: Chen et al. 2016; Gruslys et al. 2016; Herrmann et al. 2019, "Optimal checkpointing for heterogeneous
    chains". Lab 10, exercise ``optimal_checkpoints``.

    Raises:
        ValueError: no choice of segments fits, with the least limit of all in its words.
    """
    layers = len(saved)

    @functools.cache
    def best(start: int, held: int) -> tuple[float, Segments]:
        """The least seconds, with their segments, from a layer on, with so many bytes held for those before it."""
        if start == layers:
            return 0.0, []
        choices: list[tuple[float, Segments]] = [(math.inf, [])]
        if held + saved[start] <= limit:
            choices.append(best(start + 1, held + saved[start]))
        own, again = 0, 0.0
        for stop in range(start + 1, layers):  # the last one has its bytes at once, whether it runs again or not
            own, again = own + saved[stop - 1], again + seconds[stop - 1]
            if held + own > limit:
                break
            later, segments = best(stop, held + inputs[start])
            choices.append((again + later, [(start, stop), *segments]))
        return min(choices, key=lambda choice: choice[0])

    found, segments = best(0, 0)
    if math.isinf(found):
        least = least_peak(inputs, saved)
        raise ValueError(f"limit={limit} bytes are too few for any choice of segments; the least possible is {least}")
    return segments


def peak_of(inputs: Sequence[int], saved: Sequence[int], segments: Segments) -> int:
    """Bytes at the peak of a step with these segments, by the rules of ``optimal_checkpoints``."""
    held = peak = position = 0
    for start, stop in [*segments, (len(saved), len(saved))]:
        for layer in range(position, start):
            held += saved[layer]
            peak = max(peak, held)
        peak = max(peak, held + sum(saved[start:stop]))
        held += inputs[start] if start < stop else 0
        position = stop
    return peak


def least_peak(inputs: Sequence[int], saved: Sequence[int]) -> int:
    """The smallest limit that any choice of segments keeps to."""
    low, high = 0, sum(saved)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _fits(inputs, saved, middle) else (middle + 1, high)
    return low


def _fits(inputs: Sequence[int], saved: Sequence[int], limit: int) -> bool:
    """Whether some choice keeps to the limit: the fewest bytes held before each layer, from the first on."""
    held = [0, *[limit + 1] * len(saved)]
    for start in range(len(saved)):
        own = 0
        for stop in range(start + 1, len(saved) + 1):
            own += saved[stop - 1]
            if held[start] + own <= limit:
                held[stop] = min(held[stop], held[start] + inputs[start])
    return held[-1] <= limit


def even_segments(layers: int, count: int) -> Segments:
    """``count`` segments whose lengths differ by one at most; about sqrt(layers) of them is Chen's choice."""
    edges = [n * layers // count for n in range(count + 1)]
    return list(itertools.pairwise(edges))
