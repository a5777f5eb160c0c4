"""Matrix multiplication in blocks: the order of work that lets a small fast memory serve a large product."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..substrate.dtypes import check_floating
from .problems import BadInput


def tile_product(x: Float[Tensor, "n k"], y: Float[Tensor, "k m"]) -> Float[Tensor, "n m"]:
    """The product of two tiles, with sums in float32 for 16-bit tiles, as tensor cores keep them."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return x.to(wide) @ y.to(wide)


def block_matmul(
    a: Float[Tensor, "n k"],
    b: Float[Tensor, "k m"],
    block: tuple[int, int, int],
    multiply: Callable[[Tensor, Tensor], Tensor] = tile_product,
) -> Float[Tensor, "n m"]:
    """a @ b from products of tiles of at most ``block`` = (rows of a, columns of a, columns of b).

    Sizes need not divide: the last tiles are smaller. Tiles are added in float32 (float64 for float64) and rounded to
    a's dtype once. Raises BadInput where a and b do not fit, or a block has no entries, and NotFloating for whole
    numbers. Golub and Van Loan, *Matrix Computations*, section 1.3. Lab 0, exercise ``block_matmul``.
    """
    check_floating(a=a, b=b)
    (n, inner), (_, m) = a.shape, b.shape
    if inner != len(b):
        raise BadInput(f"a has {inner} columns and b has {len(b)} rows; they must be as many")
    if min(block) < 1:
        raise BadInput(f"block={tuple(block)}; each of its three sizes must be at least 1")
    rows, shared, columns = block
    product = torch.zeros(n, m, dtype=torch.promote_types(a.dtype, torch.float32), device=a.device)
    for i in range(0, n, rows):
        for j in range(0, m, columns):
            tile = product[i : i + rows, j : j + columns]  # a view: it stays in fast memory while p runs
            for p in range(0, inner, shared):
                tile += multiply(a[i : i + rows, p : p + shared], b[p : p + shared, j : j + columns])
    return product.to(a.dtype)
