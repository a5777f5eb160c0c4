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
    """A message, as one of its ends knows it: the ``number``-th to or from its ``peer``, counted from 0.

    ``end`` is when the sender's or the receiver's ``wait`` returned.
    """

    peer: int
    number: int
    described: str
    bytes: int
    tag: str
    start: float
    end: float = math.nan


@dataclass
class Snapshot:
    """Of a moment. ``waits`` is (source, how many messages from it came before, a number that each wait has alone).

    ``sent`` and ``asked``: by the other rank, how many, and dtype and shape of the last of them.
    """

    waits: tuple[int, int, int] | None
    sent: dict[int, tuple[int, list[str]]]
    asked: dict[int, tuple[int, list[str]]]


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
        self._to: dict[int, list[Entry]] = defaultdict(list)
        self._from: dict[int, list[Entry]] = defaultdict(list)
        self._now: tuple[int, int, int] | None = None
        self._users: set[int] = set()
        self._lock = threading.Lock()

    def sent(self, to: int, described: str, size: int, tag: str) -> Entry:
        """A message is on its way."""
        return self._add(self.sends, self._to, to, described, size, tag)

    def asked(self, source: int, described: str) -> Entry:
        """A buffer is promised to the next message from ``source``."""
        return self._add(self.receives, self._from, source, described, 0, "")

    def _add(
        self, entries: list[Entry], by_peer: dict[int, list[Entry]], peer: int, described: str, size: int, tag: str
    ):
        with self._lock:
            self._users.add(threading.get_ident())
            entry = Entry(peer, len(by_peer[peer]), described, size, tag, time.perf_counter())
            by_peer[peer].append(entry)
            entries.append(entry)
            return entry

    @contextmanager
    def waiting(self, entry: Entry) -> Iterator[None]:
        """This rank does nothing but wait for a message that it asked for."""
        self._users.add(threading.get_ident())
        start = time.perf_counter()
        self._now = (entry.peer, entry.number, len(self.waits))
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
            sent = {rank: (len(all_), [e.described for e in all_[-RECENT:]]) for rank, all_ in self._to.items()}
            asked = {rank: (len(all_), [e.described for e in all_[-RECENT:]]) for rank, all_ in self._from.items()}
            return Snapshot(waits, sent, asked)
