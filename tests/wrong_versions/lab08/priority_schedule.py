# %% wrong: "a layer's transfer is cut into slices of so many seconds": into 64 at most, of which the last has the rest.
import math


def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    n, now, ready = len(backward), 0.0, [0.0] * len(backward)
    for layer in reversed(range(n)):
        now += backward[layer]
        ready[layer] = now
    backward_ends = now
    pieces = [cut(seconds, slice_seconds) for seconds in transfer]
    sent, slices, clock = [0.0] * n, [], 0.0
    while any(pieces):
        waiting = [layer for layer in range(n) if pieces[layer]]
        there = [layer for layer in waiting if ready[layer] <= clock]
        if not there:
            clock = min(ready[layer] for layer in waiting)
            continue
        layer = min(there) if policy == "priority" else min(there, key=lambda layer: (ready[layer], -layer))
        start, clock = clock, clock + pieces[layer].pop(0) + overhead
        slices.append((layer, start, clock))
        sent[layer] = clock
    spans, clock = [], backward_ends
    for layer in range(n):
        start = max(clock, sent[layer])
        clock = start + forward[layer]
        spans.append((start, clock))
    return slices, spans, clock


def cut(seconds, longest):
    if seconds <= 0:
        return []
    if math.isinf(longest):
        return [seconds]
    count = min(64, max(1, math.ceil(seconds / longest - 1e-9)))
    return [longest] * (count - 1) + [seconds - (count - 1) * longest]

# %% wrong: "seconds of each layer" and "slices of so many seconds": all is rounded to whole milliseconds first.
import math


def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    backward, forward, transfer = ([round(x, 3) for x in row] for row in (backward, forward, transfer))
    overhead = round(overhead, 3)
    n, now, ready = len(backward), 0.0, [0.0] * len(backward)
    for layer in reversed(range(n)):
        now += backward[layer]
        ready[layer] = now
    backward_ends = now
    pieces = [cut(seconds, slice_seconds) for seconds in transfer]
    sent, slices, clock = [0.0] * n, [], 0.0
    while any(pieces):
        waiting = [layer for layer in range(n) if pieces[layer]]
        there = [layer for layer in waiting if ready[layer] <= clock]
        if not there:
            clock = min(ready[layer] for layer in waiting)
            continue
        layer = min(there) if policy == "priority" else min(there, key=lambda layer: (ready[layer], -layer))
        start, clock = clock, clock + pieces[layer].pop(0) + overhead
        slices.append((layer, start, clock))
        sent[layer] = clock
    spans, clock = [], backward_ends
    for layer in range(n):
        start = max(clock, sent[layer])
        clock = start + forward[layer]
        spans.append((start, clock))
    return slices, spans, clock


def cut(seconds, longest):
    if seconds <= 0:
        return []
    if math.isinf(longest):
        return [seconds]
    count = max(1, math.ceil(seconds / longest - 1e-9))
    return [longest] * (count - 1) + [seconds - (count - 1) * longest]

# %% wrong: "whose gradient is there (at that very moment, or before)": one that comes within a thousandth of a second is sent already.
import math


def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    n, now, ready = len(backward), 0.0, [0.0] * len(backward)
    for layer in reversed(range(n)):
        now += backward[layer]
        ready[layer] = now
    backward_ends = now
    pieces = [cut(seconds, slice_seconds) for seconds in transfer]
    sent, slices, clock = [0.0] * n, [], 0.0
    while any(pieces):
        waiting = [layer for layer in range(n) if pieces[layer]]
        there = [layer for layer in waiting if ready[layer] <= clock + 1e-3]
        if not there:
            clock = min(ready[layer] for layer in waiting)
            continue
        layer = min(there) if policy == "priority" else min(there, key=lambda layer: (ready[layer], -layer))
        start, clock = clock, clock + pieces[layer].pop(0) + overhead
        slices.append((layer, start, clock))
        sent[layer] = clock
    spans, clock = [], backward_ends
    for layer in range(n):
        start = max(clock, sent[layer])
        clock = start + forward[layer]
        spans.append((start, clock))
    return slices, spans, clock


