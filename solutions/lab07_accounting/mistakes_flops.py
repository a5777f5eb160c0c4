"""Lab 7, sealed: misconceptions about FLOPs."""

from autograder.exercise import Misconception

from . import references_costs as right

# ---- forward_flops ---------------------------------------------------------------------------------------------------


def wrong_forward(change):
    """The table of other inputs, or with other terms; the total follows."""

    def candidate(config, batch, time, past):
        found = change(config, batch, time, past)
        found.pop("total", None)
        return {**found, "total": sum(found.values())}

    return candidate


def other(**changes):
    """The right count for another configuration; a change may be a function of the configuration."""

    def count(config, batch, time, past):
        changed = {name: value(config) if callable(value) else value for name, value in changes.items()}
        return right.forward_flops({**config, **changed}, batch, time, past)

    return wrong_forward(count)


def scaled(**factors):
    """The right count with some terms multiplied."""

    def count(config, batch, time, past):
        found = right.forward_flops(config, batch, time, past)
        return {name: int(flops * factors.get(name, factors.get("all", 1))) for name, flops in found.items()}

    return wrong_forward(count)


def past_again(config, batch, time, past):
    """Keys and values of the past computed again, instead of read from the cache."""
    return right.forward_flops(config, batch, time + past, 0)


def past_projected(config, batch, time, past):
    """All products but the pairs for the past too."""
    found = right.forward_flops(config, batch, time, past)
    return {**past_again(config, batch, time, past), "pairs": found["pairs"]}


def without_past(config, batch, time, past):
    """A cache that nobody looks at."""
    return right.forward_flops(config, batch, time, 0)


def embedding_too(config, batch, time, past):
    """A look-up counted as a product with one-hot vectors."""
    found = right.forward_flops(config, batch, time, past)
    return {**found, "head": 2 * found["head"]}


def causal(config, batch, time, past):
    """Only the pairs that a causal mask leaves."""
    found = right.forward_flops(config, batch, time, past)
    return {**found, "pairs": found["pairs"] * (2 * past + time + 1) // (2 * (past + time))}


def pairs_of_kv_heads(config, batch, time, past):
    """Pairs of the heads of keys, not of queries."""
    found = right.forward_flops(config, batch, time, past)
    return {**found, "pairs": found["pairs"] // config["n_heads"] * config["n_kv_heads"]}


FORWARD = [
    Misconception("a multiply-add is one", scaled(all=0.5), "How many operations is one multiplication with its sum?"),
    Misconception(
        "as many KV heads", other(n_kv_heads=lambda c: c["n_heads"]), "How wide are the outputs of W^K and W^V?"
    ),
    Misconception("one product of pairs", scaled(pairs=0.5), "What happens with the weights after the softmax?"),
    Misconception("past computed again", wrong_forward(past_again), "For which tokens is anything computed?"),
    Misconception(
        "past projected again",
        wrong_forward(past_projected),
        "The cache holds keys and values of the past: which tokens are projected, and go through the MLP?",
    ),
    Misconception("past ignored", wrong_forward(without_past), "How many keys does a new token look at?"),
    Misconception(
        "other number of matrices",
        other(matrices=lambda c: 5 - c["matrices"]),
        "Read `matrices` from the configuration: how many products are there?",
    ),
    Misconception(
        "embedding as a product",
        wrong_forward(embedding_too),
        "Your head is twice as dear: does looking a row up multiply anything?",
    ),
    Misconception(
        "causal discount", wrong_forward(causal), "Which pairs does this exercise count, masked ones too or not?"
    ),
    Misconception(
        "pairs of shared heads",
        wrong_forward(pairs_of_kv_heads),
        "A shared head of keys is looked at by several heads of queries: how many tables of scores are there?",
    ),
    Misconception("one layer", other(n_layers=1), "How often do the parts of a layer occur?"),
]

# ---- training_flops --------------------------------------------------------------------------------------------------


def wrong_training(change):
    """The right table with some terms replaced."""

    def candidate(forward, parameters, tokens, recompute, attention):
        found = right.training_flops(forward, parameters, tokens, recompute, attention)
        return {**found, **change(forward, found, recompute, attention, parameters * tokens)}

    return candidate


def again(full, selective, fused):
    """Other terms that run a second time: each a function of the forward table."""

    def change(forward, found, recompute, attention, nd):
        count = {"none": 0, "selective": selective(forward), "full": full(forward)}[recompute]
        return {"recompute": count + (fused(forward) if attention == "fused" else 0)}

    return wrong_training(change)


def layers(forward):
    return forward["projections"] + forward["pairs"] + forward["mlp"]


def pairs(forward):
    return forward["pairs"]


def half(forward):
    return forward["pairs"] // 2


def fused_beside(forward, recompute, attention):
    """What fused attention adds to a checkpoint's work."""
    return half(forward) if attention == "fused" and recompute != "none" else 0


TRAINING = [
    Misconception(
        "backward as forward",
        wrong_training(lambda f, found, r, a, nd: {"backward": found["forward"]}),
        "A product has two factors: which gradients does its backward compute?",
    ),
    Misconception(
        "backward three times",
        wrong_training(lambda f, found, r, a, nd: {"backward": 3 * found["forward"]}),
        "`backward` is backward alone; the whole step is three times the forward pass.",
    ),
    Misconception(
        "head again",
        again(lambda f: layers(f) + f["head"], pairs, half),
        "Which parts lie inside a checkpointed layer?",
    ),
    Misconception(
        "projections again",
        again(layers, lambda f: f["pairs"] + f["projections"], half),
        "Selective checkpointing keeps queries, keys and values: what has to run again then?",
    ),
    Misconception(
        "both products again",
        again(layers, pairs, pairs),
        "Fused attention kept its output: which of the two products of pairs does its backward need again?",
    ),
    Misconception(
        "fused is free", again(layers, pairs, lambda f: 0), "Fused attention kept no table of weights: what then?"
    ),
    Misconception(
        "fused or checkpointed",
        wrong_training(lambda f, found, r, a, nd: {"recompute": found["recompute"] - fused_beside(f, r, a)}),
        "Fused attention's backward computes a product again. Does it not, where a checkpoint runs the layer again?",
    ),
    Misconception(
        "two a parameter",
        wrong_training(lambda f, found, r, a, nd: {"six_nd": 2 * nd}),
        "2 N D is a forward pass: what comes on top in training?",
    ),
]
