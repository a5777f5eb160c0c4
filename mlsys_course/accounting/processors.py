"""Processors of lecture 004's operators, card, phone and TPU: rates by precision, bandwidth, and energy. Lab 12."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .gpus import GB, GPUS, TFLOPS


@dataclass(frozen=True)
class Processor:
    """As its maker states it: ``rates`` in operations a second by precision, dense, a multiply-add being two of them;
    ``bandwidth`` of its main memory in bytes a second; ``watts`` at most, None where nobody states it."""

    name: str
    bandwidth: float
    rates: Mapping[str, float]
    watts: float | None
    source: str

    def ridge(self, precision: str) -> float:
        """Operations for each byte from which on arithmetic is what limits."""
        return self.rates[precision] / self.bandwidth

    def picojoules(self, precision: str) -> float | None:
        """Of one operation at the peak rate, the whole processor's power shared out; None without a power."""
        return None if self.watts is None else self.watts / self.rates[precision] * 1e12


def _card(name: str, watts: float, **more: float) -> Processor:
    """A card of the notes, with what its datasheet says of whole numbers and of four bits."""
    card = GPUS[name]
    rates = {**card.peak, **{precision: rate * TFLOPS for precision, rate in more.items()}}
    return Processor(name, card.bandwidth, MappingProxyType(rates), watts, card.source)


PROCESSORS = (
    _card("v100", 300),
    _card("a100", 400, int8=624, int4=1248),
    _card("h100", 700, int8=1978.9),
    _card("b200", 1000, int8=4500, float4=9000),
    Processor(
        "tpu-v4",
        1228 * GB,
        MappingProxyType({"bfloat16": 275 * TFLOPS, "int8": 275 * TFLOPS}),
        192,
        "Google, Cloud TPU v4 documentation; Jouppi et al. 2023",
    ),
    Processor(  # 64 bits of LPDDR5 at 6.4 GHz; what precision "operations" have is not said: int8, as others count
        "phone", 51.2 * GB, MappingProxyType({"int8": 35 * TFLOPS}), None, "Apple, A17 Pro (iPhone 15 Pro), 2023"
    ),
)

# Picojoules in 45 nm at 0.9 V: (add, multiply) by precision; of 64 bits from an 8 KB cache, and from DRAM, at least.
# Source: Horowitz 2014, "Computing's energy problem (and what we can do about it)", ISSCC.
ENERGY = MappingProxyType({"int8": (0.03, 0.2), "float16": (0.4, 1.1), "int32": (0.1, 3.1), "float32": (0.9, 3.7)})
CACHE_64_BITS, DRAM_64_BITS = 10.0, 1300.0
