"""How fast an operator can be on a card: by its arithmetic, or by what it reads and writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..substrate.model_config import ModelConfig
from .by_operator import Operator, operators
from .gpus import ITEMSIZE, Gpu, dtype_named


def roofline(m: int, k: int, n: int, itemsize: int, peak: float, bandwidth: float) -> dict[str, Any]:
    """A product of (m, k) by (k, n), of ``itemsize`` bytes a number, under the roof of a card: each moves once.

    Its "flops", "bytes" and their ratio, the "intensity"; the FLOPs a second that are "attainable" at most, the
    "seconds" at least, and which "bound" it is: "compute" from the ridge on. Source: Williams et al. 2009. Lab 7,
    extension ``roofline``.
    """
    flops, moved = 2 * m * k * n, itemsize * (m * k + k * n + m * n)
    compute, memory = flops / peak, moved / bandwidth
    seconds = max(compute, memory)
    found = {"flops": flops, "bytes": moved, "intensity": flops / moved}
    return {**found, "attainable": flops / seconds, "seconds": seconds, "bound": slower(compute, memory)}


def slower(compute: float, memory: float) -> str:
    """Which of the two takes longer; as long, at the ridge itself, is "compute"."""
    return "memory" if memory > compute else "compute"


@dataclass(frozen=True)
class Bound:
    """One operator under a card's roof. ``flops`` and ``bytes`` are of all its ``count`` occurrences."""

    name: str
    count: int
    flops: int
    bytes: int
    compute_seconds: float
    memory_seconds: float

    @property
    def intensity(self) -> float:
        """FLOPs for each byte that memory moves; what the notes call AI = #ops / #bytes."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def bound_by(self) -> str:
        """Which of the two takes longer."""
        return slower(self.compute_seconds, self.memory_seconds)

    @property
    def seconds(self) -> float:
        """The longer of the two, which hides the other: a lower bound."""
        return max(self.compute_seconds, self.memory_seconds)


def ridge(gpu: Gpu, dtype: str = "bfloat16") -> float:
    """The intensity, in FLOPs a byte, from which on a card's arithmetic is what limits."""
    return gpu.rate(dtype) / gpu.bandwidth


def attainable(intensity: float, gpu: Gpu, dtype: str = "bfloat16") -> float:
    """FLOPs a second at most, for so many FLOPs a byte: the roof itself. Source: Williams et al. 2009."""
    return min(gpu.rate(dtype), intensity * gpu.bandwidth)


def bound(operator: Operator, gpu: Gpu, dtype: str = "bfloat16") -> Bound:
    """One operator's place. Matrix products run at the rate of ``dtype``, element-wise work at that of float32.

    Convention: every operator is a kernel of its own that reads its inputs and weights from memory and writes its
    output there, once each, in ``dtype``; fusion and caches only save bytes, so a fused kernel may beat this.
    """
    numbers = operator.weights + operator.reads + operator.writes
    moved = operator.count * numbers * ITEMSIZE[dtype_named(dtype)]
    matmul, elementwise = operator.count * operator.matmul, operator.count * operator.elementwise
    arithmetic = matmul / gpu.rate(dtype) + elementwise / gpu.rate("float32")
    return Bound(operator.name, operator.count, matmul + elementwise, moved, arithmetic, moved / gpu.bandwidth)


def forward_bounds(
    config: ModelConfig, batch: int, time: int, gpu: Gpu, dtype: str = "bfloat16", *, past: int = 0
) -> list[Bound]:
    """Every operator of a forward pass, as ``operators`` lists them; with ``past`` tokens in the cache it decodes."""
    return [bound(operator, gpu, dtype) for operator in operators(config, batch, time, past=past)]


def forward_seconds(bounds: Sequence[Bound]) -> float:
    """All operators one after the other: a lower bound of an unfused forward pass."""
    return sum(one.seconds for one in bounds)
