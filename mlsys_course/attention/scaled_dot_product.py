"""Scaled dot-product attention: every query takes a weighted mean of the values."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from . import kernels


def naive_attention(
    q: Float[Tensor, "*#batch T D"],
    k: Float[Tensor, "*#batch S D"],
    v: Float[Tensor, "*#batch S Dv"],
    mask: Bool[Tensor, "*#batch #T #S"] | None = None,
    bias: Float[Tensor, "*#batch #T #S"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "*#batch T Dv"]:
    """softmax(q k^T * scale + bias) v over the keys where ``mask`` is True: the equation as it stands.

    In float32 or better, whatever the dtype, which is the result's; nothing is checked. ``attention`` is what to call.
    Source: Vaswani et al. 2017, "Attention is all you need", equation 1.
    """
    dtype = q.dtype
    q, k, v = (x.to(torch.promote_types(dtype, torch.float32)) for x in (q, k, v))  # a product overflows float16
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = (q @ k.transpose(-2, -1)) * scale  # (..., T, S)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    return (masked_softmax(scores, mask) @ v).to(dtype)  # (..., T, Dv)


def masked_softmax(
    scores: Float[Tensor, "*batch T S"], mask: Bool[Tensor, "*#batch #T #S"] | None
) -> Float[Tensor, "*batch T S"]:
    """Each row's weights over the keys where ``mask`` is True; zeros in a row without any, and no gradient from it."""
    if mask is not None:  # not with -inf: a row without a True would be 0/0; now it is wrong but finite, then cleared
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1)
    return weights if mask is None else weights.masked_fill(~mask, 0)


def attention(
    q: Float[Tensor, "*#batch T D"],
    k: Float[Tensor, "*#batch S D"],
    v: Float[Tensor, "*#batch S Dv"],
    mask: Bool[Tensor, "*#batch #T #S"] | None = None,
    *,
    causal: bool = False,
    bias: Float[Tensor, "*#batch #T #S"] | None = None,
    scale: float | None = None,
    backend: str = "naive",
) -> Float[Tensor, "*#batch T Dv"]:
    """softmax(q k^T * scale + bias) v, where ``mask`` is True at the keys that a query may attend to.

    Leading dimensions broadcast, as do ``mask`` and ``bias`` to the scores (..., T, S). ``causal`` is another mask,
    ``causal_mask(T, S)``; ``scale`` is 1 / sqrt(D) unless stated. A query that may attend to nothing, by masks or by a
    ``bias`` of -inf, gets zeros, and passes back a gradient of zero. The result has q's dtype. ``backend`` is "naive",
    the equation as it stands, in float32 or better, or "sdpa", PyTorch's kernels, which need not write the scores to
    memory. These round ``bias`` to q's dtype, inside its range, and have no second derivative where a fused one runs;
    they also take k and v of K heads for q (B, ..., H, T, D), K a divisor of H: head h of q reads head h // (H / K).
    Raises ValueError where shapes do not fit, numbers are whole, ``mask`` is not bool, or ``backend`` is neither.
    Source: Vaswani et al. 2017, "Attention is all you need", equation 1; the bias as Raffel et al. 2020, "T5", has it
    for relative positions. Lab 2, exercise ``attention``.
    """
    kernels.check(q, k, v, mask, causal, bias, backend)
    if backend == "sdpa":
        return kernels.fused(q, k, v, mask, causal, bias, scale)
    return naive_attention(q, k, v, kernels.one_mask(q, k, mask, causal, bias), bias, scale)
