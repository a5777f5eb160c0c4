"""Flash attention's gradients: probabilities are worked out again, tile by tile, from the log-sum-exp that was kept."""

from ..substrate.fast_memory import Array, FastMemory, Region, Tile
from .band import Band
from .flash_attention import LOWEST, seen_pairs


def flash_attention_backward(
    memory: FastMemory,
    q: Array,
    k: Array,
    v: Array,
    output: Array,
    log_sum_exp: Array,
    grad: Array,
    rows: int,
    columns: int,
    causal: bool = False,
    window: int | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients of q, k and v from ``grad``, the output's; output and log_sum_exp as ``flash_attention`` left them.

    With P = exp(q k^T / sqrt(D) - log_sum_exp), again only where something is seen, dP = grad v^T and delta = the sums
    over rows of grad * output: dv = P^T grad, dS = P * (dP - delta), dq = dS k / sqrt(D), dk = dS^T q / sqrt(D).
    Tiles of keys stay while those of queries pass by; the gradient of q is loaded, added to and stored each time.
    Fast memory: 2 (rows + columns)(D + Dv) + 3 rows columns + 8 rows entries are enough.
    Source: Dao et al. 2022, appendix B.2; Dao 2023, algorithm 2. Lab 12, exercise ``flash_attention_backward``.
    """
    (H, T, D), (S, Dv) = q.shape, v.shape[1:]
    band = Band.of(T, S, causal, window)
    dq, dk, dv, delta = memory.new(H, T, D), memory.new(H, S, D), memory.new(H, S, Dv), memory.new(H, T, 1)
    for h in range(H):
        for i in range(0, T, rows):
            _begin(memory, output[h, i : i + rows], grad[h, i : i + rows], delta[h, i : i + rows], dq[h, i : i + rows])
        for j in range(0, S, columns):
            keys, values = memory.load(k[h, j : j + columns]), memory.load(v[h, j : j + columns])
            dkeys, dvalues = memory.full(*keys.shape), memory.full(*values.shape)
            for i in range(0, T, rows):
                place = h, slice(i, i + rows)
                if band.hides(i, min(rows, T - i), j, keys.shape[0]):
                    continue
                queries, grads = memory.load(q[place]), memory.load(grad[place])
                weights = _weights(memory, queries, keys, log_sum_exp[place], band, i, j)
                memory.matmul_add(dvalues, weights.T, grads)
                _to_dscores(memory, weights, grads, values, delta[place])
                memory.multiply(weights, D**-0.5)
                memory.matmul_add(dkeys, weights.T, queries)
                dqueries = memory.load(dq[place])
                memory.matmul_add(dqueries, weights, keys)
                memory.store(dqueries, dq[place])
                memory.free(queries, grads, weights, dqueries)
            memory.store(dkeys, dk[h, j : j + columns])
            memory.store(dvalues, dv[h, j : j + columns])
            memory.free(keys, values, dkeys, dvalues)
    return dq, dk, dv


def _begin(memory: FastMemory, output: Region, grad: Region, delta: Region, dq: Region) -> None:
    """Delta of some queries, and zeros for their gradient."""
    products, grads = memory.load(output), memory.load(grad)
    memory.multiply(products, grads)
    sums, zeros = memory.rowsum(products), memory.full(*dq.shape)
    memory.store(sums, delta)
    memory.store(zeros, dq)
    memory.free(products, grads, sums, zeros)


def _weights(memory: FastMemory, queries: Tile, keys: Tile, log_sum_exp: Region, band: Band, i: int, j: int) -> Tile:
    """The probabilities of a tile, as forward had them."""
    scores = memory.full(queries.shape[0], keys.shape[0])
    memory.matmul_add(scores, queries, keys.T)
    memory.multiply(scores, queries.shape[1] ** -0.5)
    band.cut(memory, scores, i, j)
    base = memory.load(log_sum_exp)
    memory.maximum(base, LOWEST)  # of a query that sees nothing it is -inf
    memory.subtract(scores, base)
    memory.exp(scores)
    memory.free(base)
    return scores


def _to_dscores(memory: FastMemory, weights: Tile, grads: Tile, values: Tile, delta: Region) -> None:
    """weights * (grads values^T - delta), in place."""
    of_weights, sums = memory.full(*weights.shape), memory.load(delta)
    memory.matmul_add(of_weights, grads, values.T)
    memory.subtract(of_weights, sums)
    memory.multiply(weights, of_weights)
    memory.free(of_weights, sums)


def backward_traffic(
    H: int, T: int, S: int, D: int, Dv: int, rows: int, columns: int, causal: bool = False, window: int | None = None
) -> tuple[int, int]:
    """Entries that ``flash_attention_backward`` moves, and multiplications that it does."""
    pairs = seen_pairs(Band.of(T, S, causal, window), T, S, rows, columns)
    moved = T * (D + 2 * Dv + 1) + 2 * S * (D + Dv) + sum(height * (3 * D + Dv + 2) for height, _ in pairs)
    return H * moved, H * sum(height * width * (3 * D + 2 * Dv) for height, width in pairs)
