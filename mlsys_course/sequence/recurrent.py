"""A recurrent network: one cell, used again at every step."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Cell = Callable[..., Tensor]  # (x, h, w_xh, w_hh, b) -> next state, as ``rnn_cell``


def rnn_cell(
    x: Float[Tensor, "B Cx"],
    h: Float[Tensor, "B C"],
    w_xh: Float[Tensor, "Cx C"],
    w_hh: Float[Tensor, "C C"],
    b: Float[Tensor, " C"],
) -> Float[Tensor, "B C"]:
    """The next state, tanh(x w_xh + h w_hh + b), of B sequences side by side; rows are tokens.

    Result and arithmetic have the inputs' dtype. Raises ValueError where widths do not fit.
    Source: Elman 1990, "Finding structure in time". Lab 1, exercise ``rnn_cell``.
    """
    check_widths(x, h, w_xh, w_hh, b)
    return torch.tanh(x @ w_xh + h @ w_hh + b)


def rnn(
    x: Float[Tensor, "B T Cx"],
    h_0: Float[Tensor, "B C"],
    w_xh: Float[Tensor, "Cx C"],
    w_hh: Float[Tensor, "C C"],
    b: Float[Tensor, " C"],
    mask: Bool[Tensor, "B T"] | None = None,
    cell: Cell = rnn_cell,
) -> Float[Tensor, "B T C"]:
    """The states after each of T steps, from the initial state ``h_0``: the same weights at every step.

    ``mask`` is True at tokens, False at padding; a step on padding leaves the sequence's state as it was. So
    ``states[:, -1]`` is the state after the last token, wherever the padding stands. Raises ValueError for an empty
    sequence (T = 0), or widths that do not fit. Lab 1, exercise ``rnn``.
    """
    check_steps(x, mask)
    h, states = h_0, []
    for t in range(x.shape[1]):
        after = cell(x[:, t], h, w_xh, w_hh, b)  # (B, C)
        h = after if mask is None else torch.where(mask[:, t, None], after, h)
        states.append(h)
    return torch.stack(states, dim=1)  # (B, T, C)


def length_mask(lengths: Int[Tensor, " B"], T: int) -> Bool[Tensor, "B T"]:
    """True at the first ``lengths[b]`` of T positions: the mask of sequences padded on the right.

    On the device of ``lengths``. Raises ValueError where they are not whole numbers from 0 to T.
    """
    if lengths.ndim != 1 or lengths.is_floating_point() or lengths.dtype == torch.bool:
        given = f"{lengths.dtype} of shape {tuple(lengths.shape)}"
        raise ValueError(f"lengths is {given}, expected whole numbers of shape (B,); pass one length for each sequence")
    if ((lengths < 0) | (lengths > T)).any():
        raise ValueError(f"lengths={lengths.tolist()} do not lie between 0 and T={T}; pad to the longest sequence")
    return torch.arange(T, device=lengths.device) < lengths[:, None]


def check_widths(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor) -> None:
    """Weights must fit input and state, and all have one dtype; ``w_h`` may hold several gates side by side."""
    shapes = f"x {tuple(x.shape)}, h {tuple(h.shape)}, weights {tuple(w_x.shape)} and {tuple(w_h.shape)}"
    if w_x.shape[0] != x.shape[-1] or w_h.shape[0] != h.shape[-1] or w_x.shape[1] != w_h.shape[1]:
        raise ValueError(f"{shapes}: rows are tokens, so x and h must be as wide as their weights have rows")
    if b.shape != w_h.shape[1:]:
        raise ValueError(f"b {tuple(b.shape)}: give it one number for each of the weights' {w_h.shape[1]} columns")
    if x.shape[0] != h.shape[0]:
        raise ValueError(f"{shapes}: {x.shape[0]} sequences have {h.shape[0]} states; make the two numbers equal")
    if len({x.dtype, h.dtype, w_x.dtype, w_h.dtype, b.dtype}) > 1:
        raise ValueError(f"x is {x.dtype}, h {h.dtype}, weights {w_x.dtype} and {w_h.dtype}, b {b.dtype}; use one")


def check_steps(x: Tensor, mask: Tensor | None) -> None:
    """A sequence (B, T, C) of at least one step, and a mask of its (B, T)."""
    if x.ndim != 3 or x.shape[1] < 1:
        raise ValueError(f"x {tuple(x.shape)} should be (B, T, C) with T of at least 1; leave empty sequences out")
    check_mask(mask, x.shape[:2])


def check_mask(mask: Tensor | None, shape: torch.Size) -> None:
    """None, or bool with one entry for each token."""
    if mask is not None and (mask.dtype != torch.bool or mask.shape != shape):
        given = f"{mask.dtype} of shape {tuple(mask.shape)}"
        raise ValueError(f"mask is {given}, expected torch.bool of shape {tuple(shape)}, True at tokens")
