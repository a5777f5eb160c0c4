"""Flash attention as Triton kernels, forward: a program for each tile of queries, as ``kernels.flash_attention``."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tuning import configs

WIDTHS = (16, 32, 64, 128)
LOG2E = 1.4426950408889634


@triton.jit
def _tiles(
    top, total, weighted, queries, k, v, i, first, last, S, offset, scale,
    rows: tl.constexpr, columns: tl.constexpr, D: tl.constexpr, masked: tl.constexpr, causal: tl.constexpr,
):  # fmt: skip
    """Keys from first to last, in powers of two: exp2 is what the hardware has. ``masked`` where not all are seen."""
    d = tl.arange(0, D)
    for j in range(first, last, columns):
        n = j + tl.arange(0, columns)
        if masked:
            keys = tl.load(k + n[None, :] * D + d[:, None], mask=n[None, :] < S, other=0.0)
        else:
            keys = tl.load(k + n[None, :] * D + d[:, None])
        scores = tl.dot(queries, keys)
        if masked:
            seen = n[None, :] < S
            if causal:
                seen &= n[None, :] <= i[:, None] + offset
            scores = tl.where(seen, scores, -1e30)
        highest = tl.maximum(top, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - highest[:, None])
        if masked:
            weights = tl.where(seen, weights, 0.0)
        old = tl.exp2(top - highest)
        total = total * old + tl.sum(weights, 1)
        if masked:
            values = tl.load(v + n[:, None] * D + d[None, :], mask=n[:, None] < S, other=0.0)
        else:
            values = tl.load(v + n[:, None] * D + d[None, :])
        weighted = tl.dot(weights.to(values.dtype), values, weighted * old[:, None])
        top = highest
    return top, total, weighted


@triton.autotune(
    configs(
        {"rows": 128, "columns": 128, "num_warps": 8, "num_stages": 2},
        {"rows": 128, "columns": 64, "num_warps": 8, "num_stages": 3},
        {"rows": 128, "columns": 64, "num_warps": 4, "num_stages": 3},
        {"rows": 64, "columns": 64, "num_warps": 4, "num_stages": 3},
        {"rows": 32, "columns": 32, "num_warps": 4, "num_stages": 2},
    ),
    key=["T", "S", "D", "causal"],
)
@triton.jit
def _forward(
    q, k, v, out, lse, T, S, scale,
    D: tl.constexpr, causal: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """A tile of queries of one head. Tiles below the diagonal need no mask, those above it are not worked on."""
    head = tl.program_id(1).to(tl.int64)
    start = (tl.num_programs(0) - 1 - tl.program_id(0)) * rows  # the longest first
    i, d = start + tl.arange(0, rows), tl.arange(0, D)
    k, v, offset = k + head * S * D, v + head * S * D, S - T
    inside = i[:, None] < T
    queries = tl.load(q + head * T * D + i[:, None] * D + d[None, :], mask=inside, other=0.0)
    top = tl.full((rows,), -1e30, tl.float32)
    total, weighted = tl.zeros((rows,), tl.float32), tl.zeros((rows, D), tl.float32)
    whole = tl.minimum(tl.maximum(start + offset + 1, 0), S) if causal else S
    whole = whole // columns * columns  # keys that every query of the tile sees, in whole tiles
    end = tl.minimum(tl.maximum(start + rows + offset, 0), S) if causal else S
    top, total, weighted = _tiles(top, total, weighted, queries, k, v, i, 0, whole, S, offset, scale,
                                  rows, columns, D, False, causal)  # fmt: skip
    top, total, weighted = _tiles(top, total, weighted, queries, k, v, i, whole, end, S, offset, scale,
                                  rows, columns, D, True, causal)  # fmt: skip
    least = tl.maximum(total, 1e-30)
    weighted = weighted / least[:, None]
    tl.store(out + head * T * D + i[:, None] * D + d[None, :], weighted.to(out.dtype.element_ty), mask=inside)
    tl.store(lse + head * T + i, tl.where(total > 0, top + tl.log2(least), float("inf")), mask=i < T)


def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """(output, log-sum-exp to the base 2, (B, H, T)); inf there for a query that sees nothing, so that its weights are
    0 in backward. Shapes (B, H, T, D) and (B, H, S, D), contiguous."""
    B, H, T, D = q.shape
    S, out = k.shape[2], torch.empty_like(q)
    lse = torch.empty(B, H, T, dtype=torch.float32, device=q.device)

    def grid(sizes: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(T, sizes["rows"]), B * H

    _forward[grid](q, k, v, out, lse, T, S, D**-0.5 * LOG2E, D, causal)
    return out, lse
