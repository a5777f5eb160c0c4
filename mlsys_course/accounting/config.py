"""What a decoder-only transformer is made of: the sizes and switches that every count starts from."""

from dataclasses import dataclass

PROJECTIONS = "QKVO"
NORMS = ("layer", "rms")
POSITIONS = ("learned", "rotary")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of one decoder-only transformer.

    Sizes count entries, never bytes. ``value_multiple`` is the width of a value head in units of ``head_dim``;
    ``attention_biases`` are the letters of the projections that have a bias; ``sinks`` is a learned logit for each
    query head; ``registers`` are learned vectors that stand before every sequence.

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
    vocabulary_multiple: int = 1
    registers: int = 0
    positions: str = "rotary"
    extra_positions: int = 0
    value_multiple: int = 1
    attention_biases: str = ""
    sinks: bool = False
    gated: bool = True
    mlp_biases: bool = False
    norm: str = "rms"
    norms_per_layer: int = 2
    embedding_norm: bool = False
    final_norm: bool = True
    qk_norm: bool = False
    tied_head: bool = False

    def __post_init__(self) -> None:
        for field in ("vocabulary", "context", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ffn"):
            self._check_whole(field, at_least=1)
        for field in ("vocabulary_multiple", "value_multiple"):
            self._check_whole(field, at_least=1)
        for field in ("registers", "extra_positions", "norms_per_layer"):
            self._check_whole(field, at_least=0)
        if self.n_heads % self.n_kv_heads:
            valid = [n for n in range(1, self.n_heads + 1) if self.n_heads % n == 0]
            nearest = min(valid, key=lambda n: abs(n - self.n_kv_heads))
            raise ValueError(
                f"n_kv_heads={self.n_kv_heads} does not divide n_heads={self.n_heads}; "
                f"the nearest that does is {nearest}"
            )
        self._check_one_of("norm", NORMS)
        self._check_one_of("positions", POSITIONS)
        if self.extra_positions and self.positions != "learned":
            raise ValueError(
                f"extra_positions={self.extra_positions} with positions={self.positions!r}, which has no table to add "
                "rows to; set extra_positions=0 or positions='learned'"
            )
        if unknown := set(self.attention_biases) - set(PROJECTIONS):
            raise ValueError(
                f"attention_biases={self.attention_biases!r} has {sorted(unknown)}; use letters of {PROJECTIONS!r}"
            )

    def _check_whole(self, field: str, at_least: int) -> None:
        value = getattr(self, field)
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise ValueError(f"{field}={value!r} is no size; give a whole number of at least {at_least}")

    def _check_one_of(self, field: str, choices: tuple[str, ...]) -> None:
        if (value := getattr(self, field)) not in choices:
            raise ValueError(f"{field}={value!r} is unknown; choose one of {', '.join(map(repr, choices))}")

    @property
    def padded_vocabulary(self) -> int:
        """Rows of the embedding for tokens: the vocabulary rounded up to a multiple."""
        return round_up(self.vocabulary, self.vocabulary_multiple)


def head_dim_of(d_model: int, n_heads: int) -> int:
    """The usual head width, ``d_model / n_heads``.

    Raises:
        ValueError: heads that do not divide the width; the message names the nearest width that they divide.
    """
    if n_heads < 1:
        raise ValueError(f"n_heads={n_heads} is no size; give a whole number of at least 1")
    if d_model % n_heads:
        nearest = max(1, round(d_model / n_heads)) * n_heads
        raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}; choose d_model={nearest}")
    return d_model // n_heads


def round_up(size: int, multiple: int) -> int:
    """``size``, or the next multiple above it: hardware likes widths that fill its tiles."""
    return -(-size // multiple) * multiple


def gated_width(d_model: int, multiple: int = 256) -> int:
    """LLaMA's hidden width: two thirds of the classic ``4 d_model``, since a gated MLP has three matrices for two.

    Source: Shazeer 2020, "GLU variants improve transformer"; Touvron et al. 2023.
    """
    return round_up(8 * d_model // 3, multiple)
