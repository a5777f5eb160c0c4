"""What went over the wire: every message with its size, and sums by rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Message:
    """One message; ``bytes`` is what its tensor holds."""

    sender: int
    receiver: int
    bytes: int


@dataclass(frozen=True)
class Traffic:
    """All messages of a run: those of rank 0 in the order it sent them, then those of rank 1, and so on."""

    world_size: int
    messages: Sequence[Message]

    def sent_by(self, rank: int) -> list[Message]:
        """A rank's messages, in its order."""
        return [message for message in self.messages if message.sender == rank]

    @property
    def bytes_sent(self) -> list[int]:
        """Bytes that each rank sent."""
        return [sum(message.bytes for message in self.sent_by(rank)) for rank in range(self.world_size)]

    @property
    def bytes_received(self) -> list[int]:
        """Bytes that each rank was sent."""
        return [sum(m.bytes for m in self.messages if m.receiver == rank) for rank in range(self.world_size)]

    @property
    def messages_sent(self) -> list[int]:
        """Messages that each rank sent."""
        return [len(self.sent_by(rank)) for rank in range(self.world_size)]

    @property
    def costs(self) -> Mapping[str, float]:
        """What limits are about: most bytes and messages that any one rank sent, all bytes, and those off the ring."""
        ring = [(m.receiver - m.sender) % self.world_size == 1 for m in self.messages]
        return {
            "off_ring_bytes": float(sum(m.bytes for m, on in zip(self.messages, ring, strict=True) if not on)),
            "rank_bytes": float(max(self.bytes_sent)),
            "rank_messages": float(max(self.messages_sent)),
            "total_bytes": float(sum(self.bytes_sent)),
        }


def message_bytes(shape: Sequence[int], itemsize: int) -> int:
    """Bytes of a message: its entries. An empty tensor's shape could say something too, and counts 8 a dimension."""
    entries = 1
    for size in shape:
        entries *= size
    return entries * itemsize if entries else 8 * max(0, len(shape) - 1)


def bytes_of(tensor: Tensor) -> int:
    """``message_bytes`` of a tensor."""
    return message_bytes(tensor.shape, tensor.element_size())