def cut(seconds, longest):
    if seconds <= 0:
        return []
    if math.isinf(longest):
        return [seconds]
    count = max(1, math.ceil(seconds / longest - 1e-9))
    return [longest] * (count - 1) + [seconds - (count - 1) * longest]

# %% wrong: "with "priority" of the lowest such layer": of layers from 10 on by their names, so that 10 goes before 2.
import math


def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    n, now, ready = len(backward), 0.0, [0.0] * len(backward)
    for layer in reversed(range(n)):
        now += backward[layer]
        ready[layer] = now
    backward_ends = now
    pieces = [cut(seconds, slice_seconds) for seconds in transfer]
    sent, slices, clock = [0.0] * n, [], 0.0
    while any(pieces):
        waiting = [layer for layer in range(n) if pieces[layer]]
        there = [layer for layer in waiting if ready[layer] <= clock]
        if not there:
            clock = min(ready[layer] for layer in waiting)
            continue
        layer = min(there, key=str) if policy == "priority" else min(there, key=lambda layer: (ready[layer], -layer))
        start, clock = clock, clock + pieces[layer].pop(0) + overhead
        slices.append((layer, start, clock))
        sent[layer] = clock
    spans, clock = [], backward_ends
    for layer in range(n):
        start = max(clock, sent[layer])
        clock = start + forward[layer]
        spans.append((start, clock))
    return slices, spans, clock


def cut(seconds, longest):
    if seconds <= 0:
        return []
    if math.isinf(longest):
        return [seconds]
    count = max(1, math.ceil(seconds / longest - 1e-9))
    return [longest] * (count - 1) + [seconds - (count - 1) * longest]

# %% wrong: "transfer: ... 0 for a layer with nothing to send": with "fifo" such a layer gets a slice, and its overhead.
import math


def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    n, now, ready = len(backward), 0.0, [0.0] * len(backward)
    for layer in reversed(range(n)):
        now += backward[layer]
        ready[layer] = now
    backward_ends = now
    pieces = [cut(seconds, slice_seconds) or [0.0] * (policy == "fifo") for seconds in transfer]
    sent, slices, clock = [0.0] * n, [], 0.0
    while any(pieces):
        waiting = [layer for layer in range(n) if pieces[layer]]
        there = [layer for layer in waiting if ready[layer] <= clock]
        if not there:
            clock = min(ready[layer] for layer in waiting)
            continue
        layer = min(there) if policy == "priority" else min(there, key=lambda layer: (ready[layer], -layer))
        start, clock = clock, clock + pieces[layer].pop(0) + overhead
        slices.append((layer, start, clock))
        sent[layer] = clock
    spans, clock = [], backward_ends
    for layer in range(n):
        start = max(clock, sent[layer])
        clock = start + forward[layer]
        spans.append((start, clock))
    return slices, spans, clock


def cut(seconds, longest):
    if seconds <= 0:
        return []
    if math.isinf(longest):
        return [seconds]
    count = max(1, math.ceil(seconds / longest - 1e-9))
    return [longest] * (count - 1) + [seconds - (count - 1) * longest]

# %% wrong: "overhead: seconds that each slice takes more": not where there is one slice for the whole layer.
import math


def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    n, now, ready = len(backward), 0.0, [0.0] * len(backward)
    for layer in reversed(range(n)):
        now += backward[layer]
        ready[layer] = now
    backward_ends = now
    pieces = [cut(seconds, slice_seconds) for seconds in transfer]
    sent, slices, clock = [0.0] * n, [], 0.0
    while any(pieces):
        waiting = [layer for layer in range(n) if pieces[layer]]
        there = [layer for layer in waiting if ready[layer] <= clock]
        if not there:
            clock = min(ready[layer] for layer in waiting)
            continue
        layer = min(there) if policy == "priority" else min(there, key=lambda layer: (ready[layer], -layer))
        start, clock = clock, clock + pieces[layer].pop(0) + (0 if math.isinf(slice_seconds) else overhead)
        slices.append((layer, start, clock))
        sent[layer] = clock
    spans, clock = [], backward_ends
    for layer in range(n):
        start = max(clock, sent[layer])
        clock = start + forward[layer]
        spans.append((start, clock))
    return slices, spans, clock


