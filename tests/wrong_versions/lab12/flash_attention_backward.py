# %% right: two passes, one for keys and values, one for queries, which works the probabilities out a second time.
def flash_attention_backward(memory, q, k, v, output, log_sum_exp, grad, rows, columns, causal=False, window=None):
    H, T, D = q.shape
    S, E = k.shape[1], v.shape[2]
    high = S - T if causal else T + S
    low = -T - S if window is None else high - window + 1
    dq, dk, dv, delta = memory.new(H, T, D), memory.new(H, S, D), memory.new(H, S, E), memory.new(H, T, 1)

    def seen(i, n, j, c):
        return j - (i + n - 1) <= high and j + c - 1 - i >= low

    def both(x, g, y, z, base, sums, i, j):
        """Probabilities and the gradient of the scores."""
        p, d = memory.full(x.shape[0], y.shape[0]), memory.full(x.shape[0], y.shape[0])
        memory.matmul_add(p, x, y.T)
        memory.multiply(p, D**-0.5)
        memory.keep_band(p, low - (j - i), high - (j - i))
        memory.subtract(p, base)
        memory.exp(p)
        memory.matmul_add(d, g, z.T)
        memory.subtract(d, sums)
        memory.multiply(d, p)
        memory.multiply(d, D**-0.5)
        return p, d

    for h in range(H):
        for i in range(0, T, rows):
            at = h, slice(i, i + rows)
            g, o = memory.load(grad[at]), memory.load(output[at])
            memory.multiply(g, o)
            sums = memory.rowsum(g)
            memory.store(sums, delta[at])
            memory.free(g, o, sums)
        for j in range(0, S, columns):
            y, z = memory.load(k[h, j : j + columns]), memory.load(v[h, j : j + columns])
            a, b = memory.full(*y.shape), memory.full(*z.shape)
            for i in range(0, T, rows):
                if seen(i, min(rows, T - i), j, y.shape[0]):
                    at = h, slice(i, i + rows)
                    x, g, base, sums = (memory.load(array[at]) for array in (q, grad, log_sum_exp, delta))
                    memory.maximum(base, -1e30)
                    p, d = both(x, g, y, z, base, sums, i, j)
                    memory.matmul_add(b, p.T, g)
                    memory.matmul_add(a, d.T, x)
                    memory.free(x, g, base, sums, p, d)
            memory.store(a, dk[h, j : j + columns])
            memory.store(b, dv[h, j : j + columns])
            memory.free(y, z, a, b)
        for i in range(0, T, rows):
            at = h, slice(i, i + rows)
            x, g, base, sums = (memory.load(array[at]) for array in (q, grad, log_sum_exp, delta))
            memory.maximum(base, -1e30)
            out = memory.full(*x.shape)
            for j in range(0, S, columns):
                c = min(columns, S - j)
                if seen(i, x.shape[0], j, c):
                    y, z = memory.load(k[h, j : j + c]), memory.load(v[h, j : j + c])
                    p, d = both(x, g, y, z, base, sums, i, j)
                    memory.matmul_add(out, d, y)
                    memory.free(y, z, p, d)
            memory.store(out, dq[at])
            memory.free(x, g, base, sums, out)
    return dq, dk, dv


# %% wrong: "a key and a value that no query sees": their gradients are not stored.
def flash_attention_backward(memory, q, k, v, output, log_sum_exp, grad, rows, columns, causal=False, window=None):
    H, T, D = q.shape
    S, E = k.shape[1], v.shape[2]
    high = S - T if causal else T + S
    low = -T - S if window is None else high - window + 1
    dq, dk, dv, delta = memory.new(H, T, D), memory.new(H, S, D), memory.new(H, S, E), memory.new(H, T, 1)
    for h in range(H):
        for i in range(0, T, rows):
            at = h, slice(i, i + rows)
            g, o = memory.load(grad[at]), memory.load(output[at])
            memory.multiply(o, g)
            sums, zeros = memory.rowsum(o), memory.full(o.shape[0], D)
            memory.store(sums, delta[at])
            memory.store(zeros, dq[at])
            memory.free(g, o, sums, zeros)
        for j in range(0, S, columns):
            y, z = memory.load(k[h, j : j + columns]), memory.load(v[h, j : j + columns])
            a, b, touched = memory.full(*y.shape), memory.full(*z.shape), False
            for i in range(0, T, rows):
                n = min(rows, T - i)
                if j - (i + n - 1) > high or j + y.shape[0] - 1 - i < low:
                    continue
                at, touched = (h, slice(i, i + rows)), True
                x, g, base, sums, out = (memory.load(array[at]) for array in (q, grad, log_sum_exp, delta, dq))
                p, d = memory.full(n, y.shape[0]), memory.full(n, y.shape[0])
                memory.matmul_add(p, x, y.T)
                memory.multiply(p, D**-0.5)
                memory.keep_band(p, low - (j - i), high - (j - i))
                memory.maximum(base, -1e30)
                memory.subtract(p, base)
                memory.exp(p)
                memory.matmul_add(b, p.T, g)
                memory.matmul_add(d, g, z.T)
                memory.subtract(d, sums)
                memory.multiply(p, d)
                memory.multiply(p, D**-0.5)
                memory.matmul_add(a, p.T, x)
                memory.matmul_add(out, p, y)
                memory.store(out, dq[at])
                memory.free(x, g, base, sums, out, p, d)
            if touched:
                memory.store(a, dk[h, j : j + columns])
                memory.store(b, dv[h, j : j + columns])
            memory.free(y, z, a, b)
    return dq, dk, dv
