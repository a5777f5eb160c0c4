"""Lab 7's exercises on FLOPs and memory: right answers of another style pass, slips beyond the misconceptions lose."""

import math
from dataclasses import replace

import pytest

from mlsys_course.accounting import activation_bytes
from mlsys_course.accounting.measured import example, live_decoder, loss_of, saved_bytes
from mlsys_course.accounting.recipe import Recipe
from tests.labs import TermLab

LAB = TermLab("lab07_accounting")
ITEMS, verdict = LAB.items, LAB.verdict
pytestmark = pytest.mark.usefixtures("one_thread")


# ---- right, and unusual ----------------------------------------------------------------------------------------------


def forward_by_products(config, batch, time, past=0):
    """Every product by its three sizes, layer by layer and head by head."""
    found: dict[str, int] = dict.fromkeys(("projections", "pairs", "mlp", "head"), 0)

    def product(term, rows, inner, columns):
        found[term] += rows * columns * (inner + inner)

    d, dim, rows = config.d_model, config.head_dim, batch * time
    for _ in range(config.n_layers):
        for width in (config.n_heads, config.n_kv_heads, config.n_kv_heads):
            product("projections", rows, d, width * dim)
        product("projections", rows, config.n_heads * dim, d)
        for _ in range(config.n_heads):
            product("pairs", rows, dim, past + time)
            product("pairs", rows, past + time, dim)
        for _ in range(1 + config.gated):
            product("mlp", rows, d, config.d_ffn)
        product("mlp", rows, config.d_ffn, d)
    product("head", rows, d, config.vocabulary)
    found["total"] = sum(found.values())
    return found


def training_step_by_step(forward, parameters, tokens, recompute="none", attention="eager"):
    once = 0
    for flops in forward.values():
        once += flops
    twice = []
    if recompute == "full":
        twice += [flops for term, flops in forward.items() if term != "head"]
    elif recompute == "selective":
        twice.append(forward["pairs"])
    if attention == "fused":
        twice.append(forward["pairs"] >> 1)
    return {"six_nd": tokens * parameters * 6, "recompute": sum(twice), "backward": once + once, "forward": once}


def states_from_a_table(parameters, precision="mixed", optimizer="adamw"):
    names = ["weights", "gradients", "master_weights", "first_moment", "second_moment"]
    widths = {"float32": "44044", "autocast": "44044", "bfloat16": "22022", "mixed": "22444"}[precision]
    moments = {"adamw": 2, "momentum": 1, "sgd": 0}[optimizer]
    sizes = [int(width) * parameters for width in widths[: 3 + moments]] + [0] * (2 - moments)
    return dict(zip([*names, "total"], [*sizes, sum(sizes)], strict=True))


def kept_tensor_by_tensor(config, batch, time, attention="fused", checkpointing="none"):
    """A list of shapes for each term."""
    d, h, k, dim, f = config.d_model, config.n_heads, config.n_kv_heads, config.head_dim, config.d_ffn
    x, head = (batch, time, d), (batch, time, dim)
    terms = {"input": [x], "norms": [], "attention": [], "pairs": [], "mlp": []}
    if checkpointing != "full":
        copies = h if attention == "eager" and checkpointing == "none" else k
        terms["norms"] = [x] + [(batch, time)] * 4
        terms["attention"] = [x] + [head] * (h + copies + copies + h)
        terms["mlp"] = [x] + [(batch, time, f)] * (4 if config.gated else 2)
        if checkpointing == "none":
            terms["pairs"] = [(batch, h, time, time) if attention == "eager" else (batch, h, time)]
    found = {term: sum(math.prod(shape) * 4 for shape in shapes) for term, shapes in terms.items()}
    return found | {"total": sum(found.values())}


def cache_by_search(config, batch, time, itemsize, parameters, memory):
    one = sum(2 * config.head_dim * itemsize * time for _ in range(config.n_layers * config.n_kv_heads))
    fits = 0
    while parameters * itemsize + (fits + 1) * one <= memory:
        fits += 1
    return {"largest_batch": fits, "cache": one * batch}


def peak_by_snapshots(events, block):
    snapshots, alive = [], {}
    for name, size in events:
        alive = (
            {**alive, name: math.ceil(size / block) * block} if size else {k: v for k, v in alive.items() if k != name}
        )
        snapshots.append(alive)
    at = max(range(len(events)), key=lambda n: (sum(snapshots[n].values()), -n))
    return {"peak": sum(snapshots[at].values()), "at": at, "alive": snapshots[at]}


RIGHT = {
    "forward_flops": forward_by_products,
    "training_flops": training_step_by_step,
    "model_states": states_from_a_table,
    "activation_bytes": kept_tensor_by_tensor,
    "kv_cache": cache_by_search,
    "peak_memory": peak_by_snapshots,
}


@pytest.mark.parametrize("exercise", RIGHT)
def test_a_right_answer_of_another_style_scores_full_marks(exercise: str) -> None:
    found = verdict(exercise, RIGHT[exercise])
    assert found.ok, [(result.case, result.wrong) for result in found.results if not result.ok]


# ---- wrong in new ways -----------------------------------------------------------------------------------------------


def after(exercise: str, change):
    """The right answer, then a change that may look at the arguments."""

    def candidate(*arguments):
        return change(RIGHT[exercise](*arguments), *arguments)

    return candidate


