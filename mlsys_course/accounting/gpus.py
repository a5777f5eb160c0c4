"""The cards of the lecture notes, P100 to H800, and three later ones: memory, bandwidth, peak rates."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..substrate.model_config import BadSize
from .names import find

GB, TB, TFLOPS = 10**9, 10**12, 10**12
# Bytes of an entry, by the name of its type. tf32 is stored as float32, and multiplied with fewer digits.
ITEMSIZE = MappingProxyType({"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2, "float8": 1})
SHORT_NAMES = MappingProxyType(
    {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp8": "float8"}
)


@dataclass(frozen=True)
class Gpu:
    """One card as its datasheet has it: the SXM part, dense rates (no structured sparsity), decimal units.

    ``memory`` is in bytes: 80 GB count as 80e9. The card holds up to 7% more (80 GiB), which the CUDA context, NCCL's
    buffers and fragmentation take. ``bandwidth`` is its memory's, in bytes a second. ``peak`` maps a dtype to FLOPs a
    second, ``nvlink`` names the entry of ``LINKS`` that joins it to others in one box.
    """

    name: str
    year: int
    memory: int
    memory_type: str
    bandwidth: float
    peak: Mapping[str, float]
    nvlink: str
    source: str

    def rate(self, dtype: str) -> float:
        """Peak FLOPs a second in ``dtype``; BadSize names what the card has where it lacks it."""
        name = dtype_named(dtype)
        if name not in self.peak:
            raise BadSize(f"dtype={dtype!r}: {self.name} has no such rate; choose one of {', '.join(self.peak)}")
        return self.peak[name]


def _peak(half: float, *, tf32: float = 0, float32: float, bfloat16: bool = True, float8: float = 0) -> dict:
    rates = {"bfloat16": half if bfloat16 else 0, "float16": half, "tf32": tf32, "float32": float32, "float8": float8}
    return {dtype: rate * TFLOPS for dtype, rate in rates.items() if rate}


_AMPERE = _peak(312, tf32=156, float32=19.5)
_HOPPER = _peak(989.4, tf32=494.7, float32=66.9, float8=1978.9)
_BLACKWELL = _peak(2250, tf32=1100, float32=75, float8=4500)
_P100, _V100 = _peak(21.2, float32=10.6, bfloat16=False), _peak(125, float32=15.7, bfloat16=False)
_CARDS = (
    Gpu("p100", 2016, 16 * GB, "HBM2", 732 * GB, _P100, "nvlink1", "NVIDIA, Tesla P100 whitepaper"),
    Gpu("v100", 2017, 32 * GB, "HBM2", 900 * GB, _V100, "nvlink2", "NVIDIA, Tesla V100 datasheet"),
    Gpu("a100-40gb", 2020, 40 * GB, "HBM2", 1555 * GB, _AMPERE, "nvlink3", "NVIDIA, A100 datasheet"),
    Gpu("a100", 2020, 80 * GB, "HBM2E", 2039 * GB, _AMPERE, "nvlink3", "NVIDIA, A100 datasheet, 80 GB SXM"),
    Gpu("a800", 2022, 80 * GB, "HBM2E", 2039 * GB, _AMPERE, "nvlink-a800", "NVIDIA, A800 datasheet"),
    Gpu("h100", 2022, 80 * GB, "HBM3", 3350 * GB, _HOPPER, "nvlink4", "NVIDIA, H100 datasheet, SXM"),
    Gpu("h800", 2023, 80 * GB, "HBM3", 3350 * GB, _HOPPER, "nvlink-h800", "NVIDIA, H800 datasheet, SXM"),
    Gpu("h200", 2024, 141 * GB, "HBM3E", 4800 * GB, _HOPPER, "nvlink4", "NVIDIA, H200 datasheet, SXM"),
    Gpu("b200", 2025, 180 * GB, "HBM3E", 8000 * GB, _BLACKWELL, "nvlink5", "NVIDIA, DGX B200 datasheet, an eighth"),
    Gpu("b300", 2025, 288 * GB, "HBM3E", 8000 * GB, _BLACKWELL, "nvlink5", "NVIDIA, DGX B300 datasheet, an eighth"),
)
GPUS: Mapping[str, Gpu] = MappingProxyType({card.name: card for card in _CARDS})
NOTES_GPUS = ("p100", "v100", "a100-40gb", "a100", "a800", "h100", "h800")  # the notes' table, in its order


def gpu_named(name: str) -> Gpu:
    """A card by its name, such as "h100"; BadSize names the nearest where there is none."""
    return find("gpu", name, GPUS)


def dtype_named(name: str) -> str:
    """A dtype's full name, from itself or its short one ("bf16"); BadSize names the nearest where there is none."""
    return find("dtype", SHORT_NAMES.get(name.lower(), name), {dtype: dtype for dtype in ITEMSIZE})
