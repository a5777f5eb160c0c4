"""The feed-forward network: every token for itself, wide, bent, and narrow again."""

from collections.abc import Callable, Mapping
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..substrate.model_config import ModelConfig

# GELU is x * Phi(x), with the normal distribution's Phi; its older form replaces Phi by a tanh. SiLU (Swish) is
# x * sigmoid(x).
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


def activate(x: Float[Tensor, "*shape"], activation: str) -> Float[Tensor, "*shape"]:
    """The non-linearity of that name; ValueError for another."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation!r} is unknown; choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation](x)


def feed_forward(
    x: Float[Tensor, "*batch C"],
    w_1: Float[Tensor, "C F"],
    b_1: Float[Tensor, " F"],
    w_2: Float[Tensor, "F C"],
    b_2: Float[Tensor, " C"],
    activation: str = "relu",
) -> Float[Tensor, "*batch C"]:
    """activation(x w_1 + b_1) w_2 + b_2.

    Source: Vaswani et al. 2017, equation 2, with ReLU; Hendrycks and Gimpel 2016 for GELU. Lab 3, exercise
    ``feed_forward``.
    """
    return activate(x @ w_1 + b_1, activation) @ w_2 + b_2


def swiglu(
    x: Float[Tensor, "*batch C"],
    w_gate: Float[Tensor, "C F"],
    w_up: Float[Tensor, "C F"],
    w_down: Float[Tensor, "F C"],
) -> Float[Tensor, "*batch C"]:
    """(silu(x w_gate) * (x w_up)) w_down: the network of LLaMA, three matrices and no biases.

    (The name also stands for the part before w_down alone.) Source: Shazeer 2020, "GLU variants improve transformer",
    equation 6. Lab 3, exercise ``swiglu``.
    """
    return (F.silu(x @ w_gate) * (x @ w_up)) @ w_down


class FeedForward(nn.Module):
    """Two matrices around a non-linearity, or three where a gate multiplies what goes up."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = config.activation
        self.gate = nn.Linear(config.d_model, config.d_ffn, bias=config.mlp_biases) if config.gated else None
        self.up = nn.Linear(config.d_model, config.d_ffn, bias=config.mlp_biases)
        self.down = nn.Linear(config.d_ffn, config.d_model, bias=config.mlp_biases)

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        if self.gate is None:
            return self.down(activate(self.up(x), self.activation))
        return self.down(activate(self.gate(x), self.activation) * self.up(x))
