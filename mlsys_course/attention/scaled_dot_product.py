"""Scaled dot-product attention: every query takes a weighted mean of the values."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def attention(
    q: Float[Tensor, "*#batch T D"],
    k: Float[Tensor, "*#batch S D"],
    v: Float[Tensor, "*#batch S Dv"],
    mask: Bool[Tensor, "*#batch #T #S"] | None = None,
) -> Float[Tensor, "*#batch T Dv"]:
    """softmax(q k^T / sqrt(D)) v, where ``mask`` is True at the keys that a query may attend to.

    Leading dimensions broadcast, as does ``mask`` to the scores (..., T, S). A query that may attend to nothing
    gets zeros, and passes back a gradient of zero. The softmax runs in float32 or better; the result has q's dtype.
    Raises ValueError where shapes do not fit or ``mask`` is not bool.
    Source: Vaswani et al. 2017, "Attention is all you need", equation 1. Lab 2, exercise ``attention``.
    """
    scores_shape = _shape_of_scores(q, k, v)
    scores = (q @ k.transpose(-2, -1)).to(torch.promote_types(q.dtype, torch.float32))  # (..., T, S)
    scores = scores / math.sqrt(q.shape[-1])
    if mask is None:
        weights = scores.softmax(-1)
    else:
        _check_mask(mask, scores_shape)
        # Not -inf: a row without a True would be 0/0. As it is, its weights are wrong but finite, and then cleared.
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~mask, 0)
    return weights.to(v.dtype) @ v  # (..., T, Dv)


def _shape_of_scores(q: Tensor, k: Tensor, v: Tensor) -> tuple[int, ...]:
    """(..., T, S), or ValueError where q, k and v do not fit together."""
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise ValueError(f"{shapes}: each needs at least two dimensions, (..., time, channels)")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"q is {q.dtype}, k {k.dtype}, v {v.dtype}; convert them to one dtype")
    if q.shape[-1] != k.shape[-1] or not q.shape[-1]:
        raise ValueError(f"{shapes}: q and k need one head_dim of at least 1; project them to the same width")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"{shapes}: each key needs a value; make k.shape[-2] equal v.shape[-2]")
    try:
        leading = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    except RuntimeError:
        raise ValueError(f"{shapes}: the leading dimensions do not broadcast; make them equal") from None
    return (*leading, q.shape[-2], k.shape[-2])


def _check_mask(mask: Tensor, scores_shape: tuple[int, ...]) -> None:
    if mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype}, expected torch.bool with True at what may be attended to")
    fits = mask.ndim <= len(scores_shape)
    pairs = zip(reversed(mask.shape), reversed(scores_shape), strict=False)
    if not fits or any(given not in (1, expected) for given, expected in pairs):
        raise ValueError(
            f"mask {tuple(mask.shape)} does not broadcast to the scores {scores_shape}; "
            "give it shape (..., T, S), with 1 where all share"
        )
