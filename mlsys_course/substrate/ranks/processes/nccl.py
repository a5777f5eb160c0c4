"""Messages between cards, by NCCL's point-to-point calls.

NCCL runs what is launched in the order of launching, on one stream. A send that was launched before a receive could so
keep it from beginning while the peer's does the same to it. Hence what is asked for between two waits is launched as
one group, at the second of them or at ``flush``. A channel has a process group, and so a stream, of its own. To wait is
not to stop this process: the current CUDA stream does.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..shared.communicator import Communicator
from .distributed import ProcessCommunicator


class Group:
    """Messages that begin together. It stands for each one's ``dist.Work``."""

    def __init__(self, comm: "NcclCommunicator"):
        self._comm = comm
        self.operations: list[dist.P2POp] = []
        self.works: list[dist.Work] = []
        self._waiting = set[int]()  # streams

    def wait(self) -> None:
        """The current stream goes on when all of them are through."""
        self._comm.begin(self)
        on_card = self._comm.device.type == "cuda"
        stream = torch.cuda.current_stream(self._comm.device).cuda_stream if on_card else 0
        if stream not in self._waiting:  # once is enough for a stream, and all that gloo allows
            self._waiting.add(stream)
            for work in self.works:
                work.wait()

    @property
    def through(self) -> bool:
        """Whether the card has done all of it."""
        return all(work.is_completed() for work in self.works)


class NcclCommunicator(ProcessCommunicator):
    """A rank with a card of its own."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._group: dist.ProcessGroup | None = None  # the one of all ranks
        self._channels: list[NcclCommunicator] = []
        self._next = Group(self)
        self._begun: list[Group] = []

    def channel(self) -> Communicator:
        other = self._another()
        other._group = dist.new_group()  # pyright: ignore[reportAttributeAccessIssue]: a rank of all is in it
        other._next, other._begun = Group(other), []
        self._channels.append(other)
        return other

    def begin(self, group: Group) -> None:
        """Launch ``group``, unless that was done; its tensors are held until the card is through with them."""
        if group is self._next and group.operations:
            self._next = Group(self)
            group.works = dist.batch_isend_irecv(group.operations)
            self._begun = [g for g in self._begun if not g.through] + [group]

    def flush(self) -> None:
        self.begin(self._next)

    def finish(self) -> None:
        """What was asked for and never waited for begins, on all channels."""
        for one in (self, *self._channels):
            one.flush()

    def _start(self, call: Callable, wire: Tensor, other: int, tag: int) -> Any:
        self._next.operations.append(dist.P2POp(call, wire, other, self._group))
        return self._next

    def _keep(self, work: Any, tensor: Tensor) -> None:
        """The group that it is in holds it."""
