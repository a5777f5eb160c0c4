"""A block: sublayers, each with a residual around it and a norm before it or after the sum."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..attention import KVCache, multi_head_attention
from ..substrate.model_config import CHOICES, ModelConfig, check_served
from .attention_layer import Attention
from .feed_forward import FeedForward, feed_forward
from .norms import layer_norm, norm_of

Layer = Callable[[Tensor], Tensor]


def block(
    x: Float[Tensor, "*batch C"], sublayers: Sequence[Layer], norms: Sequence[Layer], norm_position: str
) -> Float[Tensor, "*batch C"]:
    """Each sublayer in turn adds to x: x + f(norm(x)) with "pre", norm(x + f(x)) with "post".

    ``norms`` has one norm for each sublayer. Raises ValueError for another number of norms or another position.
    Source: Vaswani et al. 2017, section 3.1 (post); Xiong et al. 2020, "On layer normalization in the transformer
    architecture" (pre). Lab 3, exercise ``block``.
    """
    if norm_position not in CHOICES["norm_position"]:
        raise ValueError(f"norm_position={norm_position!r} is unknown; choose 'pre' or 'post'")
    if len(sublayers) != len(norms):
        raise ValueError(f"{len(sublayers)} sublayers and {len(norms)} norms; give each sublayer its norm")
    for sublayer, norm in zip(sublayers, norms, strict=True):
        x = x + sublayer(norm(x)) if norm_position == "pre" else norm(x + sublayer(x))
    return x


def attend(
    x: Float[Tensor, "B T C"],
    source: Float[Tensor, "B S C"],
    w_q: Float[Tensor, "C HD"],
    w_k: Float[Tensor, "C HD"],
    w_v: Float[Tensor, "C HD"],
    w_o: Float[Tensor, "HD C"],
    n_heads: int,
    mask: Bool[Tensor, "*#heads #T #S"] | None = None,
) -> Float[Tensor, "B T C"]:
    """Lab 2's multi-head attention of two sequences: queries from x, keys and values from the source."""
    return multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads, mask, context=source)


def decoder_block(
    x: Float[Tensor, "B T C"],
    memory: Float[Tensor, "B S C"],
    weights: Mapping[str, Sequence[Any]],
    n_heads: int,
    mask: Bool[Tensor, "*#heads #T #T"] | None = None,
    memory_mask: Bool[Tensor, "*#heads #T #S"] | None = None,
    attend: Callable[..., Tensor] = attend,
    feed_forward: Callable[..., Tensor] = feed_forward,
    layer_norm: Callable[..., Tensor] = layer_norm,
) -> Float[Tensor, "B T C"]:
    """The decoder's block of 2017, post-norm: self-attention, attention over the memory, a network.

    ``weights`` has "self" and "cross", four matrices each, "ffn" (w_1, b_1, w_2, b_2), and "norms", three pairs of gain
    and bias. Source: Vaswani et al. 2017, figure 1. Lab 3, exercise ``decoder_block``.
    """
    sublayers = [
        lambda y: attend(y, y, *weights["self"], n_heads, mask),
        lambda y: attend(y, memory, *weights["cross"], n_heads, memory_mask),
        lambda y: feed_forward(y, *weights["ffn"]),
    ]
    norms = [lambda y, norm=norm: layer_norm(y, *norm) for norm in weights["norms"]]
    return block(x, sublayers, norms, "post")


class Block(nn.Module):
    """Self-attention and a feed-forward network; with ``cross``, attention over a memory between them."""

    def __init__(self, config: ModelConfig, cross: bool = False):
        super().__init__()
        check_served(config, {"norms_per_layer": 2}, "lab 3's block has a norm for each sublayer")
        self.norm_position = config.norm_position
        self.attention, self.attention_norm = Attention(config), norm_of(config)
        self.cross, self.cross_norm = (Attention(config), norm_of(config)) if cross else (None, None)
        self.feed_forward, self.feed_forward_norm = FeedForward(config), norm_of(config)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        mask: Bool[Tensor, "*#batch #T #S"] | None = None,
        *,
        causal: bool = False,
        memory: Float[Tensor, "B M C"] | None = None,
        memory_mask: Bool[Tensor, "*#batch #T #M"] | None = None,
        bias: Float[Tensor, "H T S"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """All but the memory and its mask is for self-attention. Raises ValueError where a memory is lacking."""
        sublayers: list[Layer] = [lambda y: self.attention(y, mask, causal=causal, bias=bias, cache=cache)]
        norms: list[Layer] = [self.attention_norm]
        if self.cross is not None and self.cross_norm is not None:
            if memory is None:
                raise ValueError("this block attends to a memory; pass the encoder's output as memory=")
            cross = self.cross
            sublayers.append(lambda y: cross(y, memory_mask, memory=memory))
            norms.append(self.cross_norm)
        return block(x, [*sublayers, self.feed_forward], [*norms, self.feed_forward_norm], self.norm_position)
