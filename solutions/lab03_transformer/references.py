"""Lab 3's references that are put together of the component's parts in the exercises' own shape. Sealed."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mlsys_course import transformer as component
from mlsys_course.attention import causal_mask, learned_positions, padding_mask, sinusoidal_positions


def decoder_block(
    x, memory, weights, n_heads, mask=None, memory_mask=None, *, attend, feed_forward, layer_norm
) -> Tensor:
    """A block of the decoder of 2017, of three sublayers."""
    sublayers = [
        lambda y: attend(y, y, *weights["self"], n_heads, mask),
        lambda y: attend(y, memory, *weights["cross"], n_heads, memory_mask),
        lambda y: feed_forward(y, *weights["ffn"]),
    ]
    norms = [lambda y, norm=norm: layer_norm(y, *norm) for norm in weights["norms"]]
    return component.block(x, sublayers, norms, "post")


def encoder_decoder(
    x: Tensor, y: Tensor, encoder: Sequence[Callable], decoder: Sequence[Callable], lengths: Tensor | None = None
) -> Tensor:
    """Both stacks, and who may see what."""
    mask = None if lengths is None else padding_mask(lengths, x.shape[1])
    for layer in encoder:
        x = layer(x, mask)
    for layer in decoder:
        y = layer(y, x, causal_mask(y.shape[1], device=y.device), mask)
    return y


class Decoder(nn.Module):
    """A decoder-only model around any blocks and norms."""

    def __init__(self, config, make_block, make_norm):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.d_model)
        if config.positions == "learned":
            self.positions = nn.Embedding(config.context, config.d_model)
        self.blocks = nn.ModuleList(make_block(config) for _ in range(config.n_layers))
        if config.norm_position == "pre":
            self.norm = make_norm(config)
        self.head = nn.Linear(config.d_model, config.vocabulary, bias=False)
        if config.tied_head:
            self.head.weight = self.embedding.weight

    def embed(self, tokens: Tensor) -> Tensor:
        """Token embeddings, scaled where the configuration says so, and the positions that are added."""
        x, T, C = self.embedding(tokens), tokens.shape[1], self.config.d_model
        if self.config.embedding_scale:
            x = x * math.sqrt(C)
        if self.config.positions == "learned":
            x = x + learned_positions(self.positions.weight, T)
        if self.config.positions == "sinusoidal":
            x = x + sinusoidal_positions(T, C, device=x.device).to(x.dtype)
        return x

    def mask(self, tokens: Tensor) -> Tensor | None:
        """What each token may see."""
        return causal_mask(tokens.shape[1], device=tokens.device)

    def forward(self, tokens: Tensor) -> Tensor:
        x, mask = self.embed(tokens), self.mask(tokens)
        for layer in self.blocks:
            x = layer(x, mask)
        return self.head(self.norm(x) if self.config.norm_position == "pre" else x)


def layer_norm_backward(
    x: Tensor, gain: Tensor, gradient: Tensor, epsilon: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, gain and bias, by autograd through the component."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (x, gain, torch.zeros_like(gain))]
        return torch.autograd.grad(component.layer_norm(*leaves, epsilon), leaves, gradient)
