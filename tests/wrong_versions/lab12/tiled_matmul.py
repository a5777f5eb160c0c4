# %% right: nearly all of the room is the result's, and thin slices of the others pass by.
def tiled_matmul(memory, a, b):
    if len(a.shape) != len(b.shape) or len(a.shape) not in (2, 3) or a.shape[-1] != b.shape[-2]:
        raise ValueError
    if len(a.shape) == 3 and a.shape[0] != b.shape[0]:
        raise ValueError
    s = math.isqrt(memory.capacity + 1) - 1
    c = memory.new(*a.shape[:-1], b.shape[-1])
    for place in [()] if len(a.shape) == 2 else [(n,) for n in range(a.shape[0])]:
        for i in range(0, a.shape[-2], s):
            for j in range(0, b.shape[-1], s):
                region = c[(*place, slice(i, i + s), slice(j, j + s))]
                out = memory.full(*region.shape)
                for p in range(a.shape[-1]):
                    x = memory.load(a[(*place, slice(i, i + s), slice(p, p + 1))])
                    y = memory.load(b[(*place, slice(p, p + 1), slice(j, j + s))])
                    memory.matmul_add(out, x, y)
                    memory.free(x, y)
                memory.store(out, region)
                memory.free(out)
    return c


# %% wrong: "Any size may be 0": sums of none leave the result as it was made.
def tiled_matmul(memory, a, b):
    if len(a.shape) not in (2, 3) or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError
    s = math.isqrt(memory.capacity // 3)
    c = memory.new(*a.shape[:-1], b.shape[-1])
    for place in itertools.product(*map(range, a.shape[:-2])):
        for i, j in itertools.product(range(0, a.shape[-2], s), range(0, b.shape[-1], s)):
            out = None
            for p in range(0, a.shape[-1], s):
                x = memory.load(a[*place, i : i + s, p : p + s])
                y = memory.load(b[*place, p : p + s, j : j + s])
                if out is None:
                    out = memory.full(x.shape[0], y.shape[1])
                memory.matmul_add(out, x, y)
                memory.free(x, y)
            if out is not None:
                memory.store(out, c[*place, i : i + s, j : j + s])
                memory.free(out)
    return c


# %% wrong: "at most 1.9 Q": tiles of b stay while those of a pass by, and the result moves each time.
def tiled_matmul(memory, a, b):
    if len(a.shape) not in (2, 3) or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError
    s = math.isqrt(memory.capacity // 3)
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    c = memory.new(*a.shape[:-1], n)
    for place in itertools.product(*map(range, a.shape[:-2])):
        for i, j in itertools.product(range(0, m, s), range(0, n, s)):
            region = c[*place, i : i + s, j : j + s]
            zeros = memory.full(*region.shape)
            memory.store(zeros, region)
            memory.free(zeros)
        for p, j in itertools.product(range(0, k, s), range(0, n, s)):
            y = memory.load(b[*place, p : p + s, j : j + s])
            for i in range(0, m, s):
                x = memory.load(a[*place, i : i + s, p : p + s])
                out = memory.load(c[*place, i : i + s, j : j + s])
                memory.matmul_add(out, x, y)
                memory.store(out, c[*place, i : i + s, j : j + s])
                memory.free(x, out)
            memory.free(y)
    return c


# %% wrong: "none need divide by a tile's": the last tile is moved back until it fits, and counts twice.
def tiled_matmul(memory, a, b):
    if len(a.shape) not in (2, 3) or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError
    s = math.isqrt(memory.capacity // 3)
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    c = memory.new(*a.shape[:-1], n)
    for place in itertools.product(*map(range, a.shape[:-2])):
        for i, j in itertools.product(range(0, m, s), range(0, n, s)):
            region = c[*place, i : i + s, j : j + s]
            out = memory.full(*region.shape)
            for p in range(0, k, s):
                p = max(0, min(p, k - s))
                x = memory.load(a[*place, i : i + s, p : p + s])
                y = memory.load(b[*place, p : p + s, j : j + s])
                memory.matmul_add(out, x, y)
                memory.free(x, y)
            memory.store(out, region)
            memory.free(out)
    return c
