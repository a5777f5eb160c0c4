"""Parameters of one block, by what they belong to."""

from ..substrate.model_config import ModelConfig, check_served
from .attention_layer import SERVED


def block_parameters(config: ModelConfig, cross: bool = False) -> dict[str, int]:
    """How many numbers one block learns: attention, feed_forward, norms; with ``cross`` two attentions, three norms.

    Equal to what a live ``Block`` holds. Lab 3, exercise ``block_parameters``.
    """
    check_served(config, {**SERVED, "norms_per_layer": 2}, "lab 3's block has none")
    C, D, F = config.d_model, config.head_dim, config.d_ffn
    width = {"Q": config.n_heads * D, "K": config.n_kv_heads * D, "V": config.n_kv_heads * D, "O": C}
    projections = 2 * C * config.n_heads * D + 2 * C * config.n_kv_heads * D
    attention = projections + sum(width[letter] for letter in config.attention_biases)
    into = 2 if config.gated else 1  # matrices from C to F; one more leads back
    feed_forward = (into + 1) * C * F + (into * F + C) * config.mlp_biases
    norm = C * (2 if config.norm == "layer" else 1)
    return {
        "attention": (1 + cross) * attention,
        "feed_forward": feed_forward,
        "norms": (2 + cross) * norm,
    }


def feed_forward_share(config: ModelConfig) -> float:
    """The feed-forward network's part of a block's parameters: two thirds in the model of 2017."""
    counts = block_parameters(config)
    return counts["feed_forward"] / sum(counts.values())
