"""SwiGLU's two products and its gate in one kernel: what lies between them is never written."""

import itertools

from ..substrate.fast_memory import Array, FastMemory


def fused_swiglu(memory: FastMemory, x: Array, gate: Array, up: Array, side: int) -> Array:
    """silu(x @ gate) * (x @ up), a new array (T, F), for x (T, C), gate and up (C, F); silu(z) = z / (1 + exp(-z)).

    Tiles are at most ``side`` wide and high. A tile of x is used for both products, so it is loaded once for both, and
    of the result alone anything is stored. Five tiles of side x side are enough room.
    Source: Shazeer 2020; lecture 004, "Feed Forward SwiGLU". Lab 12, extension ``fused_swiglu``.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if gate.shape != up.shape or len(x.shape) != 2 or x.shape[1:] != gate.shape[:1]:
        raise ValueError(f"x {x.shape}, gate {gate.shape}, up {up.shape}; shapes are (T, C) and twice (C, F)")
    (T, C), F = x.shape, gate.shape[1]
    out = memory.new(T, F)
    for i, j in itertools.product(range(0, T, side), range(0, F, side)):
        corner = out[i : i + side, j : j + side]
        gates, ups = memory.full(*corner.shape), memory.full(*corner.shape)
        for p in range(0, C, side):
            rows = memory.load(x[i : i + side, p : p + side])
            for total, weight in ((gates, gate), (ups, up)):
                columns = memory.load(weight[p : p + side, j : j + side])
                memory.matmul_add(total, rows, columns)
                memory.free(columns)
            memory.free(rows)
        divisor = memory.copy(gates)
        memory.multiply(divisor, -1.0)
        memory.exp(divisor)
        memory.add(divisor, 1.0)
        memory.divide(gates, divisor)
        memory.multiply(gates, ups)
        memory.store(gates, corner)
        memory.free(gates, ups, divisor)
    return out


def swiglu_traffic(T: int, C: int, F: int, side: int) -> int:
    """Entries that it moves."""
    across, down = -(-F // side), -(-T // side)
    return T * C * across + 2 * C * F * down + T * F
