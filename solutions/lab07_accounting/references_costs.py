"""Lab 7, sealed: FLOPs and memory as the exercises have them: the component's figures, and a live layer's."""

from collections.abc import Mapping
from functools import cache

from mlsys_course import accounting
from mlsys_course.accounting import ModelConfig
from mlsys_course.accounting.measured import example, live_decoder, loss_of, saved_bytes
from mlsys_course.accounting.memory import Recipe
from mlsys_course.accounting.recipe import STATES

FLOAT32 = 4
NO_MOMENTS = {"sgd": ("first_moment", "second_moment"), "momentum": ("second_moment",), "adamw": ()}


def decoder(config: Mapping[str, int], **fields) -> ModelConfig:
    """The component's configuration of a plain decoder."""
    sizes = {name: config[name] for name in ("d_model", "n_heads", "n_kv_heads", "head_dim", "d_ffn")}
    fields = {"vocabulary": config.get("vocabulary", 64), "n_layers": config.get("n_layers", 1), "context": 1, **fields}
    return ModelConfig(**sizes, **fields, gated=config["matrices"] == 3)


def forward_flops(config, batch, time, past):
    """The component's operators, in four groups."""
    found = accounting.forward_flops(decoder(config), batch, time, past=past)
    names = {"query": "projections", "key": "projections", "value": "projections", "output": "projections"}
    names |= {"scores": "pairs", "values": "pairs", "logits": "head"}
    return found.grouped(lambda name: names.get(name.partition(".")[2], "mlp")).to_dict()


def training_flops(forward, parameters, tokens, recompute, attention):
    """Forward, backward, and what runs twice."""
    again = {"none": 0, "selective": forward["pairs"], "full": sum(forward.values()) - forward["head"]}[recompute]
    again += forward["pairs"] // 2 if attention == "fused" else 0
    total = sum(forward.values())
    six = accounting.six_nd(parameters, tokens)
    return {"forward": total, "backward": 2 * total, "recompute": again, "six_nd": six}


def model_states(parameters, precision, optimizer):
    """The component's table without the moments that an optimizer has not."""
    terms = {term: width * parameters for term, width in STATES[precision].items()}
    terms |= dict.fromkeys(NO_MOMENTS[optimizer], 0)
    return {**terms, "total": sum(terms.values())}


def activation_bytes(config, batch, time, attention, checkpointing):
    """What a layer's operators keep; the total is that of a live layer, under saved-tensor hooks."""
    tokens, pairs = batch * time, batch * config["n_heads"] * time
    width, heads = config["d_model"], config["n_heads"] * config["head_dim"]
    kv = config["n_kv_heads"] * config["head_dim"]
    if attention == "eager" and checkpointing == "none":
        kv = heads
    inner = (2 if config["matrices"] == 2 else 4) * config["d_ffn"]
    numbers = {
        "input": tokens * width,
        "norms": tokens * (width + 4),
        "attention": tokens * (width + heads + 2 * kv + heads),
        "pairs": {"eager": pairs * time, "fused": pairs}[attention] * (checkpointing == "none"),
        "mlp": tokens * (width + inner),
    }
    if checkpointing == "full":
        numbers = {name: n * (name == "input") for name, n in numbers.items()}
    terms = {name: FLOAT32 * n for name, n in numbers.items()}
    return {**terms, "total": live_layer(tuple(config.items()), batch, time, attention, checkpointing)}


@cache
def live_layer(sizes: tuple[tuple[str, int], ...], batch: int, time: int, attention: str, checkpointing: str) -> int:
    """What autograd keeps of two layers, less what it keeps of one. Each misconception asks for the same ones again."""
    config = dict(sizes)
    recipe = Recipe("float32", attention, False, checkpointing, "adamw", "cpu")
    kept = []
    for layers in (1, 2):
        shape = decoder(config, n_layers=layers, context=time, positions="learned", norm="layer")
        model, inputs = live_decoder(shape, recipe, time), example(shape, batch, time, "cpu")
        kept.append(saved_bytes(model, lambda m=model, i=inputs: loss_of(m, *i, recipe), inputs))
    return kept[1] - kept[0]


def kv_cache(config, batch, time, itemsize, parameters, memory):
    """The component's cache, and by counting up how many sequences fit."""
    shape = decoder(config)
    one = accounting.kv_cache_bytes(shape, 1, time, itemsize)
    free = memory - parameters * itemsize
    cache = accounting.kv_cache_bytes(shape, batch, time, itemsize)
    return {"cache": cache, "largest_batch": max(0, free // one)}
