# %% wrong: "Tiles are added up in the dtype of multiply's results": float16 is added up in float16 (bfloat16 is not).
import torch
def block_matmul(a, b, block, multiply):
    (n, k), (k2, m) = a.shape, b.shape
    if k != k2 or min(block) < 1:
        raise ValueError("sizes")
    bn, bk, bm = block
    dtype = torch.float32 if a.dtype == torch.bfloat16 else a.dtype
    out = torch.zeros(n, m, dtype=dtype, device=a.device)
    for i in range(0, n, bn):
        for j in range(0, m, bm):
            for p in range(0, k, bk):
                out[i:i+bn, j:j+bm] += multiply(a[i:i+bn, p:p+bk], b[p:p+bk, j:j+bm])
    return out.to(a.dtype)


# %% wrong: "Returns (n, m) in a's dtype": with k = 0 the zeros are float32 whatever a is.
import torch
def block_matmul(a, b, block, multiply):
    (n, k), (k2, m) = a.shape, b.shape
    if k != k2 or min(block) < 1:
        raise ValueError("sizes")
    if k == 0 or n == 0 or m == 0:
        return torch.zeros(n, m, device=a.device)
    bn, bk, bm = block
    rows = []
    for i in range(0, n, bn):
        row = []
        for j in range(0, m, bm):
            row.append(sum(multiply(a[i:i+bn, p:p+bk], b[p:p+bk, j:j+bm]) for p in range(0, k, bk)))
        rows.append(torch.cat(row, 1))
    return torch.cat(rows, 0).to(a.dtype)


# %% wrong: "n, k and m may be 0": with n = 0 it raises.
import torch
def block_matmul(a, b, block, multiply):
    if a.shape[1] != b.shape[0] or any(s < 1 for s in block):
        raise ValueError("sizes")
    if a.shape[1] == 0:
        return a.new_zeros((a.shape[0], b.shape[1]))
    bn, bk, bm = block
    rows = []
    for x in a.split(bn, 0):
        row = []
        for j in range(0, b.shape[1], bm):
            tile = 0
            for p in range(0, len(x[0]), bk):
                tile = tile + multiply(x[:, p:p+bk], b[p:p+bk, j:j+bm])
            row.append(tile)
        rows.append(torch.cat(row, 1))
    return torch.cat(rows).to(a.dtype)


# %% wrong: "ValueError if ... a size in block is below 1": the first size is not looked at, -1 gives zeros.
import torch
def block_matmul(a, b, block, multiply):
    (n, k), (k2, m) = a.shape, b.shape
    bn, bk, bm = block
    if k != k2 or bk < 1 or bm < 1:
        raise ValueError("sizes")
    out = torch.zeros(n, m, dtype=torch.promote_types(a.dtype, torch.float32), device=a.device)
    for i in range(0, n, bn):
        for j in range(0, m, bm):
            for p in range(0, k, bk):
                out[i:i+bn, j:j+bm] += multiply(a[i:i+bn, p:p+bk], b[p:p+bk, j:j+bm])
    return out.to(a.dtype)


# %% wrong: "with A_ip and B_pj as they are": 16-bit tiles are converted before multiply gets them.
import torch
def block_matmul(a, b, block, multiply):
    (n, k), (k2, m) = a.shape, b.shape
    bn, bk, bm = block
    if k != k2 or min(bn, bk, bm) < 1:
        raise ValueError("sizes")
    wide = torch.promote_types(a.dtype, torch.float32)
    x, y = a.to(wide), b.to(wide)
    out = torch.zeros(n, m, dtype=wide, device=a.device)
    for i in range(0, n, bn):
        for j in range(0, m, bm):
            for p in range(0, k, bk):
                out[i:i+bn, j:j+bm] += multiply(x[i:i+bn, p:p+bk], y[p:p+bk, j:j+bm])
    return out.to(a.dtype)


# %% right: 
import torch
def block_matmul(a, b, block, multiply):
    if a.shape[1] != b.shape[0] or min(block) < 1:
        raise ValueError("sizes")
    n, k, m = *a.shape, b.shape[1]
    bn, bk, bm = block
    sums = {}
    for p in reversed(range(0, k, bk)):  # inner axis outside, backwards
        for j in range(0, m, bm):
            for i in range(0, n, bn):
                tile = multiply(a[i:i+bn, p:p+bk], b[p:p+bk, j:j+bm])
                sums[i, j] = sums[i, j] + tile if (i, j) in sums else tile
    out = torch.zeros(n, m, dtype=a.dtype, device=a.device)
    for (i, j), tile in sums.items():
        out[i:i+bn, j:j+bm] = tile.to(a.dtype)
    return out


# %% right: 
import torch
def block_matmul(a, b, block, multiply):
    if a.shape[1] != b.shape[0]:
        raise ValueError("a's columns, b's rows")
    if [s for s in block if s < 1]:
        raise ValueError("block")
    if 0 in (a.shape[0], a.shape[1], b.shape[1]):
        return torch.zeros(a.shape[0], b.shape[1], dtype=a.dtype, device=a.device)
    columns = []
    for y in b.split(block[2], 1):
        column = []
        for x in a.split(block[0], 0):
            parts = [multiply(u, v) for u, v in zip(x.split(block[1], 1), y.split(block[1], 0))]
            column.append(torch.stack(parts).sum(0).to(a.dtype))
        columns.append(torch.cat(column, 0))
    return torch.cat(columns, 1)
