"""Attention whose scores never leave the fast memory: tiles of queries and keys, and a softmax that goes along."""

from ..substrate.fast_memory import Array, FastMemory, Region, Tile
from .band import Band

LOWEST = -1e30  # of a running maximum: less than any score, and no infinity, which less itself would be NaN


def flash_attention(
    memory: FastMemory,
    q: Array,
    k: Array,
    v: Array,
    rows: int,
    columns: int,
    causal: bool = False,
    window: int | None = None,
) -> tuple[Array, Array]:
    """(output, log_sum_exp), (H, T, Dv) and (H, T, 1), of softmax(q k^T / sqrt(D)) v for each of H heads.

    q is (H, T, D), k (H, S, D), v (H, S, Dv). Queries are taken ``rows`` at a time, keys ``columns`` at a time; neither
    need divide. With ``causal`` query i sees the keys up to i + S - T, with ``window`` the last that many of them;
    pairs of tiles in which nothing is seen are skipped. A query that sees no key gets zeros and -inf.
    Every tile of queries moves once, and for each of them the tiles of keys and values that it sees.
    Fast memory: (rows + columns)(D + Dv) + 2 rows columns + 8 rows entries are enough.
    Source: Dao et al. 2022, algorithm 1, in the order of Dao 2023, algorithm 1. Lab 12, exercise ``flash_attention``.

    Raises:
        ValueError: shapes that do not fit together, a window that is below 1 or not causal.
    """
    (H, T, D), (S, Dv) = q.shape, v.shape[1:]
    if k.shape != (H, S, D) or v.shape[0] != H or D < 1:
        raise ValueError(f"q {q.shape}, k {k.shape}, v {v.shape}; shapes are (H, T, D), (H, S, D), (H, S, Dv)")
    band = Band.of(T, S, causal, window)
    output, log_sum_exp = memory.new(H, T, Dv), memory.new(H, T, 1)
    for h in range(H):
        for i in range(0, T, rows):
            queries = memory.load(q[h, i : i + rows])
            memory.multiply(queries, D**-0.5)
            size = queries.shape[0]
            top, total = memory.full(size, 1, LOWEST), memory.full(size, 1)
            weighted = memory.full(size, Dv)
            for j in range(0, S, columns):
                keys = k[h, j : j + columns]
                if not band.hides(i, size, j, keys.shape[0]):
                    scores = _scores(memory, queries, keys)
                    band.cut(memory, scores, i, j)
                    top = _go_on(memory, scores, v[h, j : j + columns], top, total, weighted)
            _finish(memory, top, total, weighted)
            memory.store(weighted, output[h, i : i + rows])
            memory.store(total, log_sum_exp[h, i : i + rows])
            memory.free(queries, top, total, weighted)
    return output, log_sum_exp


def _scores(memory: FastMemory, queries: Tile, region: Region) -> Tile:
    keys = memory.load(region)
    scores = memory.full(queries.shape[0], keys.shape[0])
    memory.matmul_add(scores, queries, keys.T)
    memory.free(keys)
    return scores


def _go_on(memory: FastMemory, scores: Tile, region: Region, top: Tile, total: Tile, weighted: Tile) -> Tile:
    """One step of the softmax: the sums are made those of a new maximum, which is returned, and added to."""
    highest = memory.rowmax(scores)
    memory.maximum(highest, top)
    memory.subtract(top, highest)
    memory.exp(top)  # what the old sums are worth now
    memory.subtract(scores, highest)
    memory.exp(scores)
    added, values = memory.rowsum(scores), memory.load(region)
    memory.multiply(total, top)
    memory.add(total, added)
    memory.multiply(weighted, top)
    memory.matmul_add(weighted, scores, values)
    memory.free(scores, top, added, values)
    return highest


def _finish(memory: FastMemory, top: Tile, total: Tile, weighted: Tile) -> None:
    """The sums become the output, and the log-sum-exp."""
    safe = memory.copy(total)
    memory.maximum(safe, 1.0)  # the largest score counts 1: less is nothing
    memory.divide(weighted, safe)
    memory.log(total)
    memory.add(total, top)
    memory.free(safe)


def forward_traffic(
    H: int, T: int, S: int, D: int, Dv: int, rows: int, columns: int, causal: bool = False, window: int | None = None
) -> tuple[int, int]:
    """Entries that ``flash_attention`` moves, and multiplications that it does."""
    band = Band.of(T, S, causal, window)
    pairs = seen_pairs(band, T, S, rows, columns)
    moved = T * (D + Dv + 1) + sum(width * (D + Dv) for _, width in pairs)
    return H * moved, H * sum(height * width * (D + Dv) for height, width in pairs)


def seen_pairs(band: Band, T: int, S: int, rows: int, columns: int) -> list[tuple[int, int]]:
    """Sizes of the tiles of scores in which something is seen."""
    found = []
    for i in range(0, T, rows):
        for j in range(0, S, columns):
            height, width = min(rows, T - i), min(columns, S - j)
            if not band.hides(i, height, j, width):
                found.append((height, width))
    return found
