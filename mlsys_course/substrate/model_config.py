"""What a model is made of: one configuration, which the engine's models, the transformer and accounting all take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from .errors import CourseProblem

PROJECTIONS = "QKVO"
CHOICES = {
    "norm_position": ("pre", "post"),
    "norm": ("layer", "rms"),
    "activation": ("relu", "gelu", "gelu_tanh", "silu"),
    "positions": ("none", "sinusoidal", "learned", "rotary", "relative"),
}
SIZES = ("vocabulary", "context", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ffn")
SIZES += ("vocabulary_multiple", "value_multiple", "max_distance")
COUNTS = ("registers", "extra_positions", "norms_per_layer", "segments", "encoder_layers", "buckets")  # may be 0
OF_POSITIONS = {  # fields that only one kind of positions reads, and what they are elsewhere
    "extra_positions": ("learned", 0),
    "rotary_base": ("rotary", 10000.0),
    "rotary_scaling": ("rotary", None),
    "buckets": ("relative", 0),
    "max_distance": ("relative", 128),
}


class BadSize(CourseProblem, ValueError):
    """A size, switch or name that no model can have; the message names it and a valid choice."""


@dataclass(frozen=True)
class RotaryScaling:
    """How rotary positions that were trained on ``original_context`` tokens are stretched to a longer context.

    A frequency that turns fewer than ``low`` times in the original context is divided by ``factor``, one that turns
    more than ``high`` times stays, and between them the two mix linearly. Source: Grattafiori et al. 2024, "The Llama 3
    herd of models", and its published code, ``apply_scaling``.

    Raises:
        BadSize: numbers that are not positive, or ``low`` not below ``high``.
    """

    factor: float
    low: float = 1.0
    high: float = 4.0
    original_context: int = 8192

    def __post_init__(self) -> None:
        for field in ("factor", "low", "high"):
            check_positive(field, getattr(self, field))
        check_whole("original_context", self.original_context)
        if self.low >= self.high:
            raise BadSize(f"low={self.low} is not below high={self.high}; LLaMA 3.1 has low=1 and high=4")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of one transformer: a decoder, an encoder, or with ``encoder_layers`` both.

    Sizes count entries, never bytes. ``causal`` says what the ``n_layers`` see; ``encoder_layers`` see everything, and
    then each of the ``n_layers`` has cross-attention and a norm for it. ``context`` is the number of rows of learned
    positions, and how long a sequence the model was trained for. ``activation`` with ``gated`` is the SwiGLU kind of
    feed-forward network ("silu", gated=True); "gelu_tanh" is GPT-2's approximation.

    Tokens: the embedding has ``vocabulary`` rows, rounded up to ``vocabulary_multiple``; ``registers`` are learned
    vectors that stand before every sequence, ``segments`` BERT's for first and second sentence. ``embedding_scale``
    multiplies token embeddings by sqrt(d_model); ``embedding_norm`` normalizes them. Positions: ``rotary_base`` and
    ``rotary_scaling`` are of rotary ones; relative ones have ``buckets`` biases for each head, one set for each stack,
    the last for distances from ``max_distance`` on. Attention: ``value_multiple`` is the width of a value head in units
    of ``head_dim``; ``attention_biases`` are the letters among QKVO whose projections have a bias; ``sinks`` is a
    learned logit for each query head. Head: ``head_transform`` is BERT's dense layer and norm before the logits.

    ``fast`` is how PyTorch runs it, by fused kernels for attention and norms: the same results, less time and memory.
    There is no dropout. Who cannot build or count a field refuses it by name.

    Raises:
        BadSize: a size or switch that no model can have; the message names the field and a valid choice.
    """

    vocabulary: int
    context: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ffn: int
    causal: bool = True
    encoder_layers: int = 0
    vocabulary_multiple: int = 1
    registers: int = 0
    segments: int = 0
    embedding_scale: bool = False
    embedding_norm: bool = False
    positions: str = "rotary"
    extra_positions: int = 0
    rotary_base: float = 10000.0
    rotary_scaling: RotaryScaling | None = None
    buckets: int = 0
    max_distance: int = 128
    value_multiple: int = 1
    attention_biases: str = ""
    sinks: bool = False
    qk_norm: bool = False
    activation: str = "silu"
    gated: bool = True
    mlp_biases: bool = False
    norm: str = "rms"
    norm_position: str = "pre"
    norms_per_layer: int = 2
    final_norm: bool = True
    epsilon: float = 1e-5
    tied_head: bool = False
    head_bias: bool = False
    head_transform: bool = False
    fast: bool = False

    def __post_init__(self) -> None:
        for field in SIZES + COUNTS:
            check_whole(field, getattr(self, field), at_least=int(field in SIZES))
        for field in ("epsilon", "rotary_base"):
            check_positive(field, getattr(self, field))
        for field, choices in CHOICES.items():
            check_one_of(field, getattr(self, field), choices)
        for field in fields(self):
            if field.type is bool and not isinstance(value := getattr(self, field.name), bool):
                raise BadSize(f"{field.name}={value!r} is no switch; give True or False")
        if self.n_heads % self.n_kv_heads:
            valid = [n for n in range(1, self.n_heads + 1) if self.n_heads % n == 0]
            nearest = min(valid, key=lambda n: abs(n - self.n_kv_heads))
            raise BadSize(
                f"n_kv_heads={self.n_kv_heads} does not divide n_heads={self.n_heads}; "
                f"the nearest that does is {nearest}"
            )
        if unknown := set(self.attention_biases) - set(PROJECTIONS):
            raise BadSize(
                f"attention_biases={self.attention_biases!r} has {sorted(unknown)}; use letters of {PROJECTIONS!r}"
            )
        self._check_positions()

    def _check_positions(self) -> None:
        """Positions have what they need, and nothing that only others read."""
        for field, (positions, unused) in OF_POSITIONS.items():
            if (value := getattr(self, field)) != unused and self.positions != positions:
                raise BadSize(
                    f"{field}={value!r} with positions={self.positions!r}, which has no use for it; "
                    f"set {field}={unused!r} or positions={positions!r}"
                )
        if self.positions == "rotary" and self.head_dim % 2:
            even = self.head_dim + 1
            raise BadSize(f"head_dim={self.head_dim} is odd, but rotary positions turn pairs; choose head_dim={even}")
        if self.positions == "sinusoidal" and self.d_model % 2:
            even = self.d_model + 1
            raise BadSize(f"d_model={self.d_model} is odd, but sinusoidal positions are pairs; choose d_model={even}")
        if self.rotary_scaling is not None and not isinstance(self.rotary_scaling, RotaryScaling):
            raise BadSize(f"rotary_scaling={self.rotary_scaling!r}; give RotaryScaling(factor=8.0), or None")
        if self.positions == "relative" and (
            not self.buckets or self.buckets % 4 or self.max_distance <= self.buckets // 2
        ):
            raise BadSize(
                f"buckets={self.buckets}, max_distance={self.max_distance}: buckets must be a multiple of 4, "
                "and max_distance more than half of them; T5 has 32 and 128"
            )

    @property
    def padded_vocabulary(self) -> int:
        """Rows of the embedding for tokens: the vocabulary rounded up to a multiple."""
        return round_up(self.vocabulary, self.vocabulary_multiple)

    @property
    def value_dim(self) -> int:
        """Width of one head of values."""
        return self.value_multiple * self.head_dim


