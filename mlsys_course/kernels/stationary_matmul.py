"""A product near the bound itself: the result has nearly all of the room, and slices of one step pass by."""

import itertools
import math

from ..substrate.fast_memory import Array, FastMemory


def stationary_matmul(memory: FastMemory, a: Array, b: Array) -> Array:
    """a @ b for (m, k) by (k, n), a new array: as ``tiled_matmul``, with fewer entries moved and more instructions.

    A square tile of the result of side s, one column of a and one row of b: s^2 + 2 s entries, so s is nearly the
    root of the capacity, and 2 m n k / s entries are loaded, nearly the bound. That is how kernels on cards do it: the
    result's tile lies in registers.
    Source: Kwasniewski et al. 2019, "Red-blue pebbling revisited". Lab 12, extension ``stationary_matmul``.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"{a.shape} by {b.shape}; shapes are (m, k) by (k, n)")
    (m, k), n = a.shape, b.shape[1]
    side = math.isqrt(memory.capacity + 1) - 1  # (side + 1)^2 - 1 entries
    c = memory.new(m, n)
    for i, j in itertools.product(range(0, m, side), range(0, n, side)):
        corner = c[i : i + side, j : j + side]
        total = memory.full(*corner.shape)
        for p in range(k):
            column, row = memory.load(a[i : i + side, p : p + 1]), memory.load(b[p : p + 1, j : j + side])
            memory.matmul_add(total, column, row)
            memory.free(column, row)
        memory.store(total, corner)
        memory.free(total)
    return c
