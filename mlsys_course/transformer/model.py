"""The three families: encoder-only (BERT), decoder-only (GPT, LLaMA), encoder-decoder (Vaswani et al., T5)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..attention import KVCache, causal_mask, padding_mask
from ..substrate.model_config import BadSize, ModelConfig, check_served
from .stack import Embedding, Head, Stack, initialize, offset_of


def encoder_decoder(
    x: Float[Tensor, "B S C"],
    y: Float[Tensor, "B T C"],
    encoder: Sequence[Callable[..., Tensor]],
    decoder: Sequence[Callable[..., Tensor]],
    lengths: Int[Tensor, " B"] | None = None,
) -> Float[Tensor, "B T C"]:
    """Both stacks, and who may see what: the encoder reads x, the decoder writes y and looks at what x became.

    Layers are called as ``layer(x, mask)`` and ``layer(y, memory, mask, memory_mask)``; ``lengths`` of the sources hide
    their padding from both. Source: Vaswani et al. 2017, figure 1. Lab 3, exercise ``encoder_decoder``.
    """
    padding = None if lengths is None else padding_mask(lengths, x.shape[1])
    for layer in encoder:
        x = layer(x, padding)
    for layer in decoder:
        y = layer(y, x, causal_mask(y.shape[1], device=y.device), padding)
    return y


class Encoder(nn.Module):
    """Every token sees every other: made to represent a text, trained to fill in masked words. Lab 3."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        check_served(config, {"causal": False, "encoder_layers": 0}, "an encoder's n_layers see everything")
        self.config = config
        self.embedding = Embedding(config)
        self.stack = Stack(config, causal=False)
        self.head = Head(config, self.embedding.tokens)
        initialize(self, config)

    def hidden(
        self,
        tokens: Int[Tensor, "B T"],
        mask: Bool[Tensor, "*#batch #T #T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T C"]:
        """What the last layer says of each token; ``mask`` hides padding (``padding_mask``)."""
        return self.stack(self.embedding(tokens, segments=segments), mask)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        mask: Bool[Tensor, "*#batch #T #T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits at each position for the token that stands there."""
        return self.head(self.hidden(tokens, mask, segments))


class Decoder(nn.Module):
    """Every token sees those before it and itself: made to say what comes next. Lab 3, exercise ``Decoder``."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        check_served(config, {"causal": True, "encoder_layers": 0}, "a decoder's n_layers see what came before")
        self.config = config
        self.embedding = Embedding(config)
        self.stack = Stack(config, causal=True)
        self.head = Head(config, self.embedding.tokens)
        initialize(self, config)

    def hidden(
        self,
        tokens: Int[Tensor, "B T"],
        mask: Bool[Tensor, "*#batch #T #S"] | None = None,
        caches: Sequence[KVCache] | None = None,
    ) -> Float[Tensor, "B T C"]:
        """What the last layer says of each token; with ``caches``, one a layer, tokens are those that come next."""
        self._check(caches)
        return self.stack(self.embedding(tokens, offset_of(caches)), mask, caches=caches)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        mask: Bool[Tensor, "*#batch #T #S"] | None = None,
        caches: Sequence[KVCache] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits at each position for the token that comes after it."""
        return self.head(self.hidden(tokens, mask, caches))

    def _check(self, caches: Sequence[KVCache] | None) -> None:
        if caches is not None and len(caches) != self.config.n_layers:
            raise ValueError(f"{len(caches)} caches for {self.config.n_layers} layers; give each layer its own KVCache")


class EncoderDecoder(nn.Module):
    """An encoder reads the source; a decoder, attending to what it made of it, writes the target. Lab 3.

    Both sides share one embedding, as in the paper and in T5. ``source_mask`` hides padding of the source from both.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        check_served(config, {"causal": True}, "the decoder's n_layers see what came before")
        if not config.encoder_layers:
            raise BadSize(f"encoder_layers=0: there is no encoder; set it, to n_layers={config.n_layers} as usual")
        self.config = config
        encoder = replace(config, n_layers=config.encoder_layers)
        self.embedding = Embedding(config)
        self.encoder = Stack(encoder, causal=False)
        self.decoder = Stack(config, causal=True, cross=True)
        self.head = Head(config, self.embedding.tokens)
        initialize(self, config)
        initialize(self.encoder, encoder)  # to its own depth

    def encode(
        self, source: Int[Tensor, "B S"], source_mask: Bool[Tensor, "*#batch 1 #S"] | None = None
    ) -> Float[Tensor, "B S C"]:
        """The memory: what the encoder says of each token of the source."""
        return self.encoder(self.embedding(source), source_mask)

    def decode(
        self,
        target: Int[Tensor, "B T"],
        memory: Float[Tensor, "B S C"],
        source_mask: Bool[Tensor, "*#batch 1 #S"] | None = None,
    ) -> Float[Tensor, "B T C"]:
        """What the decoder says of each token of the target so far."""
        return self.decoder(self.embedding(target), None, memory, source_mask)

    def forward(
        self,
        source: Int[Tensor, "B S"],
        target: Int[Tensor, "B T"],
        source_mask: Bool[Tensor, "*#batch 1 #S"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits at each position of the target for the token that comes after it."""
        return self.head(self.decode(target, self.encode(source, source_mask), source_mask))