def check_served(config: ModelConfig, served: Mapping[str, Any], who: str) -> None:
    """Raises BadSize where a field is not as ``who`` has it; ``served`` gives a value, or a tuple of several."""
    for field, value in served.items():
        choices = value if isinstance(value, tuple) else (value,)
        if (given := getattr(config, field)) not in choices:
            raise BadSize(f"{field}={given!r}: {who}; set {field}={' or '.join(map(repr, choices))}")


def check_whole(field: str, value: Any, at_least: int = 1) -> None:
    """Raises BadSize unless ``value`` is a whole number of at least ``at_least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value
        valid = max(at_least, round(value)) if whole and abs(value) < 1e18 else at_least
        raise BadSize(
            f"{field}={value!r} is no size; give a whole number of at least {at_least}, the nearest is {valid}"
        )


def check_positive(field: str, value: Any, at_most: float | None = None) -> None:
    """Raises BadSize unless ``value`` is a finite number above 0, and at most ``at_most``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf") or (at_most is not None and value > at_most):
        top = "" if at_most is None else f" and at most {at_most:g}"
        raise BadSize(f"{field}={value!r}; give a number above 0{top}")


def check_one_of(field: str, value: Any, choices: Iterable[str]) -> None:
    """Raises BadSize unless ``value`` is one of ``choices``; the message names all, and the one that is meant."""
    names = list(choices)
    if value not in names:
        close = get_close_matches(str(value).lower(), names, n=1, cutoff=0.5)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise BadSize(f"{field}={value!r} is unknown; choose one of {', '.join(map(repr, names))}{meant}")


def head_dim_of(d_model: int, n_heads: int) -> int:
    """The usual head width, ``d_model / n_heads``.

    Raises:
        BadSize: heads that do not divide the width; the message names the nearest width that they divide.
    """
    if n_heads < 1:
        raise BadSize(f"n_heads={n_heads} is no size; give a whole number of at least 1")
    if d_model % n_heads:
        nearest = max(1, round(d_model / n_heads)) * n_heads
        raise BadSize(f"n_heads={n_heads} does not divide d_model={d_model}; choose d_model={nearest}")
    return d_model // n_heads


def round_up(size: int, multiple: int) -> int:
    """``size``, or the next multiple above it: hardware likes widths that fill its tiles."""
    return -(-size // multiple) * multiple


def gated_width(d_model: int, multiple: int = 256) -> int:
    """LLaMA's hidden width: two thirds of the classic ``4 d_model``, since a gated MLP has three matrices for two.

    Source: Shazeer 2020, "GLU variants improve transformer"; Touvron et al. 2023.
    """
    return round_up(8 * d_model // 3, multiple)
