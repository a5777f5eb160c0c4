"""What stands around the blocks: embeddings below, a stack of blocks, the head above."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..attention import KVCache, learned_positions, sinusoidal_positions
from ..substrate.model_config import ModelConfig, check_served
from .attention_layer import RelativeBias
from .block import Block
from .feed_forward import activate
from .norms import norm_of


class Embedding(nn.Module):
    """A vector for each token and its segment, and where positions are added, those of ``offset`` and after.

    Tokens whose ``segments`` are not given belong to segment 0.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        check_served(config, {"registers": 0, "extra_positions": 0}, "lab 3's embedding has none")
        self.config = config
        self.tokens = nn.Embedding(config.padded_vocabulary, config.d_model)
        self.segments = nn.Embedding(config.segments, config.d_model) if config.segments else None
        self.positions = nn.Embedding(config.context, config.d_model) if config.positions == "learned" else None
        self.norm = norm_of(config) if config.embedding_norm else nn.Identity()

    def forward(
        self, tokens: Int[Tensor, "B T"], offset: int = 0, segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T C"]:
        if tokens.ndim != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool:
            given = f"{tokens.dtype} of shape {tuple(tokens.shape)}"
            raise ValueError(
                f"tokens are {given}, expected whole numbers of shape (B, T); one sequence is tokens[None]"
            )
        x, T = self.tokens(tokens), tokens.shape[1]
        if self.config.embedding_scale:
            x = x * math.sqrt(self.config.d_model)
        if self.positions is not None:
            x = x + learned_positions(self.positions.weight, T, offset)
        elif self.config.positions == "sinusoidal":
            table = sinusoidal_positions(offset + T, self.config.d_model, device=x.device)
            x = x + table[offset:].to(x.dtype)
        if self.segments is None and segments is not None:
            raise ValueError("segments are given, but config.segments=0; leave them out, or set config.segments=2")
        if self.segments is not None:
            x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        return self.norm(x)


class Stack(nn.Module):
    """``n_layers`` blocks, and a last norm where they leave a sum; ``causal`` and ``cross`` make it a decoder's."""

    def __init__(self, config: ModelConfig, causal: bool, cross: bool = False):
        super().__init__()
        self.causal = causal
        self.bias = RelativeBias(config, causal) if config.positions == "relative" else None
        self.blocks = nn.ModuleList(Block(config, cross) for _ in range(config.n_layers))
        self.norm = norm_of(config) if config.final_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        mask: Bool[Tensor, "*#batch #T #S"] | None = None,
        memory: Float[Tensor, "B M C"] | None = None,
        memory_mask: Bool[Tensor, "*#batch #T #M"] | None = None,
        caches: Sequence[KVCache] | None = None,
    ) -> Float[Tensor, "B T C"]:
        T, offset = x.shape[1], offset_of(caches)
        bias = None if self.bias is None else self.bias(T, offset + T)
        for n, block in enumerate(self.blocks):
            cache = caches[n] if caches else None
            x = block(x, mask, causal=self.causal, memory=memory, memory_mask=memory_mask, bias=bias, cache=cache)
        return self.norm(x)


def offset_of(caches: Sequence[KVCache] | None) -> int:
    """How many tokens the caches hold, one for each block."""
    return caches[0].offset if caches else 0


class Head(nn.Module):
    """Logits of each token: x W^T, plus b where there is one; ``tied`` makes W the embedding's own weights."""

    def __init__(self, config: ModelConfig, embedding: nn.Embedding):
        super().__init__()
        C = config.d_model
        self.transform = nn.Linear(C, C) if config.head_transform else None
        self.norm = norm_of(config) if config.head_transform else nn.Identity()
        self.activation = config.activation
        self.vocabulary = nn.Linear(C, config.padded_vocabulary, bias=config.head_bias)
        if config.tied_head:
            self.vocabulary.weight = embedding.weight

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T V"]:
        if self.transform is not None:
            x = self.norm(activate(self.transform(x), self.activation))
        return self.vocabulary(x)


def initialize(model: nn.Module, config: ModelConfig) -> None:
    """Weights that keep the size of what flows: variance 1 / inputs, and biases of zero.

    What pre-norm blocks add to the residual stream is made smaller with depth, as in GPT-2 (Radford et al. 2019), so
    that the sum of all does not grow with it.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            std = module.weight.shape[1] ** -0.5
            if config.norm_position == "pre" and name.endswith(("output", "down")):
                std /= math.sqrt(2 * config.n_layers)
            nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
