"""Bytes: the model's states, what autograd keeps, the peak of a training step, and what inference takes."""

from math import prod

from ..substrate.model_config import BadSize, ModelConfig, check_one_of, check_served, check_whole
from .parameters import parameter_table
from .recipe import CHOICES, NOT_KEPT, STATES, Recipe, check_plain
from .table import Table
from .training_step import Step

__all__ = [
    "Recipe",
    "model_states",
    "activation_bytes",
    "kv_cache_bytes",
    "kv_cache",
    "activation_memory",
    "training_memory",
    "memory_timeline",
    "inference_memory",
    "korthikanti",
    "attention_pairs_bytes",
]
FLOAT32 = 4
STEP_CONVENTION = (
    "At the highest point of a step: what the allocator hands out, on a card in its whole blocks. Left out: the CUDA "
    "context, rests of smaller segments that it does not split, and the workspace of the matrix library."
)


def model_states(parameters: int, precision: str = "mixed", optimizer: str = "adamw") -> dict[str, int]:
    """Weights, gradients and the optimizer's states in bytes, and their total; 0 for what a run does not have.

    Bytes a parameter are fixed by the precision, and "momentum" and "sgd" keep fewer moments than "adamw". With
    "mixed", GPT-3's 175 billion take 350 + 350 + 700 + 700 + 700 GB. Source: Rajbhandari et al. 2020, "ZeRO",
    section 3.1. Lab 7, exercise ``model_states``.
    """
    check_whole("parameters", parameters, at_least=0)
    check_one_of("precision", precision, STATES)
    check_one_of("optimizer", optimizer, NOT_KEPT)
    terms = {term: width * parameters for term, width in STATES[precision].items()}
    terms |= dict.fromkeys(NOT_KEPT[optimizer], 0)
    return {**terms, "total": sum(terms.values())}


def activation_bytes(
    config: ModelConfig, batch: int, time: int, attention: str = "fused", checkpointing: str = "none"
) -> dict[str, int]:
    """What autograd keeps of one plain layer for backward, in float32: five terms and their total.

    ``activation_memory`` counts whole models in any precision, operator by operator. Raises BadSize for layers with
    RMSNorm or rotary positions. Lab 7, exercise ``activation_bytes``.
    """
    check_served(config, {"norm": "layer", "positions": ("learned", "none")}, "activation_memory counts such layers")
    check_one_of("attention", attention, CHOICES["attention"])
    check_one_of("checkpointing", checkpointing, CHOICES["checkpointing"])
    tokens, d, heads = batch * time, config.d_model, config.n_heads
    copied = attention == "eager" and checkpointing == "none"  # shared heads, once for each query head
    kv_heads = heads if copied else config.n_kv_heads
    rows = tokens * heads * (checkpointing == "none")  # of what is inside attention
    numbers = {
        "input": tokens * d,
        "norms": tokens * (d + 2 * 2),  # the second one's input; mean and deviation of each
        "attention": tokens * (d + (heads + 2 * kv_heads + heads) * config.head_dim),  # of Q, K, V; these; W^O's input
        "pairs": rows * (time if attention == "eager" else 1),
        "mlp": tokens * (d + (4 if config.gated else 2) * config.d_ffn),  # what enters the bend, and what leaves it
    }
    if checkpointing == "full":
        numbers = {term: count if term == "input" else 0 for term, count in numbers.items()}
    terms = {term: FLOAT32 * count for term, count in numbers.items()}
    return {**terms, "total": sum(terms.values())}


def kv_cache_bytes(config: ModelConfig, batch: int, time: int, itemsize: int = 2) -> int:
    """Keys and values of ``time`` tokens of each sequence, in all layers."""
    check_whole("batch", batch)
    check_whole("time", time)
    token = config.n_layers * config.n_kv_heads * (config.head_dim + config.value_dim)
    return batch * time * token * itemsize


