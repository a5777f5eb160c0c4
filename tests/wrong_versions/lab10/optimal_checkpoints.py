# %% wrong: "inputs, saved: lists ...; may be empty.": of no layers it asks for the largest, and max raises.
import functools


def optimal_checkpoints(inputs, saved, seconds, limit):
    n = len(saved)
    if max(saved) > limit:
        raise ValueError("a layer does not fit")

    @functools.cache
    def best(layer, held):
        if layer == n:
            return 0.0, ()
        found = []
        if held + saved[layer] <= limit:
            rest = best(layer + 1, held + saved[layer])
            if rest is not None:
                found.append(rest)
        inside = 0
        for stop in range(layer + 1, n + 1):
            inside += saved[stop - 1]
            if held + inside > limit:
                break
            rest = best(stop, held + inputs[layer])
            if rest is not None:
                found.append((sum(seconds[layer:stop]) + rest[0], ((layer, stop), *rest[1])))
        return min(found, default=None)

    answer = best(0, 0)
    if answer is None:
        raise ValueError("nothing fits")
    return list(answer[1])

# %% wrong: "one with the least sum of seconds of the layers that run again" and "seconds: a list of numbers above 0": it counts whole milliseconds, so that layers of a few microseconds are free.
import functools


def optimal_checkpoints(inputs, saved, seconds, limit):
    n = len(saved)

    @functools.cache
    def best(layer, held):
        if layer == n:
            return 0.0, ()
        found = []
        if held + saved[layer] <= limit:
            rest = best(layer + 1, held + saved[layer])
            if rest is not None:
                found.append(rest)
        inside = 0
        for stop in range(layer + 1, n + 1):
            inside += saved[stop - 1]
            if held + inside > limit:
                break
            rest = best(stop, held + inputs[layer])
            if rest is not None:
                found.append((sum(int(1000 * t) for t in seconds[layer:stop]) + rest[0], ((layer, stop), *rest[1])))
        return min(found, default=None)

    answer = best(0, 0)
    if answer is None:
        raise ValueError("nothing fits")
    return list(answer[1])

# %% wrong: "Of all choices within the limit, one with the least sum": what is best from a layer on is remembered from call to call, whatever the layers then are.
import functools


_known = {}


def optimal_checkpoints(inputs, saved, seconds, limit):
    n = len(saved)

    def best(layer, held):
        key = n, limit, layer, held
        if key not in _known:
            _known[key] = fresh(layer, held)
        return _known[key]

    def fresh(layer, held):
        if layer == n:
            return 0.0, ()
        found = []
        if held + saved[layer] <= limit:
            rest = best(layer + 1, held + saved[layer])
            if rest is not None:
                found.append(rest)
        inside = 0
        for stop in range(layer + 1, n + 1):
            inside += saved[stop - 1]
            if held + inside > limit:
                break
            rest = best(stop, held + inputs[layer])
            if rest is not None:
                found.append((sum(seconds[layer:stop]) + rest[0], ((layer, stop), *rest[1])))
        return min(found, default=None)

    answer = best(0, 0)
    if answer is None:
        raise ValueError("nothing fits")
    return list(answer[1])

# %% wrong: "Of all choices within the limit": bytes are added in float32, which rounds beyond 16 MiB.
import functools

import torch


def optimal_checkpoints(inputs, saved, seconds, limit):
    n = len(saved)
    inputs, saved, limit = (torch.tensor(x, dtype=torch.float32) for x in (inputs, saved, limit))

    @functools.cache
    def best(layer, held):
        if layer == n:
            return 0.0, ()
        found = []
        if held + saved[layer] <= limit:
            rest = best(layer + 1, float(held + saved[layer]))
            if rest is not None:
                found.append(rest)
        inside = 0
        for stop in range(layer + 1, n + 1):
            inside += saved[stop - 1]
            if held + inside > limit:
                break
            rest = best(stop, float(held + inputs[layer]))
            if rest is not None:
                found.append((sum(seconds[layer:stop]) + rest[0], ((layer, stop), *rest[1])))
        return min(found, default=None)

    answer = best(0, 0)
    if answer is None:
        raise ValueError("nothing fits")
    return list(answer[1])

# %% wrong: "Of all choices within the limit": bytes are rounded down to 2,000 steps below the limit, so that dynamic programming has few states.
import functools


