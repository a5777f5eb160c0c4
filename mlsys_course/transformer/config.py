"""One configuration for the model of 2017 and for LLaMA: the table of their differences, as switches."""

from dataclasses import dataclass

CHOICES = {
    "norm_position": ("pre", "post"),
    "norm": ("layer", "rms"),
    "activation": ("relu", "gelu", "gelu_tanh", "silu"),
    "positions": ("none", "sinusoidal", "learned", "rotary", "relative"),
}


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and switches of a transformer, whether encoder, decoder or both.

    ``activation`` with ``gated`` is the SwiGLU kind of feed-forward network ("silu", gated=True). ``attention_biases``
    are the letters among QKVO whose projections have a bias. ``context`` is the number of rows of learned positions;
    other positions have no limit. ``relative`` positions have ``buckets`` biases for each head, the last for distances
    from ``max_distance`` on. ``embedding_scale`` multiplies token embeddings by sqrt(d_model); ``embedding_norm``
    normalizes them; ``head_transform`` puts BERT's dense layer before the logits. ``fast`` runs attention and norms by
    PyTorch's fused kernels: the same results, less time and memory. There is no dropout.

    Raises:
        ValueError: a size or switch that no model can have; the message names the field and a valid choice.
    """

    vocabulary: int
    context: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ffn: int
    norm_position: str = "pre"
    norm: str = "rms"
    epsilon: float = 1e-5
    activation: str = "silu"
    gated: bool = True
    positions: str = "rotary"
    rotary_base: float = 10000.0
    buckets: int = 32
    max_distance: int = 128
    attention_biases: str = ""
    mlp_biases: bool = False
    tied_head: bool = False
    head_bias: bool = False
    head_transform: bool = False
    embedding_norm: bool = False
    embedding_scale: bool = False
    fast: bool = False

    def __post_init__(self) -> None:
        sizes = (
            "vocabulary",
            "context",
            "d_model",
            "n_layers",
            "n_heads",
            "n_kv_heads",
            "head_dim",
            "d_ffn",
            "buckets",
        )
        for field in sizes:
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{field}={value!r} is no size; give a whole number of at least 1")
        for field, choices in CHOICES.items():
            if (value := getattr(self, field)) not in choices:
                raise ValueError(f"{field}={value!r} is unknown; choose one of {', '.join(map(repr, choices))}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads={self.n_kv_heads} does not divide n_heads={self.n_heads}; choose a divisor")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} is odd, but rotary positions turn pairs; choose an even one")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"d_model={self.d_model} is odd, but sinusoidal positions come in pairs; make it even")
        if self.buckets % 4 or self.max_distance <= self.buckets // 2:
            raise ValueError(
                f"buckets={self.buckets}, max_distance={self.max_distance}: buckets must be a multiple of 4, "
                "and max_distance more than half of them"
            )
        if unknown := set(self.attention_biases) - set("QKVO"):
            raise ValueError(f"attention_biases={self.attention_biases!r} has {sorted(unknown)}; use letters of 'QKVO'")

    @property
    def final_norm(self) -> bool:
        """Pre-norm leaves the sum of all sublayers unnormalized, so a norm follows the last block."""
        return self.norm_position == "pre"


def head_dim_of(d_model: int, n_heads: int) -> int:
    """The usual head width, ``d_model / n_heads``; ValueError where heads do not divide the width."""
    if n_heads < 1 or d_model % n_heads:
        nearest = max(1, round(d_model / max(1, n_heads))) * max(1, n_heads)
        raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}; choose d_model={nearest}")
    return d_model // n_heads