WRONG = {
    ("forward_flops", "no output projection"): lambda f, c, b, t, p=0: {
        **f, "projections": f["projections"] * (2 * c.n_heads + 2 * c.n_kv_heads - c.n_heads)
        // (2 * c.n_heads + 2 * c.n_kv_heads)
    },
    ("forward_flops", "heads fill the width"): lambda f, c, b, t, p=0: {
        **f, "pairs": f["pairs"] * c.d_model // (c.n_heads * c.head_dim)
    },
    ("forward_flops", "the past attends too"): lambda f, c, b, t, p=0: {**f, "pairs": f["pairs"] * (p + t) // t},
    ("forward_flops", "2n - 1"): lambda f, c, b, t, p=0: {
        **f, "head": b * t * c.vocabulary * (2 * c.d_model - 1)
    },
    ("forward_flops", "head in each layer"): lambda f, c, b, t, p=0: {**f, "head": f["head"] * c.n_layers},
    ("forward_flops", "total of the layers"): lambda f, c, b, t, p=0: {**f, "total": f["total"] - f["head"]},
    ("training_flops", "backward with recompute"): lambda f, *a: {**f, "backward": f["backward"] + f["recompute"]},
    ("training_flops", "fused only unless checkpointed"): lambda f, w, n, t, r="none", a="eager": {
        **f, "recompute": f["recompute"] - (w["pairs"] // 2 if a == "fused" and r != "none" else 0)
    },
    ("training_flops", "six a parameter"): lambda f, w, n, t, r="none", a="eager": {**f, "six_nd": 6 * n},
    ("model_states", "momentum keeps the second"): lambda f, n, p="mixed", o="adamw": {
        **f, "first_moment": 0, "second_moment": f["first_moment"]
    } if o == "momentum" else f,
    ("model_states", "no master weights without moments"): lambda f, n, p="mixed", o="adamw": {
        **f, "master_weights": 0, "total": f["total"] - f["master_weights"]
    } if o == "sgd" else f,
    ("activation_bytes", "mask counted"): lambda f, c, b, t, a="fused", k="none": {
        **f, "pairs": f["pairs"] + t * t if a == "eager" else f["pairs"]
    },
    ("activation_bytes", "one number a token"): lambda f, c, b, t, a="fused", k="none": {
        **f, "norms": f["norms"] - 8 * b * t if f["norms"] else 0
    },
    ("activation_bytes", "gate's product not kept"): lambda f, c, b, t, a="fused", k="none": {
        **f, "mlp": f["mlp"] - 4 * b * t * c.d_ffn if c.gated and f["mlp"] else f["mlp"]
    },
    ("activation_bytes", "fused keeps no output"): lambda f, c, b, t, a="fused", k="none": {
        **f, "attention": f["attention"] - 4 * b * t * c.n_heads * c.head_dim * (a == "fused" and f["mlp"] > 0)
    },
    ("activation_bytes", "one logarithm a token"): lambda f, c, b, t, a="fused", k="none": {
        **f, "pairs": f["pairs"] // (c.n_heads if a == "fused" else 1)
    },
    ("activation_bytes", "full as selective"): lambda f, c, b, t, a="fused", k="none": kept_tensor_by_tensor(
        c, b, t, a, "selective" if k == "full" else k
    ),
    ("activation_bytes", "a checkpoint keeps fused attention's rows"): lambda f, c, b, t, a="fused", k="none": {
        **f, "pairs": 4 * b * t * c.n_heads if (a, k) == ("fused", "selective") else f["pairs"]
    },
    ("activation_bytes", "total is typed in"): lambda f, *a: {**f, "total": f["total"] + 4},
    ("kv_cache", "one too few"): lambda f, *a: {**f, "largest_batch": max(0, f["largest_batch"] - 1)},
    ("kv_cache", "weights in two bytes"): lambda f, c, b, t, i, n, m: {
        **f, "largest_batch": max(0, (m - 2 * n) // (f["cache"] // b))
    },
    ("peak_memory", "event after"): lambda f, *a: {**f, "at": f["at"] + 1},
    ("peak_memory", "nothing said of what is alive"): lambda f, *a: {**f, "alive": {}},
    ("peak_memory", "blocks of 512"): lambda f, events, block: peak_by_snapshots(events, 512),
}  # fmt: skip


@pytest.mark.parametrize(("exercise", "slip"), WRONG)
def test_a_slip_loses_points(exercise: str, slip: str) -> None:
    found = verdict(exercise, after(exercise, WRONG[exercise, slip]))
    assert found.score < found.max_score


def live_layer(config, batch: int, time: int, attention: str, checkpointing: str) -> int:
    """What autograd keeps of two layers, less what it keeps of one."""
    recipe, kept = Recipe("float32", attention, False, checkpointing, "adamw", "cpu"), []
    for layers in (1, 2):
        shape = replace(config, n_layers=layers, context=time, positions="learned", vocabulary=64)
        model, inputs = live_decoder(shape, recipe, time), example(shape, batch, time, "cpu")
        kept.append(saved_bytes(model, lambda m=model, i=inputs: loss_of(m, *i, recipe), inputs))
    return kept[1] - kept[0]


def test_the_total_is_what_a_live_layer_keeps() -> None:
    """In every case that asks for it; the terms are by formula, and neither knows of the other."""

    def candidate(config, batch, time, attention="fused", checkpointing="none"):
        table = activation_bytes(config, batch, time, attention, checkpointing)
        assert table.pop("total") == sum(table.values())
        return {**table, "total": live_layer(config, batch, time, attention, checkpointing)}

    found = verdict("activation_bytes", candidate)
    assert found.ok, [(result.case, result.wrong) for result in found.results if not result.ok]
