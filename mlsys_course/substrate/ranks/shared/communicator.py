"""What a rank holds in its hand: its number, and messages to and from the others."""

import copy
import itertools
import time
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Self

import torch
from torch import Tensor


class Handle:
    """A message under way; ``wait`` returns when it is through, and gives the buffer of a receive."""

    __slots__ = ("_buffer", "_done", "_finish")  # thousands of simulated ranks have many

    def __init__(self, finish: Callable[[], None], buffer: Tensor | None = None):
        self._finish, self._buffer, self._done = finish, buffer, False

    def wait(self) -> Tensor | None:
        """Block until the message is through."""
        if not self._done:
            self._finish()
        return self._buffer


def _nothing() -> None:
    """What there is to wait for, of a message that is through."""


class _Promise(Handle):
    """A buffer that waits for its message."""

    __slots__ = ("_comm", "_source")

    def __init__(self, comm: "Communicator", source: int, buffer: Tensor):
        self._comm, self._source, self._buffer, self._done = comm, source, buffer, False

    def wait(self) -> Tensor | None:
        while not self._done:  # messages go to receives in the order in which these were asked for
            self._comm._fill_next(self._source)
        return self._buffer


class Communicator(ABC):
    """Point-to-point messages between ``world_size`` ranks, of which this is number ``rank``.

    Messages from one rank to another arrive in the order in which they were sent. Names and meaning follow
    ``torch.distributed``, except that sending is buffered: it copies the tensor and never blocks.
    Lab 9 builds collectives from it.
    """

    device = torch.device("cpu")  # where messages live: a card of its own for each rank on NCCL
    concurrent = False  # whether a second thread of this rank may use a channel beside it

    def __init__(self, rank: int, world_size: int):
        self.rank, self.world_size = rank, world_size
        self.number = 0  # of its channel
        self._numbers, self._tags = itertools.count(1), [""]  # all channels of a rank share these
        self.spare: list[Tensor] = []  # memory that one collective leaves for the next
        self._pending: dict[int, deque[_Promise]] = defaultdict(deque)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank={self.rank}, world_size={self.world_size})"

    @property
    def tag(self) -> str:
        """Of the span that this rank is in."""
        return self._tags[0]

    @tag.setter
    def tag(self, label: str) -> None:
        self._tags[0] = label

    def channel(self) -> "Communicator":
        """A communicator among the same ranks whose messages never meet this one's: both may be busy at once.

        Every rank calls it, and where several are made, in the same order. Messages of all channels are metered. Ranks
        that have one channel only give themselves.
        """
        return self

    def _another(self) -> Self:
        """``channel``, for a kind of ranks whose messages carry the ``number``."""
        other = copy.copy(self)
        other.number, other.spare, other._pending = next(self._numbers), [], defaultdict(deque)
        return other

    def working(self, change: int) -> None:  # noqa: B027
        """So many more of this rank's threads go on, or fewer: one that waits for another is none. At first it is 1.

        A rank whose threads all wait for messages is stuck; one that has another thread may still send.
        """

    def send(self, tensor: Tensor, to: int) -> None:
        """Send a copy of ``tensor``. Raises ValueError for a rank that cannot be sent to."""
        self._check("send to", to, tensor)
        self._post(tensor.detach(), to)

    def recv(self, buffer: Tensor, source: int) -> Tensor:
        """Fill ``buffer`` with the next message from ``source``, and return it; blocks until there is one.

        Raises ValueError unless shape and dtype of the message are the buffer's.
        """
        self.irecv(buffer, source).wait()
        return buffer

    def isend(self, tensor: Tensor, to: int) -> Handle:
        """``send``, with a handle as ``torch.distributed`` gives one: there, wait before you write to ``tensor``."""
        self.send(tensor, to)
        return Handle(_nothing)

    def irecv(self, buffer: Tensor, source: int) -> Handle:
        """Promise ``buffer`` to the next message from ``source`` that no earlier receive has; ``wait`` fills it."""
        self._check("receive from", source, buffer)
        handle = _Promise(self, source, buffer)
        self._pending[source].append(handle)
        return handle

    def flush(self) -> None:  # noqa: B027, and below: on most kinds of ranks there is nothing to do
        """Begin what was asked for. Only on NCCL is there anything to do: there messages begin together, at a wait."""

    def now(self) -> float:
        """Seconds on this rank's clock, which on a simulated cluster is the virtual one."""
        return time.perf_counter()

    def compute(self, seconds: float = 0.0, *, flops: float = 0.0, label: str = "compute") -> None:  # noqa: B027
        """Say what is computed here. A simulated cluster lets that time pass; real work takes its own time."""

    def span(self, label: str) -> AbstractContextManager[None]:
        """``with comm.span("backward"):`` names a stretch of the timeline, and by ``Message.tag`` its messages."""
        return self._span(label)

    @contextmanager
    def _span(self, label: str) -> Iterator[None]:
        before, self.tag, start = self.tag, label, self.now()
        try:
            yield
        finally:
            self.tag = before
            self._record(label, start)

    def _record(self, label: str, start: float) -> None:  # noqa: B027
        """A span that began at ``start`` is over; where there is a timeline, it is written down."""

    def _fill_next(self, source: int) -> None:
        """The next message from ``source`` into the first buffer that was promised to it."""
        handle = self._pending[source].popleft()
        buffer = handle._buffer
        message = self._take(source, buffer)
        if message.dtype is not buffer.dtype or message.shape != buffer.shape:
            raise ValueError(mismatch(self.rank, source, described(message), described(buffer)))
        (buffer.detach() if buffer.requires_grad else buffer).copy_(message)
        handle._done = True

    def _check(self, doing: str, other: int, tensor: Tensor) -> None:
        if type(other) is int and 0 <= other < self.world_size and other != self.rank and isinstance(tensor, Tensor):
            return
        if not isinstance(tensor, Tensor):
            raise TypeError(f"messages are tensors, and this is a {type(tensor).__name__}; wrap it in torch.tensor")
        if isinstance(other, bool) or not isinstance(other, int) or not 0 <= other < self.world_size:
            raise ValueError(f"rank {self.rank} cannot {doing} {other!r}; ranks are 0 to {self.world_size - 1}")
        if other == self.rank:
            raise ValueError(f"rank {self.rank} cannot {doing} itself; it has the tensor already")

    @abstractmethod
    def _post(self, tensor: Tensor, to: int) -> None:
        """Send a copy."""

    @abstractmethod
    def _take(self, source: int, buffer: Tensor) -> Tensor:
        """The next message from ``source``; blocks. ``buffer`` tells what is expected, where messages do not say it."""


def described(tensor: Tensor) -> str:
    """Dtype and shape in words."""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def mismatch(rank: int, source: int, message: str, buffer: str) -> str:
    """What is said, on whatever the ranks run, of a message that does not fit its buffer."""
    return (
        f"rank {rank} got {message} from rank {source}, and its buffer is for {buffer}; "
        "give a buffer of the message's shape and dtype"
    )
