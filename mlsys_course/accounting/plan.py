"""What fits on the cards, how long it takes, and what would help: the sums behind ``mlsys plan``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .flops import step_flops
from .gpus import GPUS
from .parameters import parameter_table
from .recipe import CHECKPOINTING
from .run import Run, days_needed, gpus_needed, schedule
from .table import Table
from .traffic import ceil_div, traffic
from .zero import SHARDED_FROM, STAGES, gpu_memory

MOST_GPUS = 2**24  # where looking for a number of GPUs that would do ends


@dataclass(frozen=True)
class Option:
    """One way to lay the run out on the cards: a stage of ZeRO, a way of checkpointing, a micro-batch."""

    run: Run
    stage: int
    checkpointing: str
    micro_batch: int
    memory: Table

    @property
    def free(self) -> int:
        """Bytes that the card has left; negative where it is too small."""
        return self.run.gpu.memory - self.memory.total

    @property
    def fits(self) -> bool:
        return self.free >= 0

    @property
    def micro_batches(self) -> int:
        """Forward and backward passes before an update."""
        return ceil_div(self.run.sequences, self.micro_batch)

    @cached_property
    def sent(self) -> int:
        """Bytes that the busiest wire carries one way in a step."""
        itemsize, entries = 4 if self.run.precision == "float32" else 2, parameter_table(self.run.config).total
        scheme = f"zero-{self.stage}" if self.stage else "ring"
        return traffic(scheme, entries, self.run.gpus, itemsize, itemsize, self.micro_batches)["bottleneck"]

    @cached_property
    def schedule(self) -> dict[str, Any]:
        """Steps and seconds, with what checkpointing computes twice."""
        run = self.run
        flops, cards = step_flops(run.config, 1, run.time, recompute=self.checkpointing).total / run.time, run.gpus
        wire = (self.sent, run.link.each_way)
        return schedule(flops, run.tokens, run.step_tokens, cards, run.peak, run.mfu, *wire, run.price or 0.0)

    @property
    def mfu(self) -> float:
        """What is left of the assumed utilization after recompute and waiting for the wire."""
        step = self.run.flops_per_token * self.run.step_tokens
        return step / (self.run.gpus * self.schedule["step_seconds"] * self.run.peak)

    @property
    def state_bytes(self) -> int:
        """Weights, gradients and optimizer states on one card: what a batch adds nothing to."""
        return sum(self.memory[name] for name in SHARDED_FROM)

    @property
    def cost(self) -> float | None:
        return None if self.run.price is None else self.schedule["cost"]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for scripts."""
        names = ("stage", "checkpointing", "micro_batch", "micro_batches", "fits", "free", "mfu", "cost")
        times = ("steps", "compute_seconds", "exchange_seconds", "step_seconds", "days")
        found = {name: getattr(self, name) for name in names} | {name: self.schedule[name] for name in times}
        return {**found, "sent": self.sent, "memory": self.memory.to_dict()}


@dataclass(frozen=True)
class Plan:
    """All options of a run, each with the largest micro-batch that fits, or with the smallest where none does."""

    run: Run
    options: Sequence[Option]

    @property
    def best(self) -> Option | None:
        """The fastest that fits; of equally fast ones the one that shards and recomputes least."""
        return min(
            (one for one in self.options if one.fits), key=lambda one: one.schedule["step_seconds"], default=None
        )

    @property
    def smallest(self) -> Option:
        """The one that needs the least memory."""
        return max(self.options, key=lambda one: one.free)

    @property
    def flops(self) -> float:
        """Of the whole run: forward and backward of all tokens."""
        return self.run.flops_per_token * self.run.tokens

    @property
    def compute_days(self) -> float:
        """What computing alone takes, at the assumed utilization."""
        return days_needed(self.flops, self.run.achieved, self.run.gpus)

    @property
    def parameters(self) -> int:
        """Of the model."""
        return parameter_table(self.run.config).total

    @property
    def remedies(self) -> list[str]:
        """What would make the run fit, where it does not."""
        return remedies(self.run)

    def gpus_for(self, days: float) -> float:
        """How many cards would do the computing in ``days``: not rounded."""
        return gpus_needed(self.flops, self.run.peak, self.run.mfu, days)["exact"]


def plan(run: Run) -> Plan:
    """Every stage of ZeRO (on one card there is nothing to share) with every way of checkpointing.

    Nothing is allocated: a plan for 405 billion parameters takes a fraction of a second.
    """
    stages = STAGES if run.gpus > 1 else STAGES[:1]
    return Plan(run, [option(run, stage, way) for stage in stages for way in CHECKPOINTING])


def option(run: Run, stage: int, checkpointing: str) -> Option:
    """The largest micro-batch that fits: a power of two, all of the GPU's sequences, or what the run fixes."""
    if run.micro_batch is not None:
        return laid_out(run, stage, checkpointing, run.micro_batch)
    found = laid_out(run, stage, checkpointing, 1)
    while found.fits and found.micro_batch < run.sequences:
        larger = laid_out(run, stage, checkpointing, min(2 * found.micro_batch, run.sequences))
        if not larger.fits:
            break
        found = larger
    return found


def laid_out(run: Run, stage: int, checkpointing: str, micro_batch: int) -> Option:
    """One option, with its memory counted."""
    memory = gpu_memory(run.config, micro_batch, run.time, run.gpus, stage, run.recipe(checkpointing))
    return Option(run, stage, checkpointing, micro_batch, memory)


def fits(run: Run) -> bool:
    """Whether the run fits at all: the smallest micro-batch, all checkpointed, at any stage."""
    return any(laid_out(run, stage, "full", run.micro_batch or 1).fits for stage in STAGES)


def remedies(run: Run) -> list[str]:
    """What would make a run fit that does not, each alone: a smaller micro-batch, more GPUs, a card, shorter sequences.

    Empty for a run that fits.
    """
    if fits(run):
        return []
    found = []
    if (run.micro_batch or 1) > 1 and fits(replace(run, micro_batch=1)):
        found.append("a micro-batch of 1")
    if gpus := smallest_that(lambda n: fits(replace(run, gpus=n)), run.gpus, MOST_GPUS):
        found.append(f"{gpus} GPUs, with ZeRO 3 and full checkpointing")
    cards = [card for card in GPUS.values() if run.dtype in card.peak and fits(replace(run, gpu=card))]
    if cards:
        found.append(f"another card: {', '.join(card.name for card in cards)}")
    halves = [run.time >> n for n in range(1, run.time.bit_length())]
    if shorter := next((time for time in halves if fits(replace(run, time=time))), None):
        found.append(f"sequences of {shorter} tokens")
    return found or ["none of more GPUs, another card or shorter sequences alone: split layers (tensor parallelism)"]


def smallest_that(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest whole number in (low, high] for which ``holds``, which once true stays true; None if never."""
    top = low + 1
    while not holds(top):
        if top >= high:
            return None
        low, top = top, min(2 * top, high)
    while top - low > 1:
        middle = (low + top) // 2
        low, top = (low, middle) if holds(middle) else (middle, top)
    return top
