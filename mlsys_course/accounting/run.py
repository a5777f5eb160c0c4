"""A training run and how long it takes: a model, a token budget, a card, a wire, and what is assumed."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from ..substrate.model_config import BadSize, ModelConfig, check_one_of, check_positive, check_whole
from .flops import step_flops
from .gpus import Gpu, dtype_named, gpu_named
from .links import Link, link_named
from .recipe import Recipe, check_plain
from .traffic import ceil_div

DAY = 24 * 3600
GPUS_IN_A_BOX = 8  # joined by NVLink; beyond them every GPU has a network card, and a ring's slowest wire counts
MFU = 0.4  # LLaMA-3.1 405B had 38 to 43% on H100s (Grattafiori et al. 2024, table 4)
LONGEST = 8192  # tokens of a sequence where the context is longer and nothing is said: long contexts come late
BATCH_TOKENS = 4 * 2**20  # a step of LLaMA-2's pretraining has 4 million tokens (Touvron et al. 2023)


def gpus_needed(flops: float, peak: float, utilization: float, days: float, box: int = 1) -> dict[str, Any]:
    """How many GPUs do ``flops`` in ``days``, if each achieves so much of its peak, FLOPs a second.

    "exact" is not rounded; "rented" is the smallest number of whole boxes of ``box`` that is enough. The notes' 800
    GPUs for GPT-3 are ``gpus_needed(6 * 175e9 * 300e9, 160e12, 1, 30)``, 759.5. Their "peak" is near what an A100
    achieved: 140 TFLOPs for GPT-3, of a peak of 312. That rate counts the forward pass twice, since it was computed
    again: 8 FLOPs a parameter and token, not 6, and so 1,157 GPUs. Count both alike.
    Source: Narayanan et al. 2021, table 1 and section 5.1. Lab 7, exercise ``gpus_needed``.
    """
    exact = flops / (peak * utilization * days * DAY)
    return {"exact": exact, "rented": ceil(exact / box) * box}


def days_needed(flops: float, achieved: float, gpus: float) -> float:
    """How many days ``gpus`` take for it."""
    return flops / (achieved * gpus * DAY)


def schedule(
    flops_per_token: float,
    tokens: int,
    batch_tokens: int,
    gpus: int,
    peak: float,
    utilization: float,
    sent: float,
    bandwidth: float,
    price: float = 0.0,
) -> dict[str, Any]:
    """A run in steps of ``batch_tokens``, the last one perhaps with less to do and as long.

    ``sent`` are the bytes that the busiest wire carries one way in a step, ``bandwidth`` its bytes a second, ``price``
    is of one GPU for an hour. A step takes as long as the slower of "compute_seconds" and "exchange_seconds": the
    exchange hides behind computing as far as it can, and does no better. "steps", "days" and "cost" are of the run;
    "reached" is the part of all GPUs' peak that a step's FLOPs come to. Lab 7, exercise ``schedule``.
    """
    flops = flops_per_token * batch_tokens
    compute, exchange = flops / (gpus * utilization * peak), sent / bandwidth
    step = max(compute, exchange)
    steps = ceil_div(tokens, batch_tokens)
    days = steps * step / DAY
    return {
        "compute_seconds": compute,
        "exchange_seconds": exchange,
        "step_seconds": step,
        "steps": steps,
        "days": days,
        "cost": days * 24 * gpus * price,
        "reached": flops / (gpus * peak * step),
    }


@dataclass(frozen=True)
class Run:
    """One training run: what is trained, on what, and what is assumed.

    ``tokens`` in all, ``batch_tokens`` in a step, in sequences of ``time``. ``mfu`` is the part of the card's peak that
    a step without recompute and without waiting achieves: an assumption. ``price`` is of one GPU for an hour.
    Raises BadSize naming the field.
    """

    config: ModelConfig
    tokens: int
    gpu: Gpu
    gpus: int
    link: Link
    time: int
    batch_tokens: int = BATCH_TOKENS
    micro_batch: int | None = None
    mfu: float = MFU
    dtype: str = "bfloat16"
    attention: str = "fused"
    price: float | None = None

    def __post_init__(self) -> None:
        try:
            check_plain(self.config)
        except BadSize as error:
            raise BadSize(f"a plan is for plain decoders, such as llama2-7b: {error}") from error
        for field in ("tokens", "gpus", "time", "batch_tokens"):
            check_whole(field, getattr(self, field))
        if self.micro_batch is not None:
            check_whole("micro_batch", self.micro_batch)
        if self.price is not None:
            check_positive("price", self.price)
        check_positive("mfu", self.mfu, at_most=1)
        self.gpu.rate(self.dtype)
        check_one_of("attention", self.attention, ("fused", "eager"))
        if self.time > self.config.context:
            raise BadSize(f"time={self.time} is longer than the model's context, {self.config.context}; give less")

    @property
    def peak(self) -> float:
        """FLOPs a second of one GPU, as its maker has them."""
        return self.gpu.rate(self.dtype)

    @property
    def achieved(self) -> float:
        """FLOPs a second of one GPU, as assumed."""
        return self.mfu * self.peak

    @property
    def flops_per_token(self) -> float:
        """Forward and backward, matrix products, every pair of tokens counted."""
        return step_flops(self.config, 1, self.time).total / self.time

    @property
    def sequences(self) -> int:
        """Of one GPU in one step: at least one, since data parallelism divides a batch no further."""
        return max(1, ceil_div(self.batch_tokens, self.time * self.gpus))

    @property
    def step_tokens(self) -> int:
        """Of all GPUs in one step; more than ``batch_tokens`` where these do not divide evenly."""
        return self.sequences * self.time * self.gpus

    @property
    def precision(self) -> str:
        """How weights and gradients are kept: 16 bits beside 32-bit master weights, or 32 bits alone."""
        return "float32" if self.dtype in ("float32", "tf32") else "mixed"

    def recipe(self, checkpointing: str) -> Recipe:
        """What memory depends on."""
        return Recipe(precision=self.precision, attention=self.attention, checkpointing=checkpointing)


def run_of(
    config: ModelConfig,
    tokens: float,
    gpu: str,
    *,
    gpus: int | None = None,
    days: float | None = None,
    link: str | None = None,
    time: int | None = None,
    **assumed: Any,
) -> Run:
    """A run by names. Of ``gpus`` and ``days`` give one; the other follows from the FLOPs.

    Without ``link`` GPUs of one box (8) have their NVLink, more have an InfiniBand NDR card each. Without ``time``
    sequences are as long as the context, and at most 8192. Without ``dtype`` it is bfloat16, or float16 on cards that
    lack it. Raises BadSize naming the field.
    """
    if (gpus is None) == (days is None):
        raise BadSize(f"gpus={gpus}, days={days}: give exactly one of the two, the other follows from it")
    check_positive("tokens", tokens)
    card = gpu_named(gpu)
    dtype = dtype_named(assumed.pop("dtype", None) or next(iter(card.peak)))
    run = Run(
        config, int(tokens), card, 1 if gpus is None else gpus, link_named(link or card.nvlink),
        min(config.context, LONGEST) if time is None else time, dtype=dtype, **assumed,
    )  # fmt: skip
    if days is not None:
        check_positive("days", days)
        run = replace(run, gpus=gpus_needed(run.flops_per_token * run.tokens, run.peak, run.mfu, days)["rented"])
    if link is None and run.gpus > GPUS_IN_A_BOX:
        run = replace(run, link=link_named("infiniband-ndr"))
    return run
