# %% wrong: "A name may come again then": the last size of a name is used whenever it is given back.
def peak_memory(events, block):
    size_of = {name: -(-size // block) * block for name, size in events if size}
    now, alive, best = 0, {}, (-1, 0, {})
    for n, (name, size) in enumerate(events):
        if size:
            alive[name] = -(-size // block) * block
            now += alive[name]
        else:
            now -= size_of[name]
            alive.pop(name)
        if now > best[0]:
            best = (now, n, dict(alive))
    return {"peak": best[0], "at": best[1], "alive": best[2]}


# %% wrong: "rounded up to whole blocks": what is whole blocks already gets one more.
def peak_memory(events, block):
    alive, best = {}, None
    for n, (name, size) in enumerate(events):
        if size == 0:
            del alive[name]
        else:
            alive[name] = size if block == 1 else (size // block + 1) * block
        now = sum(alive.values())
        if best is None or now > best["peak"]:
            best = {"peak": now, "at": n, "alive": dict(alive)}
    return best


# %% wrong: "peak, the most bytes" in whole blocks: the moment is chosen by the bytes that were asked for.
def peak_memory(events, block):
    alive, most, at, then = {}, -1, 0, {}
    for n, (name, size) in enumerate(events):
        if size:
            alive[name] = size
        else:
            alive.pop(name)
        if sum(alive.values()) > most:
            most, at, then = sum(alive.values()), n, dict(alive)
    then = {name: -(-size // block) * block for name, size in then.items()}
    return {"peak": sum(then.values()), "at": at, "alive": then}


# %% wrong: "block: bytes of a block" (any): rounded up by a mask, right for powers of two only.
def peak_memory(events, block):
    alive, best = {}, {"peak": -1}
    for n, (name, size) in enumerate(events):
        if size:
            alive[name] = (size + block - 1) & ~(block - 1)
        else:
            alive.pop(name)
        now = sum(alive.values())
        if now > best["peak"]:
            best = {"peak": now, "at": n, "alive": alive.copy()}
    return best


# %% right: 
def peak_memory(events, block):
    moments = []
    for n in range(len(events)):  # each moment from the start
        alive = {}
        for name, size in events[: n + 1]:
            if size > 0:
                alive[name] = (size // block + (size % block != 0)) * block
            else:
                alive.pop(name)
        moments.append(alive)
    heights = [sum(alive.values()) for alive in moments]
    at = heights.index(max(heights))
    return {"alive": moments[at], "at": at, "peak": heights[at]}


# %% right: 
import itertools
def peak_memory(events, block):
    held, changes = {}, []
    for name, size in events:
        bytes_ = (size + block - 1) // block * block
        changes.append(bytes_ if size else -held.pop(name))
        if size:
            held[name] = bytes_
    heights = list(itertools.accumulate(changes))
    at = max(range(len(heights)), key=lambda n: (heights[n], -n))
    alive = {}
    for (name, size), change in list(zip(events, changes))[: at + 1]:
        if size:
            alive[name] = change
        else:
            del alive[name]
    return {"peak": heights[at], "at": at, "alive": dict(sorted(alive.items()))}
