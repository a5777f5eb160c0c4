"""Lab 7, sealed: misconceptions about what autograd keeps."""

from autograder.exercise import Misconception

from . import references_costs as right


def wrong_kept(change, in_full=False):
    """The right terms with some changed, ``in_full`` also of a layer that keeps its input only; the total follows."""

    def candidate(config, batch, time, attention, checkpointing):
        found = right.activation_bytes(config, batch, time, attention, checkpointing)
        found.pop("total")
        tokens, full = 4 * batch * time, checkpointing == "full"
        found = {name: int(size) for name, size in change(config, found, tokens, attention, checkpointing).items()}
        if full and not in_full:
            found = {name: size * (name == "input") for name, size in found.items()}
        return {**found, "total": sum(found.values())}

    return candidate


def added(term, numbers):
    """So many numbers more a token in one term."""

    def change(config, found, tokens, attention, checkpointing):
        return {**found, term: found[term] + tokens * numbers(config, attention, checkpointing)}

    return wrong_kept(change)


def full_keeps_more(config, found, tokens, attention, checkpointing):
    """A checkpointed layer that keeps the input of each half."""
    return {**found, "norms": tokens * config["d_model"]} if checkpointing == "full" else found


def full_keeps_norms(config, found, tokens, attention, checkpointing):
    """A checkpointed layer that keeps all that its norms keep."""
    return {**found, "norms": tokens * (config["d_model"] + 4)} if checkpointing == "full" else found


def sixteen_bits(config, found, tokens, attention, checkpointing):
    return {name: size // 2 for name, size in found.items()}


def without_rows(config, found, tokens, attention, checkpointing):
    return {**found, "pairs": 0 if attention == "fused" else found["pairs"]}


def rows_in_selective(config, found, tokens, attention, checkpointing):
    """Fused attention's number for each query and head, where nothing of its inside is kept."""
    rows = attention == "fused" and checkpointing == "selective"
    return {**found, "pairs": tokens * config["n_heads"] if rows else found["pairs"]}


def without_pairs(config, found, tokens, attention, checkpointing):
    return {**found, "pairs": 0 if attention == "eager" else found["pairs"]}


def pairs_of_kv(config, found, tokens, attention, checkpointing):
    return {**found, "pairs": found["pairs"] * config["n_kv_heads"] // config["n_heads"]}


def score_tables(config, found, tokens, attention, checkpointing):
    return {**found, "pairs": found["pairs"] * (2 if attention == "eager" else 1)}


def kv_width(config, heads):
    return 2 * config["head_dim"] * heads


def unrepeated(config, attention, checkpointing):
    """Eager attention without the copies of shared heads."""
    repeated = attention == "eager" and checkpointing == "none"
    return kv_width(config, config["n_kv_heads"] - config["n_heads"]) if repeated else 0


def repeated_everywhere(config, attention, checkpointing):
    """Copies of shared heads where nobody makes or keeps them."""
    repeated = attention == "eager" and checkpointing == "none"
    return 0 if repeated or checkpointing == "full" else kv_width(config, config["n_heads"] - config["n_kv_heads"])


def only_output(config, attention, checkpointing):
    """A checkpoint that keeps nothing of what it starts from."""
    selective = -config["head_dim"] * (config["n_heads"] + 2 * config["n_kv_heads"])
    return selective if checkpointing == "selective" else 0


ACTIVATIONS = [
    Misconception(
        "pairs forgotten", wrong_kept(without_pairs), "What does the softmax's backward need, and the product after it?"
    ),
    Misconception(
        "scores and weights",
        wrong_kept(score_tables),
        "Of scores and weights only one is asked for on the way back: softmax's gradient is a function of its output.",
    ),
    Misconception("pairs of shared heads", wrong_kept(pairs_of_kv), "How many heads have a row of pairs of their own?"),
    Misconception(
        "input three times",
        added("attention", lambda c, a, k: 2 * c["d_model"]),
        "Queries, keys and values are made of one tensor: how often does it lie in memory?",
    ),
    Misconception(
        "sums kept",
        added("norms", lambda c, a, k: 2 * c["d_model"]),
        "Does the gradient of a sum depend on what was added?",
    ),
    Misconception(
        "statistics forgotten",
        added("norms", lambda c, a, k: -4),
        "A norm keeps two numbers for each token beside its input.",
    ),
    Misconception(
        "non-linearity forgotten",
        added("mlp", lambda c, a, k: -c["d_ffn"]),
        "What does a non-linearity's gradient depend on?",
    ),
    Misconception(
        "heads not repeated",
        added("attention", unrepeated),
        "Without a fused kernel shared heads are copied for each query head before the product: the copies are kept.",
    ),
    Misconception(
        "heads repeated everywhere",
        added("attention", repeated_everywhere),
        "Which ways keep keys and values as they were projected, for `n_kv_heads` only?",
    ),
    Misconception(
        "checkpoint without inputs",
        added("attention", only_output),
        "From what does a selective checkpoint compute its inside again?",
    ),
    Misconception(
        "two inputs",
        wrong_kept(full_keeps_more, in_full=True),
        "A checkpoint of the whole layer keeps one tensor: what is it?",
    ),
    Misconception(
        "norms in full",
        wrong_kept(full_keeps_norms, in_full=True),
        "A checkpoint of the whole layer runs its norms again, too: what do they keep until then?",
    ),
    Misconception("16 bits", wrong_kept(sixteen_bits, in_full=True), "How many bytes has a number in float32?"),
    Misconception(
        "fused keeps no rows",
        wrong_kept(without_rows),
        "Fused attention keeps no table of pairs. What does it keep of the softmax for each query?",
    ),
    Misconception(
        "rows in a checkpoint",
        wrong_kept(rows_in_selective),
        "Selective checkpointing keeps nothing of the inside of attention: is what the softmax left not inside?",
    ),
    Misconception(
        "output twice",
        added("attention", lambda c, a, k: c["n_heads"] * c["head_dim"]),
        "What attention puts out is what $W^O$ receives: how often does it lie in memory?",
    ),
    Misconception(
        "input of the MLP forgotten",
        added("mlp", lambda c, a, k: -c["d_model"]),
        "The first products of the MLP ask for what they multiply: which tensor is it?",
    ),
]
