"""A product of matrices through a small fast memory: square tiles, so that what is loaded is used often."""

import itertools
import math

from ..substrate.fast_memory import Array, FastMemory


def tiled_matmul(memory: FastMemory, a: Array, b: Array) -> Array:
    """a @ b for (m, k) by (k, n), or (B, m, k) by (B, k, n): a new array in the slow memory.

    Three square tiles share the fast memory: one of the result stays until it is done, those of a and b pass by. Each
    is used for ``side`` rows or columns of the others, so about 2 m n k / side entries are loaded, sqrt(3) times what
    any order of these operations must move. Sizes need not divide: tiles at the edges are smaller.
    Source: Hong and Kung 1981; Kwasniewski et al. 2019. Lab 12, exercise ``tiled_matmul``.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if len(a.shape) not in (2, 3) or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"{a.shape} by {b.shape}; shapes are (m, k) by (k, n), or (B, m, k) by (B, k, n)")
    (m, k), n = a.shape[-2:], b.shape[-1]
    side = max(1, math.isqrt(memory.capacity // 3))
    c = memory.new(*a.shape[:-1], n)
    for one in itertools.product(*map(range, a.shape[:-2])):
        for i, j in itertools.product(range(0, m, side), range(0, n, side)):
            corner = c[*one, i : i + side, j : j + side]
            total = memory.full(*corner.shape)
            for p in range(0, k, side):
                left = memory.load(a[*one, i : i + side, p : p + side])
                right = memory.load(b[*one, p : p + side, j : j + side])
                memory.matmul_add(total, left, right)
                memory.free(left, right)
            memory.store(total, corner)
            memory.free(total)
    return c


def matmul_bound(m: int, k: int, n: int, capacity: int) -> float:
    """Entries that must move at least, about: 2 m n k / sqrt(M), and each matrix once.

    Source: Smith et al. 2019, "A tight I/O lower bound for matrix multiplication".
    """
    return max(2 * m * n * k / math.sqrt(capacity), m * k + k * n + m * n)
