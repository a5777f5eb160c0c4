"""Lab 7, sealed: this term's architecture, cases, misconceptions, points."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from autograder.draw import Draw
from autograder.exercise import Choice, Exercise, Given, Item, Misconception, Question
from mlsys_course.accounting import ModelConfig, parameter_table, round_up

TERMS = ["embedding", "positions", "attention", "mlp", "norms", "head", "total"]
RATIOS = [(8, 3), (10, 3), (7, 2), (5, 2), (9, 2), (11, 4), (16, 5), (18, 5)]
BIASES = ["Q", "V", "O", "QK", "QV", "KV", "VO", "QKV", "QVO", "QKVO"]
LETTERS = {"Q": "query", "K": "key", "V": "value", "O": "output"}


def variants(draw: Draw) -> dict:
    """This term's architecture, and the numbers of its choice question."""
    numerator, denominator = draw.choice(RATIOS)
    v = {
        "vocabulary_multiple": draw.choice([24, 32, 40, 48, 64, 80, 96, 112, 128, 160]),
        "registers": draw.integer(6, 40),
        "extra_positions": draw.choice([0, 6, 7, 8, 9, 10, 12]),
        "value_multiple": draw.choice([1, 2, 3]),
        "attention_biases": draw.choice(BIASES),
        "sinks": draw.choice([False, True]),
        "gated": draw.choice([False, True]),
        "mlp_biases": draw.choice([False, True]),
        "ffn_numerator": numerator,
        "ffn_denominator": denominator,
        "ffn_multiple": draw.choice([24, 40, 48, 56, 72, 80, 88, 96, 104, 112, 120, 128]),
        "norm": draw.choice(["layer", "rms"]),
        "norms_per_layer": draw.choice([1, 2, 3, 4]),
        "embedding_norm": draw.choice([False, True]),
        "qk_norm": draw.choice([False, True]),
        "tied_head": draw.choice([False, True]),
    }
    return {**v, **stated(v), **saving_question(draw)}


def stated(v: Mapping) -> dict[str, str]:
    """The same in the words of the lab's table."""
    names = [LETTERS[letter] for letter in v["attention_biases"]]
    matrices = "three (gate, up, down)" if v["gated"] else "two (up, down)"
    kind = "LayerNorm, with gain and bias" if v["norm"] == "layer" else "RMSNorm, with gain and without bias"
    return {
        "positions_text": f"learned, a vector each for `context + {v['extra_positions']}` positions"
        if v["extra_positions"]
        else "rotary",
        "biases_text": " and ".join([", ".join(names[:-1]), names[-1]] if names[:-1] else names),
        "sinks_text": "one learned sink for each query head of each layer" if v["sinks"] else "no sinks",
        "matrices_text": matrices,
        "ratio_text": f"{v['ffn_numerator']}/{v['ffn_denominator']}",
        "mlp_biases_text": "each with a bias" if v["mlp_biases"] else "without biases",
        "norm_text": kind,
        "norms_where_text": f"{v['norms_per_layer']} in each layer over `d_model`, "
        + ("one after the embedding, " if v["embedding_norm"] else "none after the embedding, ")
        + "one before the head; "
        + ("and in each layer one for queries and one for keys" if v["qk_norm"] else "none for queries and keys"),
        "norms_width_text": ", each over `head_dim` and shared by the layer's heads" if v["qk_norm"] else "",
        "head_text": "tied to the embedding" if v["tied_head"] else "a matrix of its own (untied)",
    }


def saving_question(draw: Draw) -> dict[str, str]:
    """Numbers for ``kv_saving``: what grouped-query attention removes from a layer."""
    kv_heads, group = draw.choice([4, 6, 8, 10]), draw.choice([4, 6, 8, 12, 16])
    head_dim = draw.choice([64, 96, 128, 160])
    heads = kv_heads * group
    d_model = heads * head_dim
    removed = d_model * (heads - kv_heads) * head_dim  # of one of W^K and W^V
    answer, *others = 2 * removed, removed, 4 * removed, 2 * d_model * kv_heads * head_dim
    options = [f"{count:,}" for count in draw.shuffled([answer, *others])]
    return {
        "saving_width": f"{d_model:,}",
        "saving_heads": str(heads),
        "saving_kv_heads": str(kv_heads),
        "saving_head_dim": str(head_dim),
        "saving_options": " | ".join(options),
        "saving_answer": f"{answer:,}",
    }


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
        return parameter_table(change(architecture(v, config)))

    return candidate


def one_head_output(v: Mapping) -> Callable:
    """W^O as the notes write it."""

    def candidate(config: Mapping[str, int]) -> dict[str, int]:
        table = counted(v)(config)
        slices = config["d_model"] * config["head_dim"] * v["value_multiple"]
        missing = config["n_layers"] * slices * (config["n_heads"] - 1)
        return {**table, "attention": table["attention"] - missing, "total": table["total"] - missing}

    return candidate


