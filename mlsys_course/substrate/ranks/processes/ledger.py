"""What one rank sent, asked for and waits for now: written by its communicator, read by whoever watches it."""

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

RECENT = 64  # messages to or from each rank that a snapshot tells of


@dataclass
class Entry:
    """A message, as one of its ends knows it: the ``number``-th to or from its ``peer`` on its channel, from 0 on.

    ``end`` is when the sender's or the receiver's ``wait`` returned.
    """

    peer: int
    number: int
    described: str
    bytes: int
    tag: str
    start: float
    channel: int = 0
    end: float = math.nan


@dataclass
class Snapshot:
    """Of a moment. ``waits`` is (source, channel, how many messages came there before, a number of this wait alone).

    ``sent`` and ``asked``: by the other rank and channel, how many, and dtype and shape of the last of them.
    """

    waits: tuple[int, int, int, int] | None
    sent: dict[tuple[int, int], tuple[int, list[str]]]
    asked: dict[tuple[int, int], tuple[int, list[str]]]


@dataclass
class Ledger:
    """Times are ``time.perf_counter``'s, which all processes of a machine share."""

    sends: list[Entry] = field(default_factory=list)
    receives: list[Entry] = field(default_factory=list)
    waits: list[tuple[int, float, float]] = field(default_factory=list)
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    began: float = math.nan
    returned: float = math.nan

    def __post_init__(self):
        self._to: dict[tuple[int, int], list[Entry]] = defaultdict(list)  # by peer and channel
        self._from: dict[tuple[int, int], list[Entry]] = defaultdict(list)
        self._now: tuple[int, int, int, int] | None = None
        self._users: set[int] = set()
        self._lock = threading.Lock()

    def sent(self, to: int, described: str, size: int, tag: str, channel: int = 0) -> Entry:
        """A message is on its way."""
        return self._add(self.sends, self._to[to, channel], to, described, size, tag, channel)

    def asked(self, source: int, described: str, channel: int = 0) -> Entry:
        """A buffer is promised to the next message from ``source``."""
        return self._add(self.receives, self._from[source, channel], source, described, 0, "", channel)

    def _add(self, entries: list[Entry], before: list[Entry], peer: int, described: str, size: int, tag: str,
             channel: int):  # fmt: skip
        with self._lock:
            self._users.add(threading.get_ident())
            entry = Entry(peer, len(before), described, size, tag, time.perf_counter(), channel)
            before.append(entry)
            entries.append(entry)
            return entry

    @contextmanager
    def waiting(self, entry: Entry) -> Iterator[None]:
        """This rank does nothing but wait for a message that it asked for."""
        self._users.add(threading.get_ident())
        start = time.perf_counter()
        self._now = (entry.peer, entry.channel, entry.number, len(self.waits))
        yield
        self._now = None  # not where the wait failed: this is what it waited for
        self.waits.append((entry.peer, start, time.perf_counter()))

    def span(self, label: str, start: float, end: float) -> None:
        """A named stretch of time is over."""
        self.spans.append((label, start, end))

    def __getstate__(self):
        """What is told of a rank that has ended; locks stay where they are."""
        return {name: getattr(self, name) for name in (field.name for field in fields(self))}

    def snapshot(self) -> Snapshot:
        """A rank that several threads speak for may go on while one of them waits, so it is not said to wait."""
        with self._lock:
            waits = self._now if len(self._users) <= 1 else None
            sent = {way: (len(all_), [e.described for e in all_[-RECENT:]]) for way, all_ in self._to.items()}
            asked = {way: (len(all_), [e.described for e in all_[-RECENT:]]) for way, all_ in self._from.items()}
            return Snapshot(waits, sent, asked)