def kv_cache(config: ModelConfig, batch: int, time: int, itemsize: int, parameters: int, memory: int) -> dict[str, int]:
    """Bytes of the "cache", and the "largest_batch" that fits into ``memory`` bytes beside so many parameters.

    Lab 7, extension ``kv_cache``.
    """
    one = kv_cache_bytes(config, 1, time, itemsize)
    return {"cache": batch * one, "largest_batch": max(0, (memory - parameters * itemsize) // one)}


def _step(config: ModelConfig, batch: int, time: int, recipe: Recipe, caching: bool = False) -> Step:
    check_whole("batch", batch)
    check_whole("time", time)
    check_plain(config)
    if config.positions == "learned" and time > config.context:
        raise BadSize(f"time={time} is beyond the {config.context} learned positions; choose at most {config.context}")
    return Step(config, recipe, batch, time, caching)


def activation_memory(config: ModelConfig, batch: int, time: int, recipe: Recipe | None = None) -> Table:
    """Bytes that autograd keeps from the forward pass for backward, by what they are.

    A tensor that several operators keep counts once; parameters and inputs are not counted, autocast's copies of
    weights are. Equal to the storages that saved-tensor hooks see.
    """
    step = _step(config, batch, time, recipe or Recipe())
    step.prepare()
    loss = step.loss(step.inputs())
    step.ops.casts.clear()
    kept = {t: n for t, n in step.memory.terms.items() if t.startswith("activations.") and n}
    del loss
    return Table("bytes", {t.removeprefix("activations."): n for t, n in kept.items()}, "Storages that backward needs.")


def training_memory(config: ModelConfig, batch: int, time: int, recipe: Recipe | None = None) -> Table:
    """Bytes at the peak of a training step on one device: states, activations by what they are, temporaries.

    A step is forward, backward and the optimizer's update; gradients are freed before the next forward pass.
    """
    recipe = recipe or Recipe()
    step = _step(config, batch, time, recipe, caching=recipe.device == "cuda")
    step.run()
    terms, peak = step.memory.terms_at_peak(), step.memory.peak
    update = optimizer_step(step)
    if sum(update.values()) > peak:
        terms = update
    order = ["weights", "gradients", "master_weights", "first_moment", "second_moment", "step_counters"]
    order += ["mask", "inputs"]
    names = [*(t for t in order if terms.get(t)), *sorted(t for t in terms if t not in order and terms[t])]
    return Table("bytes", {name: terms[name] for name in names}, STEP_CONVENTION)


def optimizer_step(step: Step) -> dict[str, int]:
    """What is alive while AdamW updates: all states, all gradients, and its square roots unless fused.

    Over lists of tensors it makes one for every parameter at once; tensor by tensor, two for the largest.
    """
    terms = {t: n for t, n in step.memory.terms.items() if n and not t.startswith("activations.")}
    if step.recipe.optimizer == "adamw":
        width = STATES[step.recipe.precision]["second_moment"]
        sizes = [prod(tensor.shape) * width for tensor in step.parameters.values()]
        roots = sum(map(step.memory.rounded, sizes)) if step.recipe.device == "cuda" else 2 * max(sizes)
        terms["temporaries"] = terms.get("temporaries", 0) + roots
    return terms


def memory_timeline(config: ModelConfig, batch: int, time: int, recipe: Recipe | None = None) -> list[int]:
    """Bytes alive after every allocation and every release of forward and backward: a mountain to look at."""
    recipe = recipe or Recipe()
    step = _step(config, batch, time, recipe, caching=recipe.device == "cuda")
    step.run()
    return list(step.memory.timeline)  # the step's own goes on while the step is let go


def inference_memory(config: ModelConfig, batch: int, time: int, precision: str = "bfloat16") -> Table:
    """Weights, and the cache of ``batch`` sequences that have grown to ``time`` tokens, in bytes."""
    check_one_of("precision", precision, ("bfloat16", "float32"))
    width = STATES[precision]["weights"]
    cache = kv_cache_bytes(config, batch, time, width)
    terms = {"weights": parameter_table(config).total * width, "kv_cache": cache}
    return Table("bytes", terms, "Activations of a decoding step are left out: they are one token's.")


def korthikanti(config: ModelConfig, batch: int, time: int) -> int:
    """The published formula for the activations of all layers in 16 bits: s b h (34 + 5 a s / h) each.

    It holds for GPT's layer with eager attention, dropout with masks of bytes, and a softmax in 16 bits. Source:
    Korthikanti et al. 2022, equation 1.
    """
    s, b, h, a = time, batch, config.d_model, config.n_heads
    return config.n_layers * (34 * s * b * h + 5 * a * s * s * b)


def attention_pairs_bytes(config: ModelConfig, batch: int, time: int, itemsize: int = 2) -> int:
    """One table of N by N scores for each head and sequence, in all layers: the wall that long sequences meet."""
    return config.n_layers * batch * config.n_heads * time * time * itemsize
