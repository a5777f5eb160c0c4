"""``optimal_checkpoints`` against all choices there are, and ``peak_of`` against a live chain's bytes."""

import itertools
import random

import pytest
import torch

from mlsys_course.memory import checkpoint, even_segments, least_peak, optimal_checkpoints, peak_of
from mlsys_course.substrate.memory_meter import peak_bytes


def all_choices(layers):
    """Every list of segments: each layer begins a part that is whole, or goes on with that of the layer before."""
    for kinds in itertools.product(("kept", "begins", "goes on"), repeat=layers):
        if any(kind == "goes on" and (n == 0 or kinds[n - 1] == "kept") for n, kind in enumerate(kinds)):
            continue
        starts = [n for n, kind in enumerate(kinds) if kind == "begins"]
        ends = [next((m for m in range(n + 1, layers) if kinds[m] != "goes on"), layers) for n in starts]
        yield list(zip(starts, ends, strict=True))


def simulated_peak(inputs, saved, segments):
    """Forward, then backward layer by layer, with what is held in a dict."""
    starts = dict(segments)
    held, n, parts = {}, 0, []
    while n < len(saved):
        stop = starts.get(n, n + 1)
        held[n] = inputs[n] if n in starts else saved[n]
        parts.append((n, stop))
        n = stop
    peak = sum(held.values())
    for start, stop in reversed(parts):
        held[start] = sum(saved[start:stop])
        peak = max(peak, sum(held.values()))
        del held[start]
    return peak


@pytest.mark.parametrize("seed", range(8))
def test_no_other_choice_that_fits_loses_less(seed):
    chance, layers = random.Random(seed), 6
    inputs = [chance.randint(1, 9) for _ in range(layers)]
    saved = [own + chance.randint(0, 30) for own in inputs]
    seconds = [float(chance.randint(1, 20)) for _ in range(layers)]
    every = [(simulated_peak(inputs, saved, c), sum(sum(seconds[a:b]) for a, b in c), c) for c in all_choices(layers)]
    least = min(peak for peak, *_ in every)
    assert least == least_peak(inputs, saved)
    assert all(peak_of(inputs, saved, choice) == peak for peak, _, choice in every)
    for limit in range(least, sum(saved) + 2, 3):
        found = optimal_checkpoints(inputs, saved, seconds, limit)
        assert simulated_peak(inputs, saved, found) <= limit
        assert sum(sum(seconds[a:b]) for a, b in found) == min(lost for peak, lost, _ in every if peak <= limit)
    with pytest.raises(ValueError, match=f"the least possible is {least}"):
        optimal_checkpoints(inputs, saved, seconds, least - 1)


def test_edges():
    assert optimal_checkpoints([1, 1], [5, 5], [1.0, 1.0], 10) == []
    assert optimal_checkpoints([], [], [], 0) == []
    assert optimal_checkpoints([3], [9], [1.0], 9) == []
    assert even_segments(10, 3) == [(0, 3), (3, 6), (6, 10)]


def test_the_predicted_peak_is_that_of_a_live_chain():
    """Layers of sines: each keeps the input of every sine."""
    widths, size = [3, 8, 2, 5, 6, 4], 4 * 25_000
    saved, inputs = [size * n for n in widths], [size] * len(widths)

    def layer(count, x):
        for _ in range(count):
            x = x.sin()
        return x

    def run(segments):
        x, starts, n = torch.ones(25_000, requires_grad=True), dict(segments), 0
        while n < len(widths):
            count = sum(widths[n : starts.get(n, n + 1)])
            x = checkpoint(layer, count, x) if n in starts else layer(count, x)
            n = starts.get(n, n + 1)
        x.sum().backward()

    for limit in (14, 18, 22, 28):
        segments = optimal_checkpoints(inputs, saved, [float(n) for n in widths], limit * size)
        flowing = 3.01 * size  # the output, and gradients on their way
        assert abs(peak_bytes(run, segments) - peak_of(inputs, saved, segments)) <= flowing
