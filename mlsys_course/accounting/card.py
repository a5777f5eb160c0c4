"""What a card's memory went to beside the tensors: PyTorch's allocator and CUDA keep some for themselves. Lab 7."""

import torch

from .table import Table

CARD_CONVENTION = (
    "At this process's peaks since `torch.cuda.reset_peak_memory_stats()`. Tensors as many bytes as were asked for; "
    "rounding to the allocator's blocks; fragmentation is what its segments hold beside blocks in use; context is what "
    "the driver counts beside the segments: CUDA's own memory, and that of other processes on the card."
)


def card_memory() -> Table:
    """Bytes of the current card by who holds them, as the allocator and the driver say. Raises where there is none."""
    _check_card()
    torch.cuda.synchronize()
    peaks = torch.cuda.memory_stats()
    asked, allocated, reserved = (peaks[f"{name}_bytes.all.peak"] for name in ("requested", "allocated", "reserved"))
    free, whole = torch.cuda.mem_get_info()
    terms = {
        "tensors": asked,
        "rounding": allocated - asked,
        "fragmentation": reserved - allocated,
        "context": whole - free - torch.cuda.memory_reserved(),
    }
    return Table("bytes", terms, CARD_CONVENTION)


def segments() -> list[dict[str, int]]:
    """The allocator's snapshot: each segment's ``size``, the bytes ``in_use``, and its ``largest_hole``; largest first.

    A tensor larger than every hole needs a new segment, however many bytes are free in all.
    """
    _check_card()
    found = []
    for segment in torch.cuda.memory_snapshot():
        free = [block["size"] for block in segment["blocks"] if block["state"] == "inactive"]
        sizes = {
            "size": segment["total_size"],
            "in_use": segment["allocated_size"],
            "largest_hole": max(free, default=0),
        }
        found.append(sizes)
    return sorted(found, key=lambda segment: segment["size"], reverse=True)


def _check_card() -> None:
    if not torch.cuda.is_available():
        raise RuntimeError("this machine has no CUDA card to read; training_memory(...) predicts what one would say")
