"""Between the ranks of one sealed call: every message goes through here, is checked, counted, and sent on.

Each rank is a process in a sandbox of its own, and its channel to this side is all that it shares with anybody. What
the trusted side says of ranks that fail holds ranks only, so it may be shown to students.
"""

import math
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from mlsys_course.desk.check import Outcome
from mlsys_course.desk.check.ranked import combined
from mlsys_course.substrate.ranks import Released, Switchboard
from mlsys_course.substrate.ranks.shared.traffic import message_bytes

from . import said
from .contract import Call, Ended
from .inside.channel import BadFrame, Channel, Closed, Late
from .inside.rank import DTYPES
from .line import Line
from .parked import Parked
from .part_calls import PartCalls
from .transcript import Asked, Received, Room, Sent, Transcript

MOST_WAITING = 32 << 20  # bytes in all mailboxes
MOST_DIMENSIONS, MOST_SIZE = 16, 1 << 32
RELEASE_SECONDS = 2.0  # for the other ranks, once it is clear that nobody can go on


class Relay:
    """One call to several ranks: a thread for each, and a switchboard between them. What they do is written down."""

    def __init__(self, members: Sequence[Parked], call: Call, parts: PartCalls, deadline: float, room: Room):
        self.members, self.call, self.parts, self.deadline, self.room = members, call, parts, deadline, room
        self.lines = [Line(member) for member in members]
        self.transcripts: list[Transcript] = [[] for _ in members]
        self.board = Switchboard(len(members))
        self.outcomes: list[Outcome | None] = [None] * len(members)
        self.failure: Ended | None = None
        self.empties: dict[int, str] = {}  # by rank the dtype of its last message without entries
        self.broken: list[Parked] = []  # whose process ends with this call, and is followed by another
        self.lock = threading.Lock()

    def run(self) -> Outcome:
        """The outcome of all ranks, with their traffic; raises Ended as soon as one does not do its part."""
        with ThreadPoolExecutor(len(self.members)) as pool:
            for served in [pool.submit(self._serve, rank) for rank in range(len(self.members))]:
                served.result()
        if self.failure:
            raise self.failure
        for member in self.broken:
            member.follow()
        outcomes = [outcome for outcome in self.outcomes if outcome is not None]
        assert len(outcomes) == len(self.members)
        outcome = combined(outcomes, self.board.released, self.board.stuck)
        return replace(outcome, costs=self.board.traffic.costs, seen=self.board.actions)

    def _serve(self, rank: int) -> None:
        """From a rank's inputs to its outcome."""
        member, inputs, line = self.members[rank], self.call.ranks[rank], self.lines[rank]
        try:
            line.call(self.call, rank, self.deadline)
            while True:
                head, blob = line.hear(self.deadline)
                if head.get("kind") == "outcome":
                    break
                self._pass_on(rank, head, blob)
            self.outcomes[rank] = said.outcome(head, blob, inputs, member.specification, member.cells)
            if head.get("broken") is True and member.replay:
                self.broken.append(member)
        except (Closed, Late, BadFrame, ValueError) as error:
            self._fail(rank, error)
        finally:
            self.board.leave(rank)

    def _pass_on(self, rank: int, head: Mapping[str, Any], blob: bytes) -> None:
        kind, line = head.get("kind"), self.lines[rank]
        if kind == "part":
            told, answer = self.parts.answer(head, blob, self.board.actions[rank])
            self._keep(rank, Asked(str(head.get("name")), blob, told, answer), len(blob) + len(answer))
            line.tell(told, answer, self.deadline)
        elif kind == "send":
            sent = Sent(self._peer(rank, head.get("to")), _described(head, blob), blob)
            size = self._bytes(rank, sent)
            if self.board.waiting_bytes + len(blob) > MOST_WAITING:
                raise BadFrame(f"more than {MOST_WAITING} bytes that nobody has received")
            self._keep(rank, sent, len(blob))
            self.board.post(rank, sent.receiver, sent, size)
        elif kind == "recv" and not blob:
            received = self._wait(rank, self._peer(rank, head.get("from")))
            self._keep(rank, received, 0)
            line.tell(*received.told(), self.deadline)
        else:
            raise BadFrame(f"{str(kind)[:20]!r} instead of a message")

    def _bytes(self, rank: int, sent: Sent) -> int:
        """What a message counts. Of an empty one the dtype could say something too, wherever it changes."""
        dtype = sent.described["dtype"]
        size = message_bytes(sent.described["shape"], DTYPES[dtype].itemsize)
        if sent.data:
            return size
        before, self.empties[rank] = self.empties.get(rank, dtype), dtype
        return size if before == dtype else size + 8

    def _wait(self, rank: int, source: int) -> Received:
        try:
            return Received(source, self.board.take(rank, source, self._watch(self.lines[rank].channel)))
        except Released:
            self.deadline = min(self.deadline, time.monotonic() + RELEASE_SECONDS)
            return Received(source, None)

    def _keep(self, rank: int, event: Sent | Received | Asked, size: int) -> None:
        with self.lock:
            self.room.take(size)
        self.transcripts[rank].append(event)

    def _peer(self, rank: int, peer: Any) -> int:
        if type(peer) is not int or not 0 <= peer < len(self.members) or peer == rank:
            raise BadFrame(f"a message between {rank} and {str(peer)[:20]}")
        return peer

    def _watch(self, channel: Channel) -> Callable[[], None]:
        """For a rank that waits: whether it is still there, and whether there is time."""
        poll = select.poll()
        poll.register(channel.sock, 0)

        def watch() -> None:
            if poll.poll(0):
                raise Closed
            if time.monotonic() > self.deadline:
                raise Late

        return watch

    def _fail(self, rank: int, error: Exception) -> None:
        """The first failure is the call's; the others are released by ending them."""
        with self.lock:
            if self.failure is not None:
                return
            found = self.members[rank].ended(error)
            words = f"rank {rank} {'ended' if isinstance(error, Closed) else 'sent what is no message'}"
            if found.why == "timeout":
                words = self.board.unfinished() if isinstance(error, Late) else f"rank {rank} did not finish"
            self.failure = Ended(found.why, f"{found.log}, rank {rank}", words)
        self.board.stop()
        for member in self.members:
            member.kill()


def _described(head: Mapping[str, Any], blob: bytes) -> dict[str, Any]:
    """A message's own header, rebuilt from what was checked; raises BadFrame unless the bytes are what it says."""
    dtype, shape = head.get("dtype"), head.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES or not isinstance(shape, list):
        raise BadFrame("a message without dtype and shape")
    if len(shape) > MOST_DIMENSIONS or not all(type(size) is int and 0 <= size < MOST_SIZE for size in shape):
        raise BadFrame("a message of no possible shape")
    if math.prod(shape) * DTYPES[dtype].itemsize != len(blob):
        raise BadFrame("a message whose bytes are not its shape's")
    return {"dtype": dtype, "shape": list(shape)}
