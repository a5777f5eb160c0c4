"""What went over the wire: every message with its size, and sums by rank."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, overload

import torch
from torch import Tensor

# One thing that a rank did: ("send", receiver, bytes), ("recv", sender), or the call of a part that it was handed, by
# the part's name and its arguments, of which tensors are told by their shapes.
Action: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Message:
    """One message; ``bytes`` is what its tensor holds.

    ``tag`` is the ``Communicator.span`` it was sent in. ``sent`` and ``received`` are seconds since the run began: when
    ``send`` or ``isend`` was called, and when the receiver's ``wait`` returned. Where nobody looks at a clock (ranks as
    threads) or nobody received, they are NaN. Two messages are equal whatever the clock said.
    """

    sender: int
    receiver: int
    bytes: int
    tag: str = field(default="", compare=False)
    sent: float = field(default=math.nan, compare=False)
    received: float = field(default=math.nan, compare=False)


class MessageLog(Sequence[Message]):
    """Millions of messages as rows of numbers: 48 bytes each, where objects would take 300.

    Whole numbers are exact in float64 up to 2^53, and no message has that many bytes.
    """

    def __init__(self):
        self._rows = array("d")  # sender, receiver, bytes, tag, sent, received
        self._names: dict[str, int] = {}

    def add(self, sender: int, receiver: int, size: int, tag: str, sent: float) -> int:
        """Write down a message; its place, for ``arrived``."""
        rows, names = self._rows, self._names
        rows.extend((sender, receiver, size, names.setdefault(tag, len(names)), sent, math.nan))
        return len(rows) // 6 - 1

    def arrived(self, place: int, time: float) -> None:
        """The message at ``place`` was received."""
        self._rows[6 * place + 5] = time

    def __len__(self) -> int:
        return len(self._rows) // 6

    @overload
    def __getitem__(self, place: int) -> Message: ...

    @overload
    def __getitem__(self, place: slice) -> list[Message]: ...

    def __getitem__(self, place: int | slice) -> Message | list[Message]:
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(len(self)))]
        n = range(len(self))[place]  # from the end, too; raises IndexError
        sender, receiver, size, tag, sent, received = self._rows[6 * n : 6 * n + 6]
        return Message(int(sender), int(receiver), int(size), list(self._names)[int(tag)], sent, received)

    def sums(self, world_size: int) -> tuple[list[int], list[int], list[int], int]:
        """By rank: bytes sent, bytes received, messages sent; and all bytes that do not go to the next rank."""
        if not self._rows:
            return [0] * world_size, [0] * world_size, [0] * world_size, 0
        senders, receivers, sizes = torch.tensor(self._rows, dtype=torch.float64).view(-1, 6)[:, :3].long().unbind(1)
        empty = torch.zeros(world_size, dtype=torch.int64)
        sent, received = empty.index_add(0, senders, sizes), empty.index_add(0, receivers, sizes)
        count = empty.index_add(0, senders, torch.ones_like(sizes))
        off_ring = sizes[(receivers - senders) % world_size != 1].sum()
        return sent.tolist(), received.tolist(), count.tolist(), int(off_ring)


@dataclass(frozen=True)
class Traffic:
    """All messages of a run: those of rank 0 in the order it sent them, then those of rank 1, and so on.

    On a simulated cluster they are in the order in which the virtual clock saw them sent.
    """

    world_size: int
    messages: Sequence[Message]

    def sent_by(self, rank: int) -> list[Message]:
        """A rank's messages, in its order."""
        return [message for message in self.messages if message.sender == rank]

    @property
    def bytes_sent(self) -> list[int]:
        """Bytes that each rank sent."""
        return self._sums()[0]

    @property
    def bytes_received(self) -> list[int]:
        """Bytes that each rank was sent."""
        return self._sums()[1]

    @property
    def messages_sent(self) -> list[int]:
        """Messages that each rank sent."""
        return self._sums()[2]

    @property
    def costs(self) -> Mapping[str, float]:
        """What limits are about: most bytes and messages that any one rank sent, all bytes, and those off the ring."""
        sent, _, count, off_ring = self._sums()
        return {
            "off_ring_bytes": float(off_ring),
            "rank_bytes": float(max(sent)),
            "rank_messages": float(max(count)),
            "total_bytes": float(sum(sent)),
        }

    def _sums(self) -> tuple[list[int], list[int], list[int], int]:
        if isinstance(self.messages, MessageLog):
            return self.messages.sums(self.world_size)
        log = MessageLog()
        for message in self.messages:
            log.add(message.sender, message.receiver, message.bytes, "", math.nan)
        return log.sums(self.world_size)


def message_bytes(shape: Sequence[int], itemsize: int) -> int:
    """Bytes of a message: its entries. An empty tensor's shape could say something too, and counts 8 a dimension."""
    entries = 1
    for size in shape:
        entries *= size
    return entries * itemsize if entries else 8 * max(0, len(shape) - 1)


def bytes_of(tensor: Tensor) -> int:
    """``message_bytes`` of a tensor."""
    return tensor.nbytes or message_bytes(tensor.shape, tensor.element_size())
