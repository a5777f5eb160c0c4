"""Scores to probabilities, for scores of any size."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..substrate.dtypes import check_floating


def softmax(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """exp(x) / sum(exp(x)) along ``dim``, in x's dtype; 16-bit inputs are computed in float32.

    An entry of -inf has probability 0. Where all entries along ``dim`` are -inf there is nothing to choose from: zeros.
    An empty x gives an empty result. Raises NotFloating for whole numbers. Lecture 000, "Output". Lab 0,
    exercise ``softmax``.
    """
    exponentials, total, _ = _shifted(x, dim)
    return (exponentials / total).to(x.dtype)


def log_softmax(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """log(softmax(x)) along ``dim``, finite where the probability itself is too small to be written down.

    Conventions of ``softmax``; where all entries are -inf, all results are. Lab 0, exercise ``log_softmax``.
    """
    _, total, shifted = _shifted(x, dim)
    return (shifted - total.log()).to(x.dtype)


def softmax_gradient(
    y: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], dim: int = -1
) -> Float[Tensor, "*shape"]:
    """dL/dx from y = softmax(x) and grad = dL/dy: the product with diag(y) - y y^T, never written out.

    In y's dtype; 16-bit inputs are computed in float32. Lab 0, extension ``softmax_gradient``.
    """
    check_floating(y=y, grad=grad)
    wide = torch.promote_types(y.dtype, torch.float32)
    p, g = y.to(wide), grad.to(wide)
    return (p * (g - (p * g).sum(dim, keepdim=True))).to(y.dtype)


def _shifted(x: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """exp(x - max), its sum along ``dim`` (1 where that is 0), and x - max: nothing here can overflow."""
    check_floating(x=x)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if not x.shape[dim]:  # there is no largest of nothing
        return wide, wide.sum(dim, keepdim=True), wide
    top = wide.amax(dim, keepdim=True)
    shifted = wide - top.masked_fill(top == -torch.inf, 0.0)  # -inf - -inf would be NaN
    exponentials = shifted.exp()
    total = exponentials.sum(dim, keepdim=True)
    return exponentials, total.masked_fill(total == 0, 1.0), shifted
