"""Lab 7, sealed: misconceptions about model states, activations, caches and peaks."""

from autograder.mutated import wrong
from mlsys_course.accounting import activation_bytes, kv_cache, model_states, peak_memory
from mlsys_course.accounting.recipe import NOT_KEPT, STATES

# ---- model_states ----------------------------------------------------------------------------------------------------


def states(precision, **widths):
    """The table with other bytes a parameter."""
    return {**STATES, precision: {**STATES[precision], **widths}}


mistake = wrong(model_states)
MODEL_STATES = [
    mistake("no master weights",
        "In mixed precision the optimizer adds up updates that 16 bits would lose: where does it keep the sum?",
        STATES=states("mixed", master_weights=0)),
    mistake("16-bit moments", "Of mixed precision the model is in 16 bits: what precision does its optimizer work in?",
        STATES=states("mixed", first_moment=2, second_moment=2)),
    mistake("32-bit gradients", "A gradient has the precision of the weight that it belongs to.",
        STATES=states("mixed", gradients=4)),
    mistake("autocast as mixed",
        "Autocast leaves the parameters as they are: its 16-bit copies come and go with a step.",
        STATES=states("autocast", weights=2, gradients=2, master_weights=4)),
    mistake("bfloat16 with float32 states",
        "Nothing is in 32 bits in pure bfloat16: PyTorch makes moments like the parameters.",
        STATES=states("bfloat16", first_moment=4, second_moment=4)),
    mistake("master weights go with moments",
        "Does it depend on the optimizer or on the precision whether there is a copy in 32 bits?",
        NOT_KEPT={**NOT_KEPT, "sgd": (*NOT_KEPT["sgd"], "master_weights")}),
    mistake("momentum has two moments", "How many numbers does momentum keep a parameter?",
        NOT_KEPT={**NOT_KEPT, "momentum": ()}),
]  # fmt: skip

# ---- activation_bytes ------------------------------------------------------------------------------------------------

NORMS, HEADS, INPUT = "(d + 2 * 2)", "(heads + 2 * kv_heads + heads)", 'count if term == "input"'
mistake = wrong(activation_bytes)
ACTIVATIONS = [
    mistake("pairs forgotten", "What does the softmax's backward need, and the product after it?",
        "(time if attention", "(0 if attention"),
    mistake("scores and weights",
        "Of scores and weights only one is asked for on the way back: softmax's gradient is a function of its output.",
        "(time if attention", "(2 * time if attention"),
    mistake("pairs of shared heads", "How many heads have a row of pairs of their own?",
        "tokens * heads *", "tokens * config.n_kv_heads *"),
    mistake("input three times", "Queries, keys and values are made of one tensor: how often does it lie in memory?",
        "(d + (heads", "(3 * d + (heads"),
    mistake("sums kept", "Does the gradient of a sum depend on what was added?", NORMS, "(d + 2 * 2 + 2 * d)"),
    mistake("statistics forgotten", "A norm keeps two numbers for each token beside its input.", NORMS, "d"),
    mistake("non-linearity forgotten", "What does a non-linearity's gradient depend on?",
        "4 if config.gated else 2", "3 if config.gated else 1"),
    mistake("heads not repeated",
        "Without a fused kernel shared heads are copied for each query head before the product: the copies are kept.",
        "heads if copied else config.n_kv_heads", "config.n_kv_heads"),
    mistake("heads repeated everywhere",
        "Which ways keep keys and values as they were projected, for `n_kv_heads` only?",
        "heads if copied else config.n_kv_heads", "heads"),
    mistake("checkpoint without inputs", "From what does a selective checkpoint compute its inside again?",
        HEADS, "(heads + (heads + 2 * kv_heads) * (checkpointing == 'none'))"),
    mistake("two inputs", "A checkpoint of the whole layer keeps one tensor: what is it?",
        INPUT, 'tokens * d if term in ("input", "norms")'),
    mistake("norms in full", "A checkpoint of the whole layer runs its norms again, too: what do they keep until then?",
        INPUT, 'count if term in ("input", "norms")'),
    mistake("16 bits", "How many bytes has a number in float32?", FLOAT32=2),
    mistake("fused keeps no rows",
        "Fused attention keeps no table of pairs. What does it keep of the softmax for each query?",
        '"eager" else 1)', '"eager" else 0)'),
    mistake("rows in a checkpoint",
        "Selective checkpointing keeps nothing of the inside of attention: is what the softmax left not inside?",
        '(checkpointing == "none")', '(checkpointing == "none" or attention == "fused")'),
    mistake("output twice", "What attention puts out is what $W^O$ receives: how often does it lie in memory?",
        HEADS, "(heads + 2 * kv_heads + 2 * heads)"),
    mistake("input of the MLP forgotten",
        "The first products of the MLP ask for what they multiply: which tensor is it?",
        "(d + (4", "((4"),
]  # fmt: skip

# ---- extensions ------------------------------------------------------------------------------------------------------

BOTH, FITS = "(config.head_dim + config.value_dim)", "max(0, (memory - parameters * itemsize) // one)"
mistake = wrong(kv_cache)
CACHE = [
    mistake("keys only", "A token leaves two vectors in each head: which?", BOTH, "config.head_dim"),
    mistake("all heads", "Which heads have keys and values?", "config.n_kv_heads", "config.n_heads"),
    mistake("one layer", "Each layer has keys and values of its own.", "config.n_layers * ", ""),
    mistake("weights are free", "What else lies in the card's memory?", "(memory - parameters * itemsize)", "memory"),
    mistake("rounded", "Does a sequence fit of which only the larger part fits?",
        FITS, "max(0, round((memory - parameters * itemsize) / one + 0.01))"),
    mistake("below zero", "What is the answer where not even the weights fit?", FITS, FITS[len("max(0, ") : -1]),
]  # fmt: skip

BLOCKS = "round_up(size, block)"
mistake = wrong(peak_memory)
PEAK = [
    mistake("nothing is let go", "An event of 0 bytes gives the tensor's bytes back.",
        "now -= alive.pop(name)", "pass"),
    mistake("what is left", "The end of a step is not its highest point.", 'now > highest["peak"]', "True"),
    mistake("the last of equals", "Of two moments as high, which one is asked for?", "now >", "now >="),
    mistake("no blocks", "How many bytes does the allocator take for one of 700 bytes?", BLOCKS, "size"),
    mistake("a block too many", "How many blocks does a tensor take that fills its last?",
        BLOCKS, "(size // block + 1) * block"),
]  # fmt: skip
