# %% right: keys counted from the first that is seen to the last, scores scaled and not queries, the sums' order another.
def flash_attention(memory, q, k, v, rows, columns, causal=False, window=None):
    H, T, D = q.shape
    S, E = k.shape[1], v.shape[2]
    if k.shape[0] != H or k.shape[2] != D or v.shape[:2] != k.shape[:2]:
        raise ValueError
    if window is not None and not (causal and window > 0):
        raise ValueError
    out, lse = memory.new(H, T, E), memory.new(H, T, 1)
    for h in range(H):
        for start in range(0, T, rows):
            stop = min(start + rows, T)
            x = memory.load(q[h, start:stop])
            n = stop - start
            m, l, o = memory.full(n, 1, -1e30), memory.full(n, 1), memory.full(n, E)
            end = max(0, min(S, stop + S - T)) if causal else S
            begin = max(0, start + S - T - window + 1) if window is not None else 0
            for j in range(begin // columns * columns, end, columns):
                y = memory.load(k[h, j : j + columns])
                s = memory.full(n, y.shape[0])
                memory.matmul_add(s, x, y.T)
                memory.free(y)
                memory.multiply(s, 1 / math.sqrt(D))
                if causal:
                    high = start + S - T - j
                    memory.keep_band(s, None if window is None else high - window + 1, high)
                top = memory.rowmax(s)
                memory.maximum(top, m)
                memory.subtract(s, top)
                memory.exp(s)
                memory.subtract(m, top)
                memory.exp(m)
                memory.multiply(o, m)
                memory.multiply(l, m)
                memory.free(m)
                m = top
                part = memory.rowsum(s)
                memory.add(l, part)
                z = memory.load(v[h, j : j + columns])
                memory.matmul_add(o, s, z)
                memory.free(s, z, part)
            memory.add(m, 0.0)
            logs = memory.copy(l)
            memory.log(logs)
            memory.add(logs, m)
            memory.maximum(l, 1e-300)
            memory.divide(o, l)
            memory.store(o, out[h, start:stop])
            memory.store(logs, lse[h, start:stop])
            memory.free(x, m, l, o, logs)
    return out, lse


# %% wrong: "For the last part": tiles above the diagonal are skipped, those before the window are not.
def flash_attention(memory, q, k, v, rows, columns, causal=False, window=None):
    H, T, D = q.shape
    S, E = k.shape[1], v.shape[2]
    if k.shape[0] != H or k.shape[2] != D or v.shape[:2] != k.shape[:2]:
        raise ValueError
    if window is not None and not (causal and window > 0):
        raise ValueError
    out, lse = memory.new(H, T, E), memory.new(H, T, 1)
    for h in range(H):
        for start in range(0, T, rows):
            stop = min(start + rows, T)
            x = memory.load(q[h, start:stop])
            memory.multiply(x, D**-0.5)
            n = stop - start
            m, l, o = memory.full(n, 1, -1e30), memory.full(n, 1), memory.full(n, E)
            for j in range(0, max(0, min(S, stop + S - T)) if causal else S, columns):
                y = memory.load(k[h, j : j + columns])
                s = memory.full(n, y.shape[0])
                memory.matmul_add(s, x, y.T)
                memory.free(y)
                if causal:
                    high = start + S - T - j
                    memory.keep_band(s, None if window is None else high - window + 1, high)
                top = memory.rowmax(s)
                memory.maximum(top, m)
                memory.subtract(s, top)
                memory.exp(s)
                memory.subtract(m, top)
                memory.exp(m)
                memory.multiply(o, m)
                memory.multiply(l, m)
                part, z = memory.rowsum(s), memory.load(v[h, j : j + columns])
                memory.add(l, part)
                memory.matmul_add(o, s, z)
                memory.free(s, z, part, m)
                m = top
            logs = memory.copy(l)
            memory.log(logs)
            memory.add(logs, m)
            memory.maximum(l, 1e-300)
            memory.divide(o, l)
            memory.store(o, out[h, start:stop])
            memory.store(logs, lse[h, start:stop])
            memory.free(x, m, l, o, logs)
    return out, lse


# %% wrong: "Every tile of queries": keys are the outer loop, and outputs move once for each of them.
def flash_attention(memory, q, k, v, rows, columns, causal=False, window=None):
    H, T, D = q.shape
    S, E = k.shape[1], v.shape[2]
    if k.shape[0] != H or k.shape[2] != D or v.shape[:2] != k.shape[:2]:
        raise ValueError
    if window is not None and not (causal and window > 0):
        raise ValueError
    out, lse, top, sums = memory.new(H, T, E), memory.new(H, T, 1), memory.new(H, T, 1), memory.new(H, T, 1)
    high = S - T if causal else T + S
    low = -T - S if window is None else high - window + 1
    for h in range(H):
        for i in range(0, T, rows):
            n = min(rows, T - i)
            for array, width, value in ((out, E, 0.0), (sums, 1, 0.0), (top, 1, -1e30)):
                tile = memory.full(n, width, value)
                memory.store(tile, array[h, i : i + n])
                memory.free(tile)
        for j in range(0, S, columns):
            y, z = memory.load(k[h, j : j + columns]), memory.load(v[h, j : j + columns])
            for i in range(0, T, rows):
                n = min(rows, T - i)
                if j - (i + n - 1) > high or j + y.shape[0] - 1 - i < low:
                    continue
                at = h, slice(i, i + n)
                x, o, l, m = (memory.load(array[at]) for array in (q, out, sums, top))
                memory.multiply(x, D**-0.5)
                s = memory.full(n, y.shape[0])
                memory.matmul_add(s, x, y.T)
                memory.keep_band(s, low - (j - i), high - (j - i))
                new = memory.rowmax(s)
                memory.maximum(new, m)
                memory.subtract(s, new)
                memory.exp(s)
                memory.subtract(m, new)
                memory.exp(m)
                part = memory.rowsum(s)
                memory.multiply(l, m)
                memory.add(l, part)
                memory.multiply(o, m)
                memory.matmul_add(o, s, z)
                for tile, array in ((o, out), (l, sums), (new, top)):
                    memory.store(tile, array[at])
                memory.free(x, o, l, m, s, new, part)
            memory.free(y, z)
        for i in range(0, T, rows):
            at = h, slice(i, i + rows)
            o, l, m = (memory.load(array[at]) for array in (out, sums, top))
            safe = memory.copy(l)
            memory.maximum(safe, 1.0)
            memory.divide(o, safe)
            memory.log(l)
            memory.add(l, m)
            memory.store(o, out[at])
            memory.store(l, lse[at])
            memory.free(o, l, m, safe)
    return out, lse
