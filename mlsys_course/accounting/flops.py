"""FLOPs of a step: a plain decoder's by the lecture's formulas, any model's by its operators. A multiply-add is two."""

from collections.abc import Mapping

from ..substrate.model_config import ModelConfig, check_one_of
from .by_operator import MATMUL_CONVENTION, flops_by_operator
from .parameters import parameter_table
from .recipe import CHOICES, check_plain
from .table import Table

OPERATORS = {"scores": "pairs", "values": "pairs", "query": "projections", "key": "projections"}
OPERATORS |= {"value": "projections", "output": "projections"}


def forward_flops(config: ModelConfig, batch: int, time: int, past: int = 0) -> dict[str, int]:
    """Of a plain decoder's matrix products in one forward pass: four terms, each over all layers, and their total.

    ``past`` tokens of each sequence left their keys and values in a cache. Pairs of a query and a key count whether a
    causal mask hides them or not. Raises BadSize for what is no plain decoder. Lab 7, exercise ``forward_flops``.
    """
    check_plain(config, "forward_flops is for plain decoders, flops_by_operator for all")
    layers, tokens, keys = config.n_layers, batch * time, past + time
    d, dim, heads, kv_heads = config.d_model, config.head_dim, config.n_heads, config.n_kv_heads
    multiply_adds = {
        "projections": layers * tokens * d * dim * (heads + 2 * kv_heads + heads),
        "pairs": layers * 2 * batch * heads * time * keys * dim,
        "mlp": layers * tokens * (3 if config.gated else 2) * d * config.d_ffn,
        "head": tokens * d * config.padded_vocabulary,
    }
    terms = {term: 2 * count for term, count in multiply_adds.items()}
    return {**terms, "total": sum(terms.values())}


def training_flops(
    forward: Mapping[str, int], parameters: int, tokens: int, recompute: str = "none", attention: str = "eager"
) -> dict[str, int]:
    """Of a step, from the terms of its forward pass: forward, backward, what is done again, and the rule of thumb.

    Each product of the forward pass has two in the backward pass, one for each factor's gradient. ``recompute`` is what
    checkpointing runs a second time: "full" every layer, "selective" scores and values (Korthikanti et al. 2022).
    "fused" ``attention`` computes its scores again in the backward pass (Dao et al. 2022). The head lies in no layer.
    Lab 7, exercise ``training_flops``.
    """
    check_one_of("recompute", recompute, CHOICES["checkpointing"])
    check_one_of("attention", attention, CHOICES["attention"])
    layers = forward["projections"] + forward["pairs"] + forward["mlp"]
    once = layers + forward["head"]
    again = {"none": 0, "selective": forward["pairs"], "full": layers}[recompute]
    if attention == "fused":
        again += forward["pairs"] // 2
    return {"forward": once, "backward": 2 * once, "recompute": again, "six_nd": six_nd(parameters, tokens)}


def six_nd(parameters: int, tokens: int) -> int:
    """6 N D: two FLOPs a parameter and token forward, four backward. Source: Kaplan et al. 2020.

    It takes every parameter for one of a matrix product and leaves the attention's pairs out.
    """
    return 6 * parameters * tokens


def step_flops(
    config: ModelConfig,
    batch: int,
    time: int,
    *,
    source: int | None = None,
    causal: bool = False,
    recompute: str = "none",
    attention: str = "eager",
) -> Table:
    """FLOPs of any model's training step, matrix products only: forward, backward and recompute."""
    forward = flops_by_operator(config, batch, time, source=source, causal=causal)
    found = training_flops(forward.grouped(_term_of), parameter_table(config).total, batch * time, recompute)
    if attention == "fused":  # scores are half of the pairs only where values are as wide as keys
        found["recompute"] += sum(flops for name, flops in forward.items() if name.endswith(".scores"))
    return Table("FLOPs", {term: found[term] for term in ("forward", "backward", "recompute")}, MATMUL_CONVENTION)


def _term_of(operator: str) -> str:
    """Which of ``forward_flops``' terms an operator belongs to."""
    place, _, name = operator.partition(".")
    return OPERATORS.get(name, place)


def six_nd_error(config: ModelConfig, time: int) -> float:
    """Relative error of 6 N D at sequences of ``time``: negative where it counts too little."""
    return six_nd(parameter_table(config).total, time) / step_flops(config, 1, time).total - 1


def mfu(config: ModelConfig, time: int, tokens_per_second: float, peak_flops: float) -> float:
    """Model FLOPs utilization: FLOPs that the model asks for (forward and backward), of those the hardware could do.

    Source: Chowdhery et al. 2022, "PaLM", appendix B. Lab 7.
    """
    return step_flops(config, 1, time).total / time * tokens_per_second / peak_flops


def hfu(
    config: ModelConfig,
    time: int,
    tokens_per_second: float,
    peak_flops: float,
    *,
    recompute: str = "none",
    attention: str = "eager",
) -> float:
    """Hardware FLOPs utilization: what is computed twice counts twice, so it is at least ``mfu``."""
    step = step_flops(config, 1, time, recompute=recompute, attention=attention)
    return step.total / time * tokens_per_second / peak_flops
