"""Norms: each token's channels brought to one scale, by mean and variance or by the root of the mean square."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..substrate.dtypes import check_floating
from ..substrate.model_config import ModelConfig


def layer_norm(
    x: Float[Tensor, "*batch C"],
    gain: Float[Tensor, " C"],
    bias: Float[Tensor, " C"],
    epsilon: float = 1e-5,
    fast: bool = False,
) -> Float[Tensor, "*batch C"]:
    """(x - mean) / sqrt(variance + epsilon) * gain + bias, over each token's channels.

    The variance is the mean of squares (divided by C, not C - 1), epsilon stands inside the root, and statistics run in
    float32 or better; the result has x's dtype. Raises ValueError where gain or bias is not as wide as x, and for
    whole numbers. Source: Ba et al. 2016, "Layer normalization". Lab 3, exercise ``layer_norm``.
    """
    _check_width(x, gain, bias)
    if fast:
        return F.layer_norm(x, gain.shape, gain, bias, epsilon)
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = precise - precise.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return (centred * torch.rsqrt(variance + epsilon) * gain + bias).to(x.dtype)


def rms_norm(
    x: Float[Tensor, "*batch C"], gain: Float[Tensor, " C"], epsilon: float = 1e-6, fast: bool = False
) -> Float[Tensor, "*batch C"]:
    """x / sqrt(mean(x^2) + epsilon) * gain: no mean taken off, no bias.

    Epsilon stands inside the root, as in LLaMA (one lecture has it outside). Precision, dtype and errors are as of
    ``layer_norm``. Source: Zhang and Sennrich 2019, "Root mean square layer normalization". Lab 3, exercise
    ``rms_norm``.
    """
    _check_width(x, gain)
    if fast:
        return F.rms_norm(x, gain.shape, gain, epsilon)
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    return (precise * torch.rsqrt(precise.square().mean(-1, keepdim=True) + epsilon) * gain).to(x.dtype)


def layer_norm_backward(
    x: Float[Tensor, "*batch C"], gain: Float[Tensor, " C"], gradient: Float[Tensor, "*batch C"], epsilon: float = 1e-5
) -> tuple[Float[Tensor, "*batch C"], Float[Tensor, " C"], Float[Tensor, " C"]]:
    """The gradients of x, gain and bias, from the ``gradient`` at ``layer_norm``'s output; in x's dtype.

    Mean and variance depend on x too: each takes its part out of what comes back. Gain and bias serve all tokens, so
    theirs are sums over these. Source: Ba et al. 2016, differentiated. Lab 3, extension ``layer_norm_backward``.
    """
    _check_width(x, gain)
    precise, gradient = (y.to(torch.promote_types(x.dtype, torch.float32)) for y in (x, gradient))
    centred = precise - precise.mean(-1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + epsilon)
    hat, g = centred * scale, gradient * gain
    dx = scale * (g - g.mean(-1, keepdim=True) - hat * (g * hat).mean(-1, keepdim=True))
    gains, biases = ((y.reshape(-1, x.shape[-1]).sum(0)).to(x.dtype) for y in (gradient * hat, gradient))
    return dx.to(x.dtype), gains, biases


def _check_width(x: Tensor, *vectors: Tensor) -> None:
    check_floating(x=x)
    for vector in vectors:
        if vector.shape != x.shape[-1:]:
            raise ValueError(
                f"x has {x.shape[-1]} channels, gain and bias have shapes {[tuple(v.shape) for v in vectors]}; "
                "give each one number for each channel"
            )


class LayerNorm(nn.Module):
    """``layer_norm`` with its gain and bias."""

    def __init__(self, C: int, epsilon: float = 1e-5, fast: bool = False):
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))
        self.epsilon, self.fast = epsilon, fast

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        return layer_norm(x, self.gain, self.bias, self.epsilon, self.fast)


class RMSNorm(nn.Module):
    """``rms_norm`` with its gain."""

    def __init__(self, C: int, epsilon: float = 1e-6, fast: bool = False):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(C))
        self.epsilon, self.fast = epsilon, fast

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        return rms_norm(x, self.gain, self.epsilon, self.fast)


def norm_of(config: ModelConfig) -> nn.Module:
    """A new norm over ``d_model`` channels."""
    kind = LayerNorm if config.norm == "layer" else RMSNorm
    return kind(config.d_model, config.epsilon, config.fast)