def optimal_checkpoints(inputs, saved, seconds, limit):
    n = len(saved)
    unit = max(1, limit // 2000)
    inputs, saved, limit = [x // unit for x in inputs], [x // unit for x in saved], limit // unit

    @functools.cache
    def best(layer, held):
        if layer == n:
            return 0.0, ()
        found = []
        if held + saved[layer] <= limit:
            rest = best(layer + 1, held + saved[layer])
            if rest is not None:
                found.append(rest)
        inside = 0
        for stop in range(layer + 1, n + 1):
            inside += saved[stop - 1]
            if held + inside > limit:
                break
            rest = best(stop, held + inputs[layer])
            if rest is not None:
                found.append((sum(seconds[layer:stop]) + rest[0], ((layer, stop), *rest[1])))
        return min(found, default=None)

    answer = best(0, 0)
    if answer is None:
        raise ValueError("nothing fits")
    return list(answer[1])

# %% wrong: "Up to 12 layers, in a second.": it tries all 3 ** n marks.
import itertools


def optimal_checkpoints(inputs, saved, seconds, limit):
    n, best = len(saved), None
    for marks in itertools.product("kbc", repeat=n):  # kept, a segment begins, a segment continues
        segments, sound = [], True
        for i, mark in enumerate(marks):
            if mark == "b":
                segments.append([i, i + 1])
            elif mark == "c" and segments and segments[-1][1] == i:
                segments[-1][1] = i + 1
            elif mark == "c":
                sound = False
        starts, held, peak, i = dict(segments), 0, 0, 0
        while i < n:
            stop = starts.get(i, i + 1)
            peak = max(peak, held + sum(saved[i:stop]))
            held += inputs[i] if i in starts else saved[i]
            i = stop
        lost = sum(sum(seconds[a:b]) for a, b in segments)
        if sound and peak <= limit and (best is None or lost < best[0]):
            best = lost, [tuple(segment) for segment in segments]
    if best is None:
        raise ValueError("nothing fits")
    return best[1]

# %% wrong: "one with the least sum of seconds of the layers that run again": no segment of more than four layers is looked at as long as shorter ones fit.
import functools


def optimal_checkpoints(inputs, saved, seconds, limit):
    n = len(saved)

    longest = 4

    @functools.cache
    def best(layer, held):
        if layer == n:
            return 0.0, ()
        found = []
        if held + saved[layer] <= limit:
            rest = best(layer + 1, held + saved[layer])
            if rest is not None:
                found.append(rest)
        inside = 0
        for stop in range(layer + 1, min(n, layer + longest) + 1):
            inside += saved[stop - 1]
            if held + inside > limit:
                break
            rest = best(stop, held + inputs[layer])
            if rest is not None:
                found.append((sum(seconds[layer:stop]) + rest[0], ((layer, stop), *rest[1])))
        return min(found, default=None)

    answer = best(0, 0)
    if answer is None:
        longest = n
        best.cache_clear()
        answer = best(0, 0)
    if answer is None:
        raise ValueError("nothing fits")
    return list(answer[1])

# %% right: forward over layers: of each a dictionary of bytes held to the least seconds, no recursion.
def optimal_checkpoints(inputs, saved, seconds, limit):
    n = len(saved)
    states = [{} for _ in range(n + 1)]
    states[0][0] = (0, [])
    for a in range(n):
        for held, (lost, chosen) in states[a].items():
            steps = [(a + 1, saved[a], saved[a], 0, chosen)]
            for b in range(a + 1, n + 1):
                steps.append((b, sum(saved[a:b]), inputs[a], sum(seconds[a:b]), [*chosen, (a, b)]))
            for b, inside, more, again, segments in steps:
                old = states[b].get(held + more)
                if held + inside <= limit and (old is None or lost + again < old[0]):
                    states[b][held + more] = (lost + again, segments)
    if not states[n]:
        raise ValueError(f"no schedule of {n} layers fits into {limit} bytes")
    return min(states[n].values(), key=lambda state: state[0])[1]

# %% right: a search from the cheapest schedules up, with a heap, that stops at the first whole chain.
import heapq
import itertools


def optimal_checkpoints(inputs, saved, seconds, limit):
    order, seen = itertools.count(), set()
    heap = [(0, next(order), 0, 0, ())]
    while heap:
        lost, _, layer, held, segments = heapq.heappop(heap)
        if layer == len(saved):
            return list(segments)
        if (layer, held) in seen:
            continue
        seen.add((layer, held))
        if held + saved[layer] <= limit:
            heapq.heappush(heap, (lost, next(order), layer + 1, held + saved[layer], segments))
        stop, inside, again = layer, held, lost
        while stop < len(saved) and inside + saved[stop] <= limit:
            inside, again, stop = inside + saved[stop], again + seconds[stop], stop + 1
            heapq.heappush(heap, (again, next(order), stop, held + inputs[layer], (*segments, (layer, stop))))
    raise ValueError("no choice is within the limit")
