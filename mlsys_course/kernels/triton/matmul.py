"""A product of matrices in tiles, as a Triton kernel: the result's tile stays in registers, and sizes are tried out."""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from .tuning import configs


@triton.autotune(
    configs(
        {"rows": 128, "columns": 256, "depth": 64, "num_warps": 8, "num_stages": 3},
        {"rows": 256, "columns": 128, "depth": 64, "num_warps": 8, "num_stages": 3},
        {"rows": 128, "columns": 128, "depth": 64, "num_warps": 8, "num_stages": 4},
        {"rows": 128, "columns": 128, "depth": 64, "num_warps": 4, "num_stages": 4},
        {"rows": 128, "columns": 64, "depth": 64, "num_warps": 4, "num_stages": 4},
        {"rows": 64, "columns": 64, "depth": 32, "num_warps": 4, "num_stages": 4},
    ),
    key=["M", "N", "K"],
)
@triton.jit
def _matmul(
    a, b, c, M, N, K, a_row, a_column, b_row, b_column, c_row, c_column,
    rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr, group: tl.constexpr,
):  # fmt: skip
    """One tile of c. ``group`` rows of tiles are done column by column, so that tiles of b are found in the cache."""
    program, down, across = tl.program_id(0), tl.cdiv(M, rows), tl.cdiv(N, columns)
    first = program // (group * across) * group
    height = min(down - first, group)
    i = first + program % (group * across) % height
    j = program % (group * across) // height
    m, n, k = i * rows + tl.arange(0, rows), j * columns + tl.arange(0, columns), tl.arange(0, depth)
    left = a + (m % M)[:, None] * a_row + k[None, :] * a_column  # what is beyond the edge is read twice, and not stored
    right = b + k[:, None] * b_row + (n % N)[None, :] * b_column
    total = tl.zeros((rows, columns), tl.float32)
    for start in range(0, K, depth):
        x = tl.load(left, mask=k[None, :] < K - start, other=0.0)
        y = tl.load(right, mask=k[:, None] < K - start, other=0.0)
        total = tl.dot(x, y, total)
        left += depth * a_column
        right += depth * b_row
    inside = (m[:, None] < M) & (n[None, :] < N)
    tl.store(c + m[:, None] * c_row + n[None, :] * c_column, total.to(c.dtype.element_ty), mask=inside)


def matmul(a: Float[Tensor, "M K"], b: Float[Tensor, "K N"]) -> Float[Tensor, "M N"]:
    """a @ b, float16 or bfloat16, with sums in float32. Raises ValueError where the shapes do not fit together."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"{tuple(a.shape)} by {tuple(b.shape)}; shapes are (M, K) by (K, N)")
    (M, K), N = a.shape, b.shape[1]
    c = torch.empty(M, N, dtype=a.dtype, device=a.device)

    def grid(sizes: dict[str, int]) -> tuple[int]:
        return (triton.cdiv(M, sizes["rows"]) * triton.cdiv(N, sizes["columns"]),)

    _matmul[grid](a, b, c, M, N, K, *a.stride(), *b.stride(), *c.stride(), group=8)
    return c
