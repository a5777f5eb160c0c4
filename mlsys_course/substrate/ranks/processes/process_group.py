"""Ranks that ``torchrun`` or ``mp.spawn`` has started: a communicator over the process group that they made."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from ..shared.communicator import Communicator
from .distributed import ProcessCommunicator
from .ledger import Entry, Ledger


class Unread(Ledger):
    """Nobody looks at it, so it keeps nothing, however long the ranks train."""

    def _add(self, entries: list[Entry], before: list[Entry], peer: int, described: str, size: int, tag: str,
             channel: int) -> Entry:  # fmt: skip
        return super()._add([], [], peer, described, size, tag, channel)

    @contextmanager
    def waiting(self, entry: Entry) -> Iterator[None]:
        yield

    def span(self, label: str, start: float, end: float) -> None:
        """A stretch of a timeline that nobody draws."""


def of_process_group(device: torch.device | str | None = None) -> Communicator:
    """This process's rank in the default process group of ``torch.distributed``; every rank calls it.

    ``device`` is where messages are; by default the current card where the group has NCCL and there is a card, else the
    CPU. Messages are not metered, and a deadlock ends with the group's own time limit. Raises RuntimeError where there
    is no group, ValueError where its backend carries no messages on ``device``.

    >>> dist.init_process_group("gloo")          # in each process that torchrun or mp.spawn has started
    >>> replica = DistributedDataParallel(model, of_process_group())
    """
    if not dist.is_initialized():
        raise RuntimeError("no process group here; call torch.distributed.init_process_group first, on every rank")
    backends = dist.get_backend_config()
    if device is None:
        device = torch.device("cuda", torch.cuda.current_device()) if _on_cards(backends) else torch.device("cpu")
    device = torch.device(device)
    needed = "nccl" if device.type == "cuda" else "gloo"
    if needed not in backends:
        raise ValueError(f"messages on {device} need {needed}, and this group has {backends}; make it with {needed}")
    kind = ProcessCommunicator
    if needed == "nccl":
        from .nccl import NcclCommunicator

        kind = NcclCommunicator
    return kind(dist.get_rank(), dist.get_world_size(), device, Unread(), lambda: "")


def _on_cards(backends: str) -> bool:
    return "nccl" in backends and torch.cuda.is_available()
