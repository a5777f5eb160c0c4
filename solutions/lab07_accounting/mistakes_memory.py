"""Lab 7, sealed: misconceptions about model states, activations, caches and peaks."""

from autograder.mutated import wrong
from mlsys_course.accounting import activation_bytes, kv_cache, model_states, peak_memory
from mlsys_course.accounting.recipe import NOT_KEPT, STATES

# ---- model_states ----------------------------------------------------------------------------------------------------

state = wrong(model_states)


def states(precision, **widths):
    """The table with other bytes a parameter."""
    return {**STATES, precision: {**STATES[precision], **widths}}


MODEL_STATES = [
    state(
        "no master weights",
        "In mixed precision the optimizer adds up updates that 16 bits would lose: where does it keep the sum?",
        STATES=states("mixed", master_weights=0),
    ),
    state(
        "16-bit moments",
        "Of mixed precision the model is in 16 bits: what precision does its optimizer work in?",
        STATES=states("mixed", first_moment=2, second_moment=2),
    ),
    state(
        "32-bit gradients",
        "A gradient has the precision of the weight that it belongs to.",
        STATES=states("mixed", gradients=4),
    ),
    state(
        "autocast as mixed",
        "Autocast leaves the parameters as they are: its 16-bit copies come and go with a step.",
        STATES=states("autocast", weights=2, gradients=2, master_weights=4),
    ),
    state(
        "bfloat16 with float32 states",
        "Nothing is in 32 bits in pure bfloat16: PyTorch makes moments like the parameters.",
        STATES=states("bfloat16", first_moment=4, second_moment=4),
    ),
    state(
        "master weights go with moments",
        "Does it depend on the optimizer or on the precision whether there is a copy in 32 bits?",
        NOT_KEPT={**NOT_KEPT, "sgd": (*NOT_KEPT["sgd"], "master_weights")},
    ),
    state(
        "momentum has two moments",
        "How many numbers does momentum keep a parameter?",
        NOT_KEPT={**NOT_KEPT, "momentum": ()},
    ),
]

# ---- activation_bytes ------------------------------------------------------------------------------------------------

kept = wrong(activation_bytes)
NORMS, HEADS, INPUT = "(d + 2 * 2)", "(heads + 2 * kv_heads + heads)", 'count if term == "input"'
ACTIVATIONS = [
    kept(
        "pairs forgotten",
        "What does the softmax's backward need, and the product after it?",
        "(time if attention",
        "(0 if attention",
    ),
    kept(
        "scores and weights",
        "Of scores and weights only one is asked for on the way back: softmax's gradient is a function of its output.",
        "(time if attention",
        "(2 * time if attention",
    ),
    kept(
        "pairs of shared heads",
        "How many heads have a row of pairs of their own?",
        "tokens * heads *",
        "tokens * config.n_kv_heads *",
    ),
    kept(
        "input three times",
        "Queries, keys and values are made of one tensor: how often does it lie in memory?",
        "(d + (heads",
        "(3 * d + (heads",
    ),
    kept("sums kept", "Does the gradient of a sum depend on what was added?", NORMS, "(d + 2 * 2 + 2 * d)"),
    kept("statistics forgotten", "A norm keeps two numbers for each token beside its input.", NORMS, "d"),
    kept(
        "non-linearity forgotten",
        "What does a non-linearity's gradient depend on?",
        "4 if config.gated else 2",
        "3 if config.gated else 1",
    ),
    kept(
        "heads not repeated",
        "Without a fused kernel shared heads are copied for each query head before the product: the copies are kept.",
        "heads if copied else config.n_kv_heads",
        "config.n_kv_heads",
    ),
    kept(
        "heads repeated everywhere",
        "Which ways keep keys and values as they were projected, for `n_kv_heads` only?",
        "heads if copied else config.n_kv_heads",
        "heads",
    ),
    kept(
        "checkpoint without inputs",
        "From what does a selective checkpoint compute its inside again?",
        HEADS,
        "(heads + (heads + 2 * kv_heads) * (checkpointing == 'none'))",
    ),
    kept(
        "two inputs",
        "A checkpoint of the whole layer keeps one tensor: what is it?",
        INPUT,
        'tokens * d if term in ("input", "norms")',
    ),
    kept(
        "norms in full",
        "A checkpoint of the whole layer runs its norms again, too: what do they keep until then?",
        INPUT,
        'count if term in ("input", "norms")',
    ),
    kept("16 bits", "How many bytes has a number in float32?", FLOAT32=2),
    kept(
        "fused keeps no rows",
        "Fused attention keeps no table of pairs. What does it keep of the softmax for each query?",
        '"eager" else 1)',
        '"eager" else 0)',
    ),
    kept(
        "rows in a checkpoint",
        "Selective checkpointing keeps nothing of the inside of attention: is what the softmax left not inside?",
        '(checkpointing == "none")',
        '(checkpointing == "none" or attention == "fused")',
    ),
    kept(
        "output twice",
        "What attention puts out is what $W^O$ receives: how often does it lie in memory?",
        HEADS,
        "(heads + 2 * kv_heads + 2 * heads)",
    ),
    kept(
        "input of the MLP forgotten",
        "The first products of the MLP ask for what they multiply: which tensor is it?",
        "(d + (4",
        "((4",
    ),
]

# ---- extensions ------------------------------------------------------------------------------------------------------

cache, peak = wrong(kv_cache), wrong(peak_memory)
BOTH, FITS = "(config.head_dim + config.value_dim)", "max(0, (memory - parameters * itemsize) // one)"
CACHE = [
    cache("keys only", "A token leaves two vectors in each head: which?", BOTH, "config.head_dim"),
    cache("all heads", "Which heads have keys and values?", "config.n_kv_heads", "config.n_heads"),
    cache("one layer", "Each layer has keys and values of its own.", "config.n_layers * ", ""),
    cache("weights are free", "What else lies in the card's memory?", "(memory - parameters * itemsize)", "memory"),
    cache(
        "rounded",
        "Does a sequence fit of which only the larger part fits?",
        FITS,
        "max(0, round((memory - parameters * itemsize) / one + 0.01))",
    ),
    cache("below zero", "What is the answer where not even the weights fit?", FITS, FITS[len("max(0, ") : -1]),
]

BLOCKS = "round_up(size, block)"
PEAK = [
    peak("nothing is let go", "An event of 0 bytes gives the tensor's bytes back.", "now -= alive.pop(name)", "pass"),
    peak("what is left", "The end of a step is not its highest point.", 'now > highest["peak"]', "True"),
    peak("the last of equals", "Of two moments as high, which one is asked for?", "now >", "now >="),
    peak("no blocks", "How many bytes does the allocator take for one of 700 bytes?", BLOCKS, "size"),
    peak(
        "a block too many",
        "How many blocks does a tensor take that fills its last?",
        BLOCKS,
        "(size // block + 1) * block",
    ),
]
