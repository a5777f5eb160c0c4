"""Lab 3's model in the exercise's own shape, of any blocks and norms. Sealed."""

import math

from torch import Tensor, nn

from mlsys_course.attention import causal_mask, learned_positions, sinusoidal_positions


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
