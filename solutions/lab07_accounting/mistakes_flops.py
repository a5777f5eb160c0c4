"""Lab 7, sealed: misconceptions about FLOPs."""

from autograder.mutated import wrong
from mlsys_course.accounting import forward_flops, training_flops

PAIRS = "layers * 2 * batch * heads * time * keys * dim"
PROJECTED_AGAIN = ("batch * time, past + time", "batch * (past + time), past + time")

mistake = wrong(forward_flops)
FORWARD = [
    mistake("a multiply-add is one", "How many operations is one multiplication with its sum?", "2 * count", "count"),
    mistake("as many KV heads", "How wide are the outputs of W^K and W^V?", "config.n_kv_heads", "config.n_heads"),
    mistake("one product of pairs", "What happens with the weights after the softmax?", "layers * 2 *", "layers *"),
    mistake("past computed again", "For which tokens is anything computed?",
        *PROJECTED_AGAIN, PAIRS, PAIRS.replace("time", "keys")),
    mistake("past projected again",
        "The cache holds keys and values of the past: which tokens are projected, and go through the MLP?",
        *PROJECTED_AGAIN),
    mistake("past ignored", "How many keys does a new token look at?", "past + time", "time"),
    mistake("other number of matrices", "Read `gated` from the configuration: how many products are there?",
        "3 if config.gated else 2", "2 if config.gated else 3"),
    mistake("embedding as a product", "Your head is twice as dear: does looking a row up multiply anything?",
        '"head": tokens', '"head": 2 * tokens'),
    mistake("causal discount", "Which pairs does this exercise count, masked ones too or not?",
        PAIRS, "layers * batch * heads * time * (past + keys + 1) * dim"),
    mistake("pairs of shared heads",
        "A shared head of keys is looked at by several heads of queries: how many tables of scores are there?",
        PAIRS, PAIRS.replace("heads", "kv_heads")),
    mistake("one layer", "How often do the parts of a layer occur?", "config.n_layers", "1"),
]  # fmt: skip

mistake = wrong(training_flops)
TRAINING = [
    mistake("backward as forward", "A product has two factors: which gradients does its backward compute?",
        "2 * once", "once"),
    mistake("backward three times", "`backward` is backward alone; the whole step is three times the forward pass.",
        "2 * once", "3 * once"),
    mistake("head again", "Which parts lie inside a checkpointed layer?", '"full": layers', '"full": once'),
    mistake("projections again", "Selective checkpointing keeps queries, keys and values: what has to run again then?",
        '"selective": forward["pairs"]', '"selective": forward["pairs"] + forward["projections"]'),
    mistake("both products again",
        "Fused attention kept its output: which of the two products of pairs does its backward need again?",
        'forward["pairs"] // 2', 'forward["pairs"]'),
    mistake("fused is free", "Fused attention kept no table of weights: what then?", 'forward["pairs"] // 2', "0"),
    mistake("fused or checkpointed",
        "Fused attention's backward computes a product again. Does it not, where a checkpoint runs the layer again?",
        'attention == "fused"', 'attention == "fused" and recompute == "none"'),
    mistake("two a parameter", "2 N D is a forward pass: what comes on top in training?",
        "6 * parameters", "2 * parameters"),
]  # fmt: skip