def mistakes(v: Mapping) -> list[Misconception]:
    """Slips that are possible in this term's architecture."""
    rotary = {"positions": "rotary", "extra_positions": 0}
    other_norm = "rms" if v["norm"] == "layer" else "layer"
    exact_width = lambda c: -(-v["ffn_numerator"] * c.d_model // v["ffn_denominator"])  # noqa: E731
    found = [
        ("output_one_head", None, "What is the width of all heads' outputs side by side, as W^O receives them?"),
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
            lambda c: replace(c, d_ffn=exact_width(c)),
            "d_ffn itself is rounded up before any matrix has that width.",
        ),
        ("final_norm", lambda c: replace(c, final_norm=False), "Is there a norm that belongs to no layer?"),
        ("norm_bias", lambda c: replace(c, norm=other_norm), "What is learned in this kind of norm, for each channel?"),
    ]
    if v["value_multiple"] > 1:
        hint = "How wide is a head of values, compared with one of queries? Follow that width through W^O."
        found.append(("value_width", lambda c: replace(c, value_multiple=1), hint))
    if v["sinks"]:
        found.append(("sinks", lambda c: replace(c, sinks=False), "One learned number for each query head is missing."))
    return [
        Misconception(name, counted(v, change) if change else one_head_output(v), hint) for name, change, hint in found
    ]


def cases(v: Mapping) -> Callable[[Draw], list[Given]]:
    """Cases by aspect; each names the terms that it asks for."""
    multiple, ratio = v["vocabulary_multiple"], (v["ffn_numerator"], v["ffn_denominator"])

    def sizes(draw: Draw, **fixed: int) -> dict[str, int]:
        """Random sizes where padding, rounding and grouping all matter, save for what is ``fixed``."""
        kv_heads = draw.integer(2, 6)
        d_model = 8 * draw.integer(12, 200)
        while ratio[0] * d_model % (ratio[1] * v["ffn_multiple"]) in range(8 * ratio[1]):
            d_model += 8
        drawn = {
            "vocabulary": multiple * draw.integer(30, 900) - draw.integer(6, multiple - 1),
            "context": draw.integer(64, 4096),
            "d_model": d_model,
            "n_layers": draw.integer(2, 48),
            "n_heads": kv_heads * draw.integer(2, 6),
            "n_kv_heads": kv_heads,
            "head_dim": 8 * draw.integer(2, 16),
        }
        return {**drawn, **fixed}

    def given(draw: Draw) -> list[Given]:
        def case(name: str, aspect: str, terms: list[str], public: bool = False, **fixed: int) -> Given:
            return Given(name, aspect, {"config": sizes(draw, **fixed), "terms": terms}, public)

        vectors, heads = ["embedding", "positions", "head"], draw.integer(3, 12)
        unrounded = ratio[1] * v["ffn_multiple"] * draw.integer(2, 9)
        return [
            case("vectors and head", "embedding", vectors, True),
            case("tiny vocabulary", "embedding", vectors, vocabulary=draw.integer(2, multiple - 6)),
            case("no padding needed", "embedding", vectors, vocabulary=multiple * draw.integer(9, 99)),
            case("grouped queries", "attention", ["attention"], True),
            case("one key and value head", "attention", ["attention"], n_heads=heads, n_kv_heads=1),
            case("a key and value head each", "attention", ["attention"], n_heads=heads, n_kv_heads=heads),
            case("heads wider than the model", "attention", ["attention"], d_model=64, head_dim=128),
            case("feed-forward", "mlp", ["mlp"], True),
            case("no rounding needed", "mlp", ["mlp"], d_model=unrounded),
            case("norms", "norms", ["norms"], True),
            case("norms of one layer", "norms", ["norms"], n_layers=1),
            case("whole table", "total", TERMS, True),
            case("whole table of one layer", "total", TERMS, n_layers=1),
            case("whole table, large", "total", TERMS, d_model=8 * draw.integer(1500, 2500), n_layers=126),
        ]

    return given


def exercises(v: dict) -> list[Item]:
    """Lab 7's items for one term."""
    table = Exercise(
        id="parameter_table",
        component="mlsys_course.accounting.parameter_table",
        reference=counted(v),
        points={"embedding": 3, "attention": 4, "mlp": 4, "norms": 2, "total": 2},
        cases=cases(v),
        misconceptions=mistakes(v),
    )
    saving = Choice("kv_saving", 3, v["saving_options"].split(" | "), v["saving_answer"])
    rubric = [
        (
            2,
            "names the terms that grow with d_model (vectors, norms) and those that grow with its square (matrices)",
        ),
        (2, "reads a crossing or a share off the figure with its numbers, and says which term rules at each end"),
        (
            2,
            "draws a consequence: what a larger vocabulary or tying costs a small model, and why it hardly shows later",
        ),
    ]
    return [table, saving, Question("where_they_are", rubric)]
