"""Messages between processes, through ``torch.distributed``'s own point-to-point calls, with every one metered.

A message's channel, dtype and shape go with it as gloo's tag, so one that does not fit its buffer is never written into
it. What was asked for and what was sent is kept in a ledger. Whoever watches the ranks compares both sides'
(``supervisor.py``).
"""

import functools
import queue
import threading
import time
import zlib
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from ..shared.communicator import Communicator, Handle, described
from ..shared.switchboard import Released
from ..shared.traffic import bytes_of
from .ledger import Entry, Ledger


class Underway(Handle):
    """A message that ``torch.distributed`` carries; ``wait`` may be called more than once, or never.

    gloo calls a message off when its ``dist.Work`` goes. So when a handle goes that nobody waited for, ``keep`` is
    called: the message is through whether or not the program still asks.
    """

    __slots__ = ("_keep",)

    def __init__(self, finish: Callable[[], None], keep: Callable[[], None], buffer: Tensor | None = None):
        super().__init__(finish, buffer)
        self._keep = keep

    def wait(self) -> Tensor | None:
        if not self._done:
            self._finish()
            self._done = True
        return self._buffer

    def __del__(self):
        if not self._done:
            self._keep()


class ProcessCommunicator(Communicator):
    """A rank that is a process. ``reason`` is asked why, once ``torch.distributed`` says that messages cannot come."""

    concurrent = True

    def __init__(self, rank: int, world_size: int, device: torch.device, ledger: Ledger, reason: Callable[[], str]):
        super().__init__(rank, world_size)
        self.device, self.ledger, self._reason = device, ledger, reason
        self._sent_copies: queue.SimpleQueue[tuple[dist.Work, Tensor]] | None = None

    def channel(self) -> Communicator:
        return self._another()

    def send(self, tensor: Tensor, to: int) -> None:
        """Send a copy of ``tensor``; a thread keeps it until it is through."""
        self._check("send to", to, tensor)
        copy = tensor.detach().clone(memory_format=torch.contiguous_format)
        self._keep(self._start_send(copy, to)[0], copy)

    def isend(self, tensor: Tensor, to: int) -> Handle:
        """Send ``tensor`` itself, where it lies in one piece: do not write to it before ``wait`` returns."""
        self._check("send to", to, tensor)
        whole = tensor.detach()
        work, entry = self._start_send(whole, to)
        return Underway(lambda: self._wait(work, entry), lambda: self._keep(work, whole))

    def irecv(self, buffer: Tensor, source: int) -> Handle:
        """Ask for the next message; it may be written to ``buffer`` from now on, and is there when ``wait`` returns."""
        self._check("receive from", source, buffer)
        target = buffer.detach()
        landing = target if target.is_contiguous() else torch.empty_like(target, memory_format=torch.contiguous_format)
        entry = self.ledger.asked(source, described(buffer), self.number)
        work = self._start(dist.irecv, _wire(landing), source, _tag(self.number, buffer.dtype, buffer.shape))

        def finish() -> None:
            with self.ledger.waiting(entry):
                self._wait(work, entry)
            if landing is not target:
                target.copy_(landing)

        return Underway(finish, lambda: self._keep(work, landing), buffer)

    def finish(self) -> None:
        """The rank's function has returned; here all that it asked for has begun."""

    def _start_send(self, tensor: Tensor, to: int) -> tuple[dist.Work, Entry]:
        whole = tensor.contiguous()
        entry = self.ledger.sent(to, described(tensor), bytes_of(tensor), self.tag, self.number)
        return self._start(dist.isend, _wire(whole), to, _tag(self.number, tensor.dtype, tensor.shape)), entry

    def _start(self, call: Callable, wire: Tensor, other: int, tag: int) -> dist.Work:
        try:
            return call(wire, other, tag=tag)
        except RuntimeError as error:
            raise self._told(error) from error

    def _wait(self, work: dist.Work, entry: Entry) -> None:
        try:
            work.wait()
        except RuntimeError as error:
            raise self._told(error) from error
        entry.end = time.perf_counter()

    def _told(self, error: RuntimeError) -> RuntimeError:
        reason = self._reason()
        return Released(reason) if reason else error

    def _keep(self, work: dist.Work, tensor: Tensor) -> None:
        if self._sent_copies is None:
            self._sent_copies = queue.SimpleQueue()
            threading.Thread(target=self._hold, args=(self._sent_copies,), name="sent copies", daemon=True).start()
        self._sent_copies.put((work, tensor))

    @staticmethod
    def _hold(copies: "queue.SimpleQueue[tuple[dist.Work, Tensor]]") -> None:
        """Let go of each when it is through; one that nobody receives is let go of with the process."""
        while True:
            work, _ = copies.get()
            try:
                work.wait()
            except RuntimeError:  # the receiver is gone: whoever waits for something learns why
                return

    def _check(self, doing: str, other: int, tensor: Tensor) -> None:
        super()._check(doing, other, tensor)
        if tensor.device != self.device:
            raise ValueError(
                f"rank {self.rank} cannot {doing} {other} a tensor on {tensor.device}: its messages are on "
                f"{self.device}; make tensors with device=comm.device"
            )

    def _record(self, label: str, start: float) -> None:
        self.ledger.span(label, start, time.perf_counter())

    def _post(self, tensor: Tensor, to: int) -> None:
        self.send(tensor, to)

    def _take(self, source: int, buffer: Tensor) -> Tensor:
        raise NotImplementedError("receives begin in irecv here")


def _wire(tensor: Tensor) -> Tensor:
    """The tensor's bytes, as a view. An empty message is one byte, so that it can be waited for."""
    if tensor.numel() == 0:
        return torch.zeros(1, dtype=torch.uint8, device=tensor.device)
    return tensor.view(-1).view(torch.uint8)


@functools.lru_cache(1024)
def _tag(channel: int, dtype: torch.dtype, shape: torch.Size) -> int:
    """A number for channel, dtype and shape: gloo matches a message with a receive of the same tag only."""
    return zlib.crc32(f"{channel} {dtype} {tuple(shape)}".encode()) & 0x3FFFFFFF
