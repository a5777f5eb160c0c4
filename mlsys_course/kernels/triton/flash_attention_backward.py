"""Flash attention as Triton kernels, backward: a kernel for keys and values, one for queries; nothing is shared."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .flash_attention import LOG2E
from .tuning import configs


@triton.jit
def _delta(out, grad, delta, T, D: tl.constexpr, rows: tl.constexpr):
    """The sums over rows of out * grad."""
    i, d = tl.program_id(0) * rows + tl.arange(0, rows), tl.arange(0, D)
    place = tl.program_id(1).to(tl.int64) * T * D + i[:, None] * D + d[None, :]
    inside = i[:, None] < T
    products = tl.load(out + place, mask=inside, other=0.0).to(tl.float32) * tl.load(
        grad + place, mask=inside, other=0.0
    )
    tl.store(delta + tl.program_id(1).to(tl.int64) * T + i, tl.sum(products, 1), mask=i < T)


@triton.jit
def _queries_pass(
    dk, dv, keys, values, q, grad, lse, delta, n, first, last, T, S, offset, scale,
    rows: tl.constexpr, D: tl.constexpr, masked: tl.constexpr, causal: tl.constexpr,
):  # fmt: skip
    """What queries from first to last give to a tile of keys; scores stand transposed, keys down."""
    d = tl.arange(0, D)
    for start in range(first, last, rows):
        i = start + tl.arange(0, rows)
        there = i < T
        queries = tl.load(q + i[:, None] * D + d[None, :], mask=there[:, None], other=0.0)
        grads = tl.load(grad + i[:, None] * D + d[None, :], mask=there[:, None], other=0.0)
        base = tl.load(lse + i, mask=there, other=float("inf"))
        weights = tl.exp2(tl.dot(keys, tl.trans(queries)) * scale - base[None, :])  # (keys, queries)
        if masked:
            seen = n[:, None] < S
            if causal:
                seen &= n[:, None] <= i[None, :] + offset
            weights = tl.where(seen, weights, 0.0)
        dv = tl.dot(weights.to(grads.dtype), grads, dv)
        sums = tl.load(delta + i, mask=there, other=0.0)
        dscores = weights * (tl.dot(values, tl.trans(grads)) - sums[None, :])
        dk = tl.dot(dscores.to(queries.dtype), queries, dk)
    return dk, dv


@triton.autotune(
    configs(
        {"rows": 64, "columns": 128, "num_warps": 8, "num_stages": 2},
        {"rows": 64, "columns": 128, "num_warps": 4, "num_stages": 2},
        {"rows": 64, "columns": 64, "num_warps": 4, "num_stages": 3},
        {"rows": 32, "columns": 128, "num_warps": 4, "num_stages": 3},
        {"rows": 32, "columns": 32, "num_warps": 4, "num_stages": 2},
    ),
    key=["T", "S", "D", "causal"],
)
@triton.jit
def _keys(
    q, k, v, grad, lse, delta, dk, dv, T, S, scale, factor,
    D: tl.constexpr, causal: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    head, start, d = tl.program_id(1).to(tl.int64), tl.program_id(0) * columns, tl.arange(0, D)
    n, offset = start + tl.arange(0, columns), S - T
    place, inside = head * S * D + n[:, None] * D + d[None, :], n[:, None] < S
    keys, values = tl.load(k + place, mask=inside, other=0.0), tl.load(v + place, mask=inside, other=0.0)
    dkeys, dvalues = tl.zeros((columns, D), tl.float32), tl.zeros((columns, D), tl.float32)
    q, grad, lse, delta = q + head * T * D, grad + head * T * D, lse + head * T, delta + head * T
    begin = tl.maximum(start - offset, 0) // rows * rows if causal else 0  # queries before see none of these keys
    whole = tl.cdiv(tl.maximum(start + columns - 1 - offset, 0), rows) * rows if causal else 0  # from here on, all
    whole = tl.where(start + columns > S, T, tl.minimum(whole, T))
    dkeys, dvalues = _queries_pass(dkeys, dvalues, keys, values, q, grad, lse, delta, n, begin, whole, T, S, offset,
                                   scale, rows, D, True, causal)  # fmt: skip
    dkeys, dvalues = _queries_pass(dkeys, dvalues, keys, values, q, grad, lse, delta, n, tl.maximum(begin, whole), T,
                                   T, S, offset, scale, rows, D, False, causal)  # fmt: skip
    tl.store(dk + place, (dkeys * factor).to(dk.dtype.element_ty), mask=inside)
    tl.store(dv + place, dvalues.to(dv.dtype.element_ty), mask=inside)


@triton.jit
def _keys_pass(
    dq, queries, grads, base, sums, k, v, i, first, last, S, offset, scale,
    columns: tl.constexpr, D: tl.constexpr, masked: tl.constexpr, causal: tl.constexpr,
):  # fmt: skip
    """What keys from first to last give to a tile of queries."""
    d = tl.arange(0, D)
    for start in range(first, last, columns):
        n = start + tl.arange(0, columns)
        inside = n[:, None] < S
        keys = tl.load(k + n[:, None] * D + d[None, :], mask=inside, other=0.0)
        values = tl.load(v + n[:, None] * D + d[None, :], mask=inside, other=0.0)
        weights = tl.exp2(tl.dot(queries, tl.trans(keys)) * scale - base[:, None])
        if masked:
            seen = n[None, :] < S
            if causal:
                seen &= n[None, :] <= i[:, None] + offset
            weights = tl.where(seen, weights, 0.0)
        dscores = weights * (tl.dot(grads, tl.trans(values)) - sums[:, None])
        dq = tl.dot(dscores.to(keys.dtype), keys, dq)
    return dq


@triton.autotune(
    configs(
        {"rows": 128, "columns": 64, "num_warps": 8, "num_stages": 2},
        {"rows": 128, "columns": 64, "num_warps": 4, "num_stages": 2},
        {"rows": 64, "columns": 64, "num_warps": 4, "num_stages": 3},
        {"rows": 128, "columns": 32, "num_warps": 4, "num_stages": 3},
        {"rows": 32, "columns": 32, "num_warps": 4, "num_stages": 2},
    ),
    key=["T", "S", "D", "causal"],
)
@triton.jit
def _queries(
    q, k, v, grad, lse, delta, dq, T, S, scale, factor,
    D: tl.constexpr, causal: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    head, start, d = tl.program_id(1).to(tl.int64), tl.program_id(0) * rows, tl.arange(0, D)
    i, offset = start + tl.arange(0, rows), S - T
    place, there = head * T * D + i[:, None] * D + d[None, :], i < T
    queries = tl.load(q + place, mask=there[:, None], other=0.0)
    grads = tl.load(grad + place, mask=there[:, None], other=0.0)
    base = tl.load(lse + head * T + i, mask=there, other=float("inf"))
    sums = tl.load(delta + head * T + i, mask=there, other=0.0)
    k, v, total = k + head * S * D, v + head * S * D, tl.zeros((rows, D), tl.float32)
    whole = tl.minimum(tl.maximum(start + offset + 1, 0), S) if causal else S
    whole = whole // columns * columns
    end = tl.minimum(tl.maximum(start + rows + offset, 0), S) if causal else S
    total = _keys_pass(
        total, queries, grads, base, sums, k, v, i, 0, whole, S, offset, scale, columns, D, False, causal
    )
    total = _keys_pass(
        total, queries, grads, base, sums, k, v, i, whole, end, S, offset, scale, columns, D, True, causal
    )
    tl.store(dq + place, (total * factor).to(dq.dtype.element_ty), mask=there[:, None])


def backward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, grad: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v; what is given as ``flash_attention.forward`` had and returned it."""
    B, H, T, D = q.shape
    S, scale = k.shape[2], D**-0.5
    dq, dk, dv, delta = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), torch.empty_like(lse)
    if T:
        _delta[(triton.cdiv(T, 64), B * H)](out, grad, delta, T, D, 64)

    def over_keys(sizes: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(S, sizes["columns"]), B * H

    def over_queries(sizes: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(T, sizes["rows"]), B * H

    _keys[over_keys](q, k, v, grad, lse, delta, dk, dv, T, S, scale * LOG2E, scale, D, causal)
    _queries[over_queries](q, k, v, grad, lse, delta, dq, T, S, scale * LOG2E, scale, D, causal)
    return dq, dk, dv
