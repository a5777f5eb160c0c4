"""What a transformer is made of: the sizes and switches that every count starts from."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ..substrate.errors import CourseProblem

PROJECTIONS = "QKVO"
CHOICES = {
    "norm": ("layer", "rms"),
    "positions": ("learned", "rotary", "relative"),
    "activation": ("relu", "gelu", "silu"),
}
SIZES = ("vocabulary", "context", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ffn")
SIZES += ("vocabulary_multiple", "value_multiple")
COUNTS = ("registers", "extra_positions", "norms_per_layer", "segments", "encoder_layers", "buckets")  # may be 0


class BadSize(CourseProblem, ValueError):
    """A size, switch or name that no model can have; the message names it and a valid choice."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of one transformer: a decoder, an encoder, or with ``encoder_layers`` both.

    Sizes count entries, never bytes. ``value_multiple`` is the width of a value head in units of ``head_dim``;
    ``attention_biases`` are the letters of the projections that have a bias; ``sinks`` is a learned logit for each
    query head; ``registers`` are learned vectors that stand before every sequence. ``causal`` says what the
    ``n_layers`` see; ``encoder_layers`` see everything, and then each of the ``n_layers`` has cross-attention and a
    norm for it. ``segments`` are BERT's vectors for first and second sentence, ``head_transform`` its dense layer and
    norm before the logits, ``buckets`` T5's biases for each head, one set for each stack.

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
    vocabulary_multiple: int = 1
    registers: int = 0
    positions: str = "rotary"
    extra_positions: int = 0
    value_multiple: int = 1
    attention_biases: str = ""
    sinks: bool = False
    gated: bool = True
    activation: str = "silu"
    mlp_biases: bool = False
    norm: str = "rms"
    norms_per_layer: int = 2
    embedding_norm: bool = False
    final_norm: bool = True
    qk_norm: bool = False
    tied_head: bool = False
    causal: bool = True
    encoder_layers: int = 0
    segments: int = 0
    head_transform: bool = False
    head_bias: bool = False
    buckets: int = 0

    def __post_init__(self) -> None:
        for field in SIZES + COUNTS:
            check_whole(field, getattr(self, field), at_least=int(field in SIZES))
        if self.n_heads % self.n_kv_heads:
            valid = [n for n in range(1, self.n_heads + 1) if self.n_heads % n == 0]
            nearest = min(valid, key=lambda n: abs(n - self.n_kv_heads))
            raise BadSize(
                f"n_kv_heads={self.n_kv_heads} does not divide n_heads={self.n_heads}; "
                f"the nearest that does is {nearest}"
            )
        for field, choices in CHOICES.items():
            check_one_of(field, getattr(self, field), choices)
        if self.extra_positions and self.positions != "learned":
            raise BadSize(
                f"extra_positions={self.extra_positions} with positions={self.positions!r}, which has no table to add "
                "rows to; set extra_positions=0 or positions='learned'"
            )
        if bool(self.buckets) != (self.positions == "relative"):
            raise BadSize(
                f"buckets={self.buckets} with positions={self.positions!r}; relative positions have buckets, of T5 32, "
                "and others none"
            )
        if unknown := set(self.attention_biases) - set(PROJECTIONS):
            raise BadSize(
                f"attention_biases={self.attention_biases!r} has {sorted(unknown)}; use letters of {PROJECTIONS!r}"
            )

    @property
    def padded_vocabulary(self) -> int:
        """Rows of the embedding for tokens: the vocabulary rounded up to a multiple."""
        return round_up(self.vocabulary, self.vocabulary_multiple)

    @property
    def value_dim(self) -> int:
        """Width of one head of values."""
        return self.value_multiple * self.head_dim


def check_whole(field: str, value: Any, at_least: int = 1) -> None:
    """Raises BadSize unless ``value`` is a whole number of at least ``at_least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value
        valid = max(at_least, round(value)) if whole and abs(value) < 1e18 else at_least
        raise BadSize(
            f"{field}={value!r} is no size; give a whole number of at least {at_least}, the nearest is {valid}"
        )


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
