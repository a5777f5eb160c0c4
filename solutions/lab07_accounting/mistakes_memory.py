"""Lab 7, sealed: misconceptions about model states, caches and peaks."""

from autograder.exercise import Misconception
from autograder.mutated import mutated
from mlsys_course.accounting import peak_memory

from . import references_costs as right

# ---- model_states ----------------------------------------------------------------------------------------------------


def wrong_states(**widths):
    """Other bytes a parameter: by precision, and by optimizer where that has moments."""

    def candidate(parameters, precision, optimizer):
        found = right.model_states(parameters, precision, optimizer)
        found.pop("total")
        for term, width in widths.get(precision, {}).items():
            if found[term] or term in ("master_weights", "weights", "gradients"):
                found[term] = width * parameters
        return {**found, "total": sum(found.values())}

    return candidate


def momentum_has_two(parameters, precision, optimizer):
    """A second moment for all."""
    return right.model_states(parameters, precision, "adamw" if optimizer == "momentum" else optimizer)


def master_with_moments(parameters, precision, optimizer):
    """Master weights only where there are moments."""
    found = right.model_states(parameters, precision, optimizer)
    kept = {**found, "master_weights": 0 if optimizer == "sgd" else found["master_weights"]}
    return {**kept, "total": found["total"] - found["master_weights"] + kept["master_weights"]}


STATES = [
    Misconception(
        "no master weights",
        wrong_states(mixed={"master_weights": 0}),
        "In mixed precision the optimizer adds up updates that 16 bits would lose: where does it keep the sum?",
    ),
    Misconception(
        "16-bit moments",
        wrong_states(mixed={"first_moment": 2, "second_moment": 2}),
        "Of mixed precision the model is in 16 bits: what precision does its optimizer work in?",
    ),
    Misconception(
        "32-bit gradients",
        wrong_states(mixed={"gradients": 4}),
        "A gradient has the precision of the weight that it belongs to.",
    ),
    Misconception(
        "autocast as mixed",
        wrong_states(autocast={"weights": 2, "gradients": 2, "master_weights": 4}),
        "Autocast leaves the parameters as they are: its 16-bit copies come and go with a step.",
    ),
    Misconception(
        "bfloat16 with float32 states",
        wrong_states(bfloat16={"first_moment": 4, "second_moment": 4}),
        "Nothing is in 32 bits in pure bfloat16: PyTorch makes moments like the parameters.",
    ),
    Misconception(
        "master weights go with moments",
        master_with_moments,
        "Does it depend on the optimizer or on the precision whether there is a copy in 32 bits?",
    ),
    Misconception("momentum has two moments", momentum_has_two, "How many numbers does momentum keep a parameter?"),
]

# ---- extensions ------------------------------------------------------------------------------------------------------


def wrong_cache(change):
    """The right answers for other inputs."""

    def candidate(config, batch, time, itemsize, parameters, memory):
        return change(dict(config), batch, time, itemsize, parameters, memory)

    return candidate


def keys_only(config, batch, time, itemsize, parameters, memory):
    cache = right.kv_cache(config, batch, time, itemsize, parameters, memory)["cache"] // 2
    return {"cache": cache, "largest_batch": max(0, (memory - parameters * itemsize) // max(1, cache // batch))}


def weights_free(config, batch, time, itemsize, parameters, memory):
    return right.kv_cache(config, batch, time, itemsize, 0, memory)


def rounded(config, batch, time, itemsize, parameters, memory):
    found = right.kv_cache(config, batch, time, itemsize, parameters, memory)
    one = found["cache"] // batch
    return {**found, "largest_batch": max(0, round((memory - parameters * itemsize) / one + 0.01))}


def negative(config, batch, time, itemsize, parameters, memory):
    found = right.kv_cache(config, batch, time, itemsize, parameters, memory)
    return {**found, "largest_batch": (memory - parameters * itemsize) // (found["cache"] // batch)}


CACHE = [
    Misconception("keys only", wrong_cache(keys_only), "A token leaves two vectors in each head: which?"),
    Misconception(
        "all heads",
        wrong_cache(lambda c, *rest: right.kv_cache({**c, "n_kv_heads": c["n_heads"]}, *rest)),
        "Which heads have keys and values?",
    ),
    Misconception(
        "one layer",
        wrong_cache(lambda c, *rest: right.kv_cache({**c, "n_layers": 1}, *rest)),
        "Each layer has keys and values of its own.",
    ),
    Misconception("weights are free", wrong_cache(weights_free), "What else lies in the card's memory?"),
    Misconception("rounded", wrong_cache(rounded), "Does a sequence fit of which only the larger part fits?"),
    Misconception("below zero", wrong_cache(negative), "What is the answer where not even the weights fit?"),
]


PEAK = [
    Misconception(name, mutated(peak_memory, old, new), hint)
    for name, (old, new, hint) in {
        "nothing is let go": ("now -= alive.pop(name)", "pass", "An event of 0 bytes gives the tensor's bytes back."),
        "what is left": ('now > highest["peak"]', "True", "The end of a step is not its highest point."),
        "the last of equals": ("now >", "now >=", "Of two moments as high, which one is asked for?"),
        "no blocks": (
            "round_up(size, block)", "size", "How many bytes does the allocator take for one of 700 bytes?",
        ),
        "a block too many": (
            "round_up(size, block)", "(size // block + 1) * block",
            "How many blocks does a tensor take that fills its last?",
        ),
    }.items()
]  # fmt: skip
