"""What each rank did when, and how much of the time it only waited."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

KINDS = ("compute", "wait", "span")


@dataclass(frozen=True)
class Event:
    """A stretch of a rank's time, in seconds since the run began.

    ``kind`` is "compute" (``Communicator.compute``, in the simulator), "wait" (in ``recv`` or in a handle's ``wait``,
    for a message from ``peer``) or "span" (``Communicator.span``). Messages are in ``Traffic``.
    """

    rank: int
    kind: str
    start: float
    end: float
    label: str = ""
    peer: int = -1


class EventLog(Sequence[Event]):
    """Millions of events as rows of numbers."""

    def __init__(self):
        self._rows = array("d")  # rank, kind, label, peer, start, end
        self._labels: dict[str, int] = {}

    def add(self, rank: int, kind: str, start: float, end: float, label: str = "", peer: int = -1):
        """Write down an event."""
        labels = self._labels
        self._rows.extend((rank, KINDS.index(kind), labels.setdefault(label, len(labels)), peer, start, end))

    def __len__(self) -> int:
        return len(self._rows) // 6

    @overload
    def __getitem__(self, place: int) -> Event: ...

    @overload
    def __getitem__(self, place: slice) -> list[Event]: ...

    def __getitem__(self, place: int | slice) -> Event | list[Event]:
        if isinstance(place, slice):
            return [self[n] for n in range(*place.indices(len(self)))]
        n = range(len(self))[place]
        rank, kind, label, peer, start, end = self._rows[6 * n : 6 * n + 6]
        return Event(int(rank), KINDS[int(kind)], start, end, list(self._labels)[int(label)], int(peer))

    def sums(self, kind: str, world_size: int) -> list[float]:
        """Seconds of a kind by rank."""
        found, wanted, rows = [0.0] * world_size, KINDS.index(kind), self._rows
        for n in range(0, len(rows), 6):
            if rows[n + 1] == wanted:
                found[int(rows[n])] += rows[n + 5] - rows[n + 4]
        return found


@dataclass(frozen=True)
class Timeline:
    """A run by rank and time. ``ends`` is when each rank returned; NaN for one that did not."""

    world_size: int
    events: Sequence[Event]
    ends: Sequence[float]

    @property
    def seconds(self) -> float:
        """From the start to the return of the last rank."""
        return max((end for end in self.ends if not math.isnan(end)), default=0.0)

    def of(self, rank: int, kind: str = "") -> list[Event]:
        """A rank's events by their start; of one ``kind`` where it is given."""
        found = [event for event in self.events if event.rank == rank and kind in ("", event.kind)]
        return sorted(found, key=lambda event: event.start)

    def seconds_of(self, kind: str) -> list[float]:
        """By rank, the sum over its events of a kind."""
        if isinstance(self.events, EventLog):
            return self.events.sums(kind, self.world_size)
        log = EventLog()
        for e in self.events:
            log.add(e.rank, e.kind, e.start, e.end)
        return log.sums(kind, self.world_size)

    def waiting(self) -> list[float]:
        """By rank, the seconds in which it waited for a message."""
        return self.seconds_of("wait")

    def busy(self) -> list[float]:
        """By rank, the seconds in which it computed (``Communicator.compute``)."""
        return self.seconds_of("compute")

    @property
    def utilisation(self) -> float:
        """The share of all ranks' time, until the last one returned, in which they computed."""
        return sum(self.busy()) / (self.seconds * self.world_size) if self.seconds else 0.0
