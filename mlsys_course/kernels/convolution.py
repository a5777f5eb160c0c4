"""Convolution twice: as one product of matrices, of a copy that is k^2 times the image; and directly, row by row."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ..substrate.fast_memory import Array, FastMemory, Tile


def im2col(
    x: Float[Tensor, "B C H W"], kernel: tuple[int, int], stride: int = 1, padding: int = 0
) -> Float[Tensor, "B K L"]:
    """Each patch of the image as a column: K = C * rows * columns of ``kernel``, L = places where the patch fits.

    Entry (b, (c * kernel[0] + dy) * kernel[1] + dx, y * columns + x) is the image's, channel c, at (y * stride + dy,
    x * stride + dx) behind ``padding`` zeros on all four sides. So weights of shape (F, C, *kernel), flattened from C
    on, times this are the convolution. Dtype and device are the image's; backward adds up where patches overlap.
    Source: Chellapilla et al. 2006. Lab 12, exercise ``im2col``.

    Raises:
        ValueError: the patch does not fit, or the stride is below 1.
    """
    rows, columns = output_size(x.shape[2:], kernel, stride, padding)
    padded = pad(x, (padding,) * 4)
    bottom, right = (rows - 1) * stride + 1, (columns - 1) * stride + 1
    shifted = [
        padded[:, :, dy : dy + bottom : stride, dx : dx + right : stride]
        for dy, dx in itertools.product(*map(range, kernel))
    ]
    return torch.stack(shifted, 2).reshape(x.shape[0], -1, rows * columns)


def output_size(image: tuple[int, ...], kernel: tuple[int, int], stride: int, padding: int) -> tuple[int, int]:
    """Rows and columns of places where the kernel fits. Raises ValueError where there is none, or no stride."""
    if stride < 1 or padding < 0:
        raise ValueError(f"stride={stride}, padding={padding}; they are at least 1 and 0")
    rows, columns = ((size + 2 * padding - k) // stride + 1 for size, k in zip(image, kernel, strict=True))
    if rows < 1 or columns < 1:
        raise ValueError(f"a kernel of {tuple(kernel)} does not fit an image of {tuple(image)} with padding={padding}")
    return rows, columns


def conv2d(memory: FastMemory, x: Array, w: Array, stride: int = 1, padding: int = 0) -> Array:
    """Images (B, C, H, W) convolved with F filters (F, C, R, S), without a flip: (B, F, rows, columns).

    ``padding`` zeros stand on all four sides, in thought: they are never loaded. The fast memory must hold the weights,
    R rows of the image (C, W) and one of the result (F, columns); then everything moves once. Rows of the image stay
    as long as a row of the result needs them.
    Source: lecture 004, "Operators". Lab 12, exercise ``conv2d``.

    Raises:
        ValueError: channels differ, the kernel does not fit, or the stride is below 1.
    """
    (B, C, H, W), (F, channels, R, S) = x.shape, w.shape
    if channels != C:
        raise ValueError(f"an image of {C} channels and weights for {channels}; make them equal")
    rows, columns = output_size((H, W), (R, S), stride, padding)
    out = memory.new(B, F, rows, columns)
    weights = {(dy, dx): memory.load(w[:, :, dy, dx]) for dy, dx in itertools.product(range(R), range(S))}  # (F, C)
    for b in range(B):
        held: dict[int, Tile] = {}  # rows of the image, (C, W), by number
        for y in range(rows):
            top = y * stride - padding
            for done in [row for row in held if row < top]:
                memory.free(held.pop(done))
            total = memory.full(F, columns)
            for dy in range(max(0, -top), min(R, H - top)):
                if top + dy not in held:
                    held[top + dy] = memory.load(x[b, :, top + dy])
                _add_row(memory, total, held[top + dy], [weights[dy, dx] for dx in range(S)], stride, padding)
            memory.store(total, out[b, :, y])
            memory.free(total)
        memory.free(*held.values())
    memory.free(*weights.values())
    return out


def _add_row(memory: FastMemory, total: Tile, row: Tile, weights: list[Tile], stride: int, padding: int) -> None:
    """What one row of the image gives to one of the result."""
    W, columns = row.shape[1], total.shape[1]
    for dx, weight in enumerate(weights):
        first = max(0, -(-(padding - dx) // stride))  # place of the result whose entry is no padding
        last = min(columns, (W - 1 + padding - dx) // stride + 1)
        if first < last:
            start = first * stride + dx - padding
            entries = row[:, start : (last - 1) * stride + dx - padding + 1 : stride]
            memory.matmul_add(total[:, first:last], weight, entries)
