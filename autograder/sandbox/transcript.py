"""What ranks did and were told in a sealed call, each in its program's order: enough to answer each of them again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mlsys_course.desk.check import Outcome

from .contract import Call
from .inside.channel import BadFrame

MOST_KEPT = 256 << 20  # bytes of all messages and answers that are kept of a submission
EACH = 256  # bytes more, for any of them


@dataclass(eq=False)
class Sent:
    """A message. It is ``loose`` when its rank sends other bytes of that shape where it runs alone."""

    receiver: int
    described: Mapping[str, Any]  # dtype and shape
    data: bytes
    loose: bool = False


@dataclass(frozen=True)
class Received:
    """The next message from ``source``; without one the rank was released from waiting."""

    source: int
    message: Sent | None

    def told(self) -> tuple[Mapping[str, Any], bytes]:
        """The answer to the rank. What a loose message says is left out: only its shape is sure."""
        if self.message is None:
            return {"kind": "released"}, b""
        data = self.message.data
        return {"kind": "message", **self.message.described}, bytes(len(data)) if self.message.loose else data


@dataclass(frozen=True)
class Asked:
    """A call of a part, and its answer."""

    name: str
    request: bytes
    head: Mapping[str, Any]
    answer: bytes


Transcript: TypeAlias = list[Sent | Received | Asked]  # of one rank


@dataclass(frozen=True, eq=False)
class Recorded:
    """One sealed call to ranks, and what it came to."""

    key: str
    call: Call
    transcripts: Sequence[Transcript]
    outcome: Outcome


class Room:
    """Bytes that may still be kept of a submission, so that nobody fills the memory of the trusted side."""

    def __init__(self, size: int = MOST_KEPT):
        self.left = size

    def take(self, size: int) -> None:
        """Raises BadFrame when there is no more."""
        self.left -= size + EACH
        if self.left < 0:
            raise BadFrame(f"more than {MOST_KEPT} bytes of messages in all")
