# %% right: the result's entries one by one, from rows that stay in a list.
def conv2d(memory, x, w, stride=1, padding=0):
    B, C, H, W = x.shape
    F, D, R, S = w.shape
    if C != D or stride < 1 or R > H + 2 * padding or S > W + 2 * padding:
        raise ValueError
    height, width = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    out = memory.new(B, F, height, width)
    filters = [[memory.load(w[:, :, r, s]) for s in range(S)] for r in range(R)]
    for b in range(B):
        rows = [None] * H
        for i in range(height):
            line = memory.full(F, width)
            for n in range(H):
                if rows[n] is not None and n < i * stride - padding:
                    memory.free(rows[n])
                    rows[n] = None
            for r in range(R):
                n = i * stride + r - padding
                if n < 0 or n >= H:
                    continue
                rows[n] = rows[n] or memory.load(x[b, :, n])
                for j in range(width):
                    for s in range(S):
                        place = j * stride + s - padding
                        if 0 <= place < W:
                            memory.matmul_add(line[:, j : j + 1], filters[r][s], rows[n][:, place : place + 1])
            memory.store(line, out[b, :, i])
            memory.free(line)
        memory.free(*[row for row in rows if row is not None])
    return out


# %% wrong: "each entry of the image may move once": rows between two strides are loaded, and so are all of an image.
def conv2d(memory, x, w, stride=1, padding=0):
    B, C, H, W = x.shape
    F, D, R, S = w.shape
    if C != D or stride < 1 or R > H + 2 * padding or S > W + 2 * padding:
        raise ValueError
    height, width = (H + 2 * padding - R) // stride + 1, (W + 2 * padding - S) // stride + 1
    out = memory.new(B, F, height, width)
    filters = [[memory.load(w[:, :, r, s]) for s in range(S)] for r in range(R)]
    for b in range(B):
        rows = [memory.load(x[b, :, n]) for n in range(H)]
        for i in range(height):
            line = memory.full(F, width)
            for r in range(R):
                n = i * stride + r - padding
                for j in range(width):
                    for s in range(S):
                        place = j * stride + s - padding
                        if 0 <= n < H and 0 <= place < W:
                            memory.matmul_add(line[:, j : j + 1], filters[r][s], rows[n][:, place : place + 1])
            memory.store(line, out[b, :, i])
            memory.free(line)
        memory.free(*rows)
    return out


# %% wrong: "rows = (H + 2 padding - R) // stride + 1, and so columns": as many columns as rows.
def conv2d(memory, x, w, stride=1, padding=0):
    B, C, H, W = x.shape
    F, D, R, S = w.shape
    if C != D or stride < 1 or R > H + 2 * padding or S > W + 2 * padding:
        raise ValueError
    height = width = (H + 2 * padding - R) // stride + 1
    out = memory.new(B, F, height, width)
    filters = [[memory.load(w[:, :, r, s]) for s in range(S)] for r in range(R)]
    for b in range(B):
        for i in range(height):
            line = memory.full(F, width)
            for r in range(R):
                n = i * stride + r - padding
                if 0 <= n < H:
                    row = memory.load(x[b, :, n])
                    for j in range(width):
                        for s in range(S):
                            place = j * stride + s - padding
                            if 0 <= place < W:
                                memory.matmul_add(line[:, j : j + 1], filters[r][s], row[:, place : place + 1])
                    memory.free(row)
            memory.store(line, out[b, :, i])
            memory.free(line)
    return out
