"""Mailboxes between ranks: delivers, counts, knows who waits for whom, and sees at once when nobody can go on.

One thread for each rank calls it on each channel. There, a rank's messages wait in order for whom they are sent to, and
a receive names its sender, so what a run comes to does not depend on which thread is faster: not its results, traffic,
or deadlock.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from .traffic import Action, Message, Traffic

LOOK_SECONDS = 0.05  # between two looks of a rank that waits


class Released(RuntimeError):
    """In a rank that waits for a message that will not come."""


class Switchboard:
    """``stuck`` says, once it is so, who waits for what in vain; ``released`` are the ranks that were told.

    ``actions`` are what each rank did, in its program's order.
    """

    def __init__(self, world_size: int):
        self.world_size = world_size
        self.stuck, self.released = "", set[int]()
        self._boxes: dict[tuple[int, int, int], deque[Any]] = defaultdict(deque)  # by sender, receiver and channel
        self._waits: dict[tuple[int, int], int] = {}  # receiver, channel -> the rank that it waits for
        self._working = [1] * world_size  # threads of each rank that are not told to wait for another of it
        self._left: set[int] = set()
        self.actions: list[list[Action]] = [[] for _ in range(world_size)]
        self._sent: list[list[Message]] = [[] for _ in range(world_size)]
        self._waiting_bytes = 0
        self._over = False
        self._changed = threading.Condition()

    @property
    def traffic(self) -> Traffic:
        """What was sent so far."""
        return Traffic(self.world_size, [message for sent in self._sent for message in sent])

    @property
    def waiting_bytes(self) -> int:
        """Of messages that were sent and not yet received."""
        return self._waiting_bytes

    def post(self, sender: int, receiver: int, message: Any, size: int, channel: int = 0) -> None:
        """Put a message of ``size`` bytes into a mailbox, and count it."""
        with self._changed:
            self._sent[sender].append(Message(sender, receiver, size))
            self.actions[sender].append(("send", receiver, size))
            if receiver in self._left or self._over:
                return
            self._boxes[sender, receiver, channel].append((message, size))
            self._waiting_bytes += size
            if self._waits.get((receiver, channel)) == sender:
                del self._waits[receiver, channel]
            self._changed.notify_all()

    def take(self, receiver: int, source: int, idle: Callable[[], None] = lambda: None, channel: int = 0) -> Any:
        """The next message from ``source``; raises Released when it cannot come. ``idle`` is called now and then."""
        with self._changed:
            box = self._boxes[source, receiver, channel]
            if not box:
                self._waits[receiver, channel] = source
                self._look_for_a_deadlock()
            while not box and not self._over:
                self._changed.wait(LOOK_SECONDS)
                idle()
            self._waits.pop((receiver, channel), None)
            if self._over:
                self.released.add(receiver)
                raise Released(self.stuck or "the run is over")
            message, size = box.popleft()
            self._waiting_bytes -= size
            self.actions[receiver].append(("recv", source))
            return message

    def working(self, rank: int, change: int) -> None:
        """So many more threads of this rank go on, or fewer."""
        with self._changed:
            self._working[rank] += change
            self._look_for_a_deadlock()

    def leave(self, rank: int) -> None:
        """This rank has returned and will send nothing more."""
        with self._changed:
            self._left.add(rank)
            self._look_for_a_deadlock()

    def stop(self) -> None:
        """Release every rank that waits, now or later."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def unfinished(self) -> str:
        """Who keeps the others from finishing, as words that hold ranks only."""
        with self._changed:
            waits = self._stuck_ranks()
            busy = [rank for rank in range(self.world_size) if rank not in self._left and rank not in waits]
            waiting = sorted(waits, key=lambda rank: (waits[rank] not in busy[:1], rank))
            words = [f"rank {busy[0]} did not finish"] if busy else []
            return "; ".join(words + [f"rank {rank} waits in recv from {waits[rank]}" for rank in waiting[:1]])

    def _stuck_ranks(self) -> dict[int, int]:
        """The ranks of which every thread waits, and whom the first of them waits for."""
        waits: dict[int, list[int]] = defaultdict(list)
        for (rank, _), source in sorted(self._waits.items()):
            waits[rank].append(source)
        return {rank: sources[0] for rank, sources in waits.items() if len(sources) >= self._working[rank]}

    def _look_for_a_deadlock(self) -> None:
        if self._over or not self._waits:
            return
        waits = self._stuck_ranks()
        if not waits or len(waits.keys() | self._left) < self.world_size:
            return
        rank = min(waits, key=lambda rank: (waits[rank] not in self._left, rank))
        source = waits[rank]
        reason = "has returned" if source in self._left else f"waits in recv from {waits[source]}"
        self.stuck = f"rank {rank} waits in recv from {source}, which {reason}"
        self._over = True
        self._changed.notify_all()
