"""Lab 7, sealed: what the term draws, cases and points. Misconceptions and the other cases stand beside."""

from collections.abc import Callable, Mapping
from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Exercise, Given, Item, Question, calls, exercises_of
from mlsys_course import accounting

from . import cases_costs as costs
from . import cases_plan as plans
from . import mistakes_flops, mistakes_memory, mistakes_plan
from .mistakes_parameters import counted, mistakes
from .mistakes_traffic import TRAFFIC

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
            "vocabulary": multiple * draw.integer(30, 900) - draw.integer(1, min(v["registers"], multiple) - 1),
            "context": draw.integer(64, 4096),
            "d_model": d_model,
            "n_layers": draw.integer(2, 48),
            "n_heads": kv_heads * draw.integer(2, 6),
            "n_kv_heads": kv_heads,
            "head_dim": 8 * draw.integer(2, 16),
        }
        return {**drawn, **fixed}

    def just_over(draw: Draw) -> int:
        """A d_model whose share is less than one over a multiple; any, where there is none in this term."""
        step, first = ratio[1] * v["ffn_multiple"], draw.integer(100, 900)
        return next((d for d in range(first, first + step) if 0 < ratio[0] * d % step < ratio[1]), first)

    def given(draw: Draw) -> list[Given]:
        def case(name: str, aspect: str, terms: list[str], public: bool = False, **fixed: int) -> Given:
            return Given(name, aspect, {"config": sizes(draw, **fixed), "terms": terms}, public)

        def of(terms: list[str], **fixed: int) -> dict[str, Any]:
            return dict(case("", "", terms, **fixed).inputs)

        squares = [
            {"n_heads": n, "n_kv_heads": k, "head_dim": 24, "d_model": 24 * n} for n, k in ((4, 2), (6, 6), (3, 1))
        ]
        vectors, heads = ["embedding", "positions", "head"], draw.integer(3, 12)
        unrounded = ratio[1] * v["ffn_multiple"] * draw.integer(2, 9)
        return [
            case("vectors and head", "embedding", vectors, True),
            case("tiny vocabulary", "embedding", vectors, vocabulary=draw.integer(2, multiple - 6)),
            case("no padding needed", "embedding", vectors, True, vocabulary=multiple * draw.integer(9, 99)),
            case("grouped queries", "attention", ["attention"], True),
            case("one key and value head", "attention", ["attention"], n_heads=heads, n_kv_heads=1),
            case("a key and value head each", "attention", ["attention"], n_heads=heads, n_kv_heads=heads),
            case("heads wider than the model", "attention", ["attention"], d_model=64, head_dim=128),
            case("feed-forward", "mlp", ["mlp"], True),
            case("no rounding needed", "mlp", ["mlp"], True, d_model=unrounded),
            case("just over a multiple", "mlp", ["mlp"], True, d_model=just_over(draw)),
            case("norms", "norms", ["norms"], True),
            case("norms of one layer", "norms", ["norms"], n_layers=1),
            case("whole table", "total", TERMS, True),
            case("whole table of one layer", "total", TERMS, n_layers=1),
            case("whole table, large", "total", TERMS, d_model=8 * draw.integer(1500, 2500), n_layers=126),
            Given(
                "feed-forward of any width",
                "mlp",
                calls(*(of(["mlp"], d_model=d, n_layers=1) for d in range(288, 300))),
            ),
            Given(
                "heads as wide as the model", "attention", calls(*(of(["attention"], **square) for square in squares))
            ),
            case(
                "numbers that no float holds",
                "total",
                TERMS,
                d_model=10**17 + 3,
                vocabulary=10**17 + 9,
                n_layers=10**6 + 3,
            ),
        ]

    return given


exercise = exercises_of(accounting)


def exercises(v: dict) -> list[Item]:
    """Lab 7's items for one term, in the notebook's order; extensions give 28 points more."""
    return [*_parameters(v), *_costs(), *_plans(), *_extensions()]


def _parameters(v: dict) -> list[Item]:
    points = {"embedding": 4, "attention": 4, "mlp": 4, "norms": 2, "total": 3}
    why = "a term draws one architecture, whose table a student writes; the component counts any ModelConfig"
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
    return [
        exercise("parameter_table", points, cases(v), mistakes(v), reference=counted(v), differs=why),
        Choice("kv_saving", 3, v["saving_options"].split(" | "), v["saving_answer"]),
        Question("where_they_are", rubric),
    ]


def _costs() -> list[Exercise]:
    """FLOPs, states, activations."""
    layers = {"layers": 5, "pairs": 5, "head": 2}
    twice = {"backward": 2, "selective": 1, "full": 2, "fused": 2, "six_nd": 1}
    states = {"plain": 2, "mixed": 3, "autocast": 2}
    kept = {"network": 5, "attention": 6, "checkpointing": 4, "total": 3}
    flops, memory = mistakes_flops, mistakes_memory
    return [
        exercise("forward_flops", layers, costs.forward_cases, flops.FORWARD),
        exercise("training_flops", twice, costs.training_cases, flops.TRAINING),
        exercise("model_states", states, costs.states_cases, memory.MODEL_STATES),
        exercise("activation_bytes", kept, costs.activation_cases, memory.ACTIVATIONS),
    ]


def _plans() -> list[Exercise]:
    """Traffic, GPUs, schedule."""
    carried = {"ring": 3, "tree": 3, "zero": 4, "padding": 3}
    times = {"step": 4, "run": 4, "reached": 3}
    return [
        exercise("traffic", carried, plans.traffic_cases, TRAFFIC),
        exercise("gpus_needed", {"exact": 3, "boxes": 2}, plans.gpus_cases, mistakes_plan.GPUS),
        exercise("schedule", times, plans.schedule_cases, mistakes_plan.SCHEDULE),
    ]


def _extensions() -> list[Exercise]:
    """Inference, the peak of a timeline, the roofline, stages of ZeRO."""
    cache, peak = {"cache": 3, "largest_batch": 3}, {"peak": 4, "blocks": 2}
    roof, stages = {"intensity": 3, "speed": 3, "bound": 2}, {"bytes": 4, "stage": 2, "ranks": 2}
    memory, plan, more = mistakes_memory, mistakes_plan, {"kind": "extension"}
    return [
        exercise("kv_cache", cache, costs.cache_cases, memory.CACHE, **more),
        exercise("peak_memory", peak, costs.peak_cases, memory.PEAK, **more),
        exercise("roofline", roof, plans.roofline_cases, plan.ROOFLINE, **more),
        exercise("zero_stage", stages, plans.zero_cases, plan.ZERO, **more),
    ]
