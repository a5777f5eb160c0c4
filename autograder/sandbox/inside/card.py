"""What a sealed call needs of a card: started in the process that answers, inputs moved there, and whether it lives."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from mlsys_course.desk.check import Tree
from mlsys_course.desk.check.devices import DEVICE

CONTEXT_MIB = 768  # of a share, left to CUDA itself and to libraries' workspaces


def start(share_mib: int) -> None:
    """Initialise CUDA, within a share of the card's memory as far as PyTorch's own allocator goes."""
    total = torch.cuda.get_device_properties(0).total_memory >> 20
    torch.cuda.set_per_process_memory_fraction(min(1.0, max(64, share_mib - CONTEXT_MIB) / total))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # references are exact to float32
    torch.ones(2, 2, device="cuda").matmul(torch.ones(2, 2, device="cuda")).cpu()


@contextmanager
def default(inputs: Mapping[str, Tree]) -> Iterator[None]:
    """Tensors made without a device are made on the card: a function that passes on the CPU passes here too, unless a
    case looks at devices.
    """
    with contextlib.nullcontext() if DEVICE in inputs else torch.device("cuda"):
        yield


def is_broken() -> bool:
    """Whether CUDA is lost to this process, as after an index out of range: every later call would fail."""
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
