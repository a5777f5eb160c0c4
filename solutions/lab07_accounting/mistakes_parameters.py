"""Lab 7, sealed: this term's architecture, and misconceptions about its parameters."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from autograder.exercise import Misconception
from mlsys_course.accounting import ModelConfig, parameter_table, round_up


def architecture(v: Mapping, sizes: Mapping[str, int]) -> ModelConfig:
    """This term's model at the given sizes."""
    d_ffn = -(-v["ffn_numerator"] * sizes["d_model"] // v["ffn_denominator"])
    same = ("vocabulary_multiple", "registers", "extra_positions", "value_multiple", "attention_biases", "sinks")
    same += ("gated", "mlp_biases", "norm", "norms_per_layer", "embedding_norm", "qk_norm", "tied_head")
    return ModelConfig(
        **sizes,
        d_ffn=round_up(d_ffn, v["ffn_multiple"]),
        positions="learned" if v["extra_positions"] else "rotary",
        **{name: v[name] for name in same},
    )


def counted(v: Mapping, change: Callable[[ModelConfig], ModelConfig] = lambda c: c) -> Callable:
    """A candidate that counts this term's model, or what a mistake takes it for."""

    def candidate(config: Mapping[str, int]) -> dict[str, int]:
        return parameter_table(change(architecture(v, config))).to_dict()

    return candidate


def one_head_output(v: Mapping) -> Callable:
    """W^O as the notes write it."""

    def candidate(config: Mapping[str, int]) -> dict[str, int]:
        table = counted(v)(config)
        slices = config["d_model"] * config["head_dim"] * v["value_multiple"]
        missing = config["n_layers"] * slices * (config["n_heads"] - 1)
        return {**table, "attention": table["attention"] - missing, "total": table["total"] - missing}

    return candidate


def changed(v: Mapping, term: str, difference: Callable[[ModelConfig], int]) -> Callable:
    """A candidate whose term is off by so much, and its total with it."""

    def candidate(config: Mapping[str, int]) -> dict[str, int]:
        table, off = counted(v)(config), difference(architecture(v, config))
        return {**table, term: table[term] + off, "total": table["total"] + off}

    return candidate


def rounded_together(c: ModelConfig) -> int:
    """Registers taken for tokens before the vocabulary is rounded up."""
    together = round_up(c.vocabulary + c.registers, c.vocabulary_multiple)
    return (together - c.padded_vocabulary - c.registers) * c.d_model


def narrow_output(c: ModelConfig) -> int:
    """W^O for heads as wide as the queries'."""
    return -c.n_layers * c.d_model * c.n_heads * (c.value_dim - c.head_dim)


def biases_of_inputs(c: ModelConfig) -> int:
    """Biases as long as their matrices' inputs."""
    value = c.n_kv_heads * c.value_dim
    lengths = {"Q": c.n_heads * c.head_dim, "K": c.n_kv_heads * c.head_dim, "V": value, "O": c.d_model}
    inputs = {"Q": c.d_model, "K": c.d_model, "V": c.d_model, "O": c.n_heads * c.value_dim}
    return c.n_layers * sum(inputs[letter] - lengths[letter] for letter in c.attention_biases)


def norms_by_head(c: ModelConfig) -> int:
    """A norm of its own for each head of queries and of keys."""
    return c.n_layers * (c.n_heads + c.n_kv_heads - 2) * c.head_dim * (2 if c.norm == "layer" else 1)


def narrow_values(c: ModelConfig) -> int:
    """W^V, and its bias, for heads as wide as the keys'."""
    bias = "V" in c.attention_biases
    return -c.n_layers * (c.d_model + bias) * c.n_kv_heads * (c.value_dim - c.head_dim)


def exact_width(v: Mapping, c: ModelConfig) -> int:
    """d_ffn before it is rounded to its multiple: the next whole number."""
    return -(-v["ffn_numerator"] * c.d_model // v["ffn_denominator"])


def floors(v: Mapping) -> bool:
    """Whether rounding d_ffn down to a whole number first ever matters."""
    step = v["ffn_denominator"] * v["ffn_multiple"]
    return any(0 < v["ffn_numerator"] * d % step < v["ffn_denominator"] for d in range(step))


def of_every_term(v: Mapping) -> list[tuple[str, Callable, str]]:
    """Name, change and hint of what a model may be taken for in any term."""
    rotary = {"positions": "rotary", "extra_positions": 0}
    other_norm = "rms" if v["norm"] == "layer" else "layer"
    return [
        ("kv_heads", lambda c: replace(c, n_kv_heads=c.n_heads), "How many heads do keys and values have here?"),
        (
            "matrices",
            lambda c: replace(c, gated=not c.gated),
            "How many matrices has the feed-forward network of this term's table, and does yours count as many?",
        ),
        (
            "biases",
            lambda c: replace(c, attention_biases="", mlp_biases=False),
            "Read again which projections have a bias; a bias is as long as the outputs of its matrix.",
        ),
        (
            "padding",
            lambda c: replace(c, vocabulary_multiple=1),
            "How many rows does the embedding have in memory, and the head with it?",
        ),
        (
            "head",
            lambda c: replace(c, tied_head=not c.tied_head),
            "Is the head a tensor of its own in this term's table? A tensor counts once.",
        ),
        ("registers", lambda c: replace(c, registers=0), "The registers are learned too: where do they count?"),
        (
            "positions",
            lambda c: replace(c, **(rotary if c.positions == "learned" else {"positions": "learned"})),
            "Which kind of positions is learned, and which is computed?",
        ),
        (
            "rounding",
            lambda c: replace(c, d_ffn=exact_width(v, c)),
            "d_ffn itself is rounded up before any matrix has that width.",
        ),
        (
            "one_more",
            lambda c: replace(c, vocabulary=c.vocabulary + 1, d_ffn=round_up(exact_width(v, c) + 1, v["ffn_multiple"])),
            "What does your rounding make of a number that is a multiple already?",
        ),
        (
            "mlp_biases",
            lambda c: replace(c, mlp_biases=not c.mlp_biases),
            "Read again whether the feed-forward matrices have biases, and how long the last one's is.",
        ),
        ("final_norm", lambda c: replace(c, final_norm=False), "Is there a norm that belongs to no layer?"),
        ("norm_bias", lambda c: replace(c, norm=other_norm), "What is learned in this kind of norm, for each channel?"),
    ]


def of_this_term(v: Mapping) -> list[tuple[str, Callable, str]]:
    """Those that another term's architecture may not have."""
    found = []
    if v["value_multiple"] > 1:
        hint = "How wide is a head of values, compared with one of queries? Follow that width through W^O."
        found.append(("value_width", lambda c: replace(c, value_multiple=1), hint))
    if v["norms_per_layer"] != 2:
        hint = "How many norms over `d_model` has a layer of this term's table?"
        found.append(("two_norms", lambda c: replace(c, norms_per_layer=2), hint))
    if floors(v):
        hint = "You round twice. What becomes of a width that is a fraction over a multiple?"
        width = lambda c: v["ffn_numerator"] * c.d_model // v["ffn_denominator"]  # noqa: E731
        change = lambda c: replace(c, d_ffn=round_up(width(c), v["ffn_multiple"]))  # noqa: E731
        found.append(("rounded_twice", change, hint))
    if v["sinks"]:
        found.append(("sinks", lambda c: replace(c, sinks=False), "One learned number for each query head is missing."))
    if v["qk_norm"]:
        hint = "Two norms of each layer are narrower than the others: which?"
        found.append(("qk_norm", lambda c: replace(c, qk_norm=False), hint))
    if v["extra_positions"]:
        hint = "How many rows has the table of positions? The model's table says more than `context`."
        found.append(("extra_positions", lambda c: replace(c, extra_positions=0), hint))
    return found


def by_difference(v: Mapping) -> list[tuple[str, str, Callable, str]]:
    """Name, term, by how much it is off, and hint of what no configuration says."""
    found = []
    hint = "A bias is added to what its matrix puts out. How long is that, and how long is yours?"
    found.append(("biases_of_inputs", "attention", biases_of_inputs, hint))
    hint = "`n_heads * head_dim` need not be `d_model`: how wide are all queries side by side?"
    square = lambda c: c.n_layers * c.d_model * (c.d_model - c.n_heads * c.head_dim)  # noqa: E731
    found.append(("square_queries", "attention", square, hint))
    if v["sinks"]:
        hint = "How many sinks has a layer: one, or one for each of something?"
        one = lambda c: c.n_layers * (1 - c.n_heads)  # noqa: E731
        found.append(("one_sink", "attention", one, hint))
    if v["qk_norm"]:
        hint = "Has each head a gain of its own in the norms of queries and keys, or do a layer's heads share one?"
        found.append(("norms_by_head", "norms", norms_by_head, hint))
    if v["registers"] % v["vocabulary_multiple"]:  # else they fill whole blocks, and it is the same
        hint = "Is a register a token? Only the vocabulary is rounded up; the registers come on top."
        found.append(("rounded_together", "embedding", rounded_together, hint))
    if v["value_multiple"] > 1:
        hint = "W^V is as wide as it should be, and W^O is not: what are its inputs?"
        found.append(("narrow_output", "attention", narrow_output, hint))
        hint = "W^O takes the wide values, and W^V does not make them: how wide are its outputs?"
        found.append(("narrow_values", "attention", narrow_values, hint))
    return found


def mistakes(v: Mapping) -> list[Misconception]:
    """Slips that are possible in this term's architecture."""
    hint = "What is the width of all heads' outputs side by side, as W^O receives them?"
    return [
        Misconception("output_one_head", one_head_output(v), hint),
        *(Misconception(name, counted(v, change), hint) for name, change, hint in of_every_term(v) + of_this_term(v)),
        *(Misconception(name, changed(v, term, off), hint) for name, term, off, hint in by_difference(v)),
    ]