def cut(seconds, longest):
    if seconds <= 0:
        return []
    if math.isinf(longest):
        return [seconds]
    count = max(1, math.ceil(seconds / longest - 1e-9))
    return [longest] * (count - 1) + [seconds - (count - 1) * longest]

# %% wrong: "the last of which has the rest": a rest of less than a tenth of a slice goes with the slice before it.
import math


def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    n, now, ready = len(backward), 0.0, [0.0] * len(backward)
    for layer in reversed(range(n)):
        now += backward[layer]
        ready[layer] = now
    backward_ends = now
    pieces = [cut(seconds, slice_seconds) for seconds in transfer]
    sent, slices, clock = [0.0] * n, [], 0.0
    while any(pieces):
        waiting = [layer for layer in range(n) if pieces[layer]]
        there = [layer for layer in waiting if ready[layer] <= clock]
        if not there:
            clock = min(ready[layer] for layer in waiting)
            continue
        layer = min(there) if policy == "priority" else min(there, key=lambda layer: (ready[layer], -layer))
        start, clock = clock, clock + pieces[layer].pop(0) + overhead
        slices.append((layer, start, clock))
        sent[layer] = clock
    spans, clock = [], backward_ends
    for layer in range(n):
        start = max(clock, sent[layer])
        clock = start + forward[layer]
        spans.append((start, clock))
    return slices, spans, clock


def cut(seconds, longest):
    if seconds <= 0:
        return []
    if math.isinf(longest):
        return [seconds]
    count = max(1, math.ceil(seconds / longest - 0.1))
    return [longest] * (count - 1) + [seconds - (count - 1) * longest]

# %% right: a heap of layers whose gradient is there; forward is worked out while slices are sent.
import heapq
import itertools


def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    layers = range(len(backward))
    ends = list(itertools.accumulate(reversed(backward)))[::-1]
    todo = sorted((ends[k], -k) for k in layers if transfer[k] > 0)
    left, heap, slices, last, now = list(transfer), [], [], {}, 0.0
    while todo or heap:
        if not heap:
            now = max(now, todo[0][0])
        while todo and todo[0][0] <= now:
            at, minus = todo.pop(0)
            heapq.heappush(heap, (-minus, 0) if policy == "priority" else (at, minus))
        first, second = heap[0]
        layer = first if policy == "priority" else -second
        whole = left[layer] <= slice_seconds * (1 + 1e-9)
        piece = left[layer] if whole else slice_seconds
        left[layer] -= piece
        slices.append((layer, now, now + (piece + overhead)))
        last[layer] = now = slices[-1][2]
        if whole:
            heapq.heappop(heap)
    spans, free = [], sum(reversed(backward))
    for layer in layers:
        free = max(free, last.get(layer, 0.0))
        spans.append((free, free := free + forward[layer]))
    return slices, spans, free

# %% right: the clock moves by max, without a branch for waiting; each slice is the least of what it may be and what is left.
import math


def priority_schedule(backward, forward, transfer, slice_seconds, overhead, policy):
    n, now, ready = len(backward), 0.0, [0.0] * len(backward)
    for layer in reversed(range(n)):
        now += backward[layer]
        ready[layer] = now
    backward_ends = now
    pieces = [cut(seconds, slice_seconds) for seconds in transfer]
    sent, slices, clock = [0.0] * n, [], 0.0
    while waiting := [layer for layer in range(n) if pieces[layer]]:
        clock = max(clock, min(ready[layer] for layer in waiting))
        there = [layer for layer in waiting if not ready[layer] > clock]
        layer = min(there) if policy == "priority" else min(there, key=lambda layer: (ready[layer], -layer))
        start, clock = clock, clock + pieces[layer].pop(0) + overhead
        slices.append((layer, start, clock))
        sent[layer] = clock
    spans, clock = [], backward_ends
    for layer in range(n):
        start = max(clock, sent[layer])
        clock = start + forward[layer]
        spans.append((start, clock))
    return slices, spans, clock


def cut(seconds, longest):
    if seconds <= 0:
        return []
    if math.isinf(longest):
        return [seconds]
    count = max(1, math.ceil(seconds / longest - 1e-9))
    return [min(longest, seconds - n * longest) for n in range(count)]
