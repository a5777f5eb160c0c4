"""Watching over ranks until all have ended, or it is clear that they will not."""

import contextlib
import linecache
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .diagnosis import deadlocked, mismatched
from .ledger import Snapshot
from .rank_program import Place, Report
from .starters import Starter

LOOK_SECONDS = 0.5  # between two looks at ranks that take longer than that
GRACE_SECONDS = 3.0  # for the others to learn of a failure, and to say what they did
ANSWER_SECONDS = 1.0  # for a rank to say where it is


@dataclass
class Ended:
    """How each rank ended. ``problem`` is "", "raised", "died", "deadlock", "mismatch" or "late", told in ``words``."""

    world_size: int
    reports: dict[int, Report] = field(default_factory=dict)
    died: dict[int, str] = field(default_factory=dict)
    places: dict[int, Place | None] = field(default_factory=dict)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    problem: str = ""
    words: str = ""
    rank: int = -1

    @property
    def in_order(self) -> list[Report]:
        """The reports of all ranks, if there are that many."""
        return [self.reports[rank] for rank in range(self.world_size)]


class Follower:
    """Reads what ranks say; ``follow`` returns when all have ended or will never."""

    def __init__(self, connections: Sequence[Connection], way: Starter, folder: str, timeout: float):
        self.connections, self.way, self.folder = connections, way, Path(folder)
        self.ended = Ended(len(connections))
        self.deadline, self.timeout = time.monotonic() + timeout, timeout
        self._ranks = {connection: rank for rank, connection in enumerate(connections)}
        self._looks: dict[int, Snapshot] = {}
        self._asked = self._next = time.monotonic() + LOOK_SECONDS

    def follow(self) -> Ended:
        """Until all ranks have told their end. At the first failure the others are told, asked, and left behind."""
        while not self.ended.problem and len(self.ended.reports) < self.ended.world_size:
            self._read(LOOK_SECONDS / 5)
            self._judge_ends()
            if not self.ended.problem and time.monotonic() >= self._next:
                self._look()
            if not self.ended.problem and time.monotonic() > self.deadline:
                self._fail("late", f"after {self.timeout:g} s")
        if self.ended.problem:
            self._others()
        for rank in self.ended.reports:
            self._tell(rank, "over")
        return self.ended

    def _judge_ends(self) -> None:
        for rank, words in self.ended.died.items():
            return self._fail("died", f"rank {rank} {words}", rank)
        failed = [rank for rank, report in self.ended.reports.items() if report.said]
        if failed:
            # torch.distributed says first that a connection is lost; who lost it is seen a moment later
            lost = [rank for rank in failed if self.ended.reports[rank].released]
            if len(lost) == len(failed):
                self._read(LOOK_SECONDS)
            rank = min(set(failed) - set(lost) or failed)
            if not self.ended.died:
                self._fail("raised", f"rank {rank} raised {self.ended.reports[rank].said}", rank)

    def _look(self) -> None:
        """Compare what all ranks say of themselves with what they said at the last look."""
        if self._looks and set(self._looks) == set(range(self.ended.world_size)):
            before, now = self.ended.snapshots, self._looks
            if words := mismatched(now):
                self._fail("mismatch", words)
            elif words := deadlocked(before, now, set(self.ended.reports)):
                self._fail("deadlock", words)
            self.ended.snapshots, self._looks = now, {}
        if not self._looks:
            for rank in range(self.ended.world_size):
                self._tell(rank, "look")
        self._next = time.monotonic() + LOOK_SECONDS

    def _fail(self, problem: str, words: str, rank: int = -1) -> None:
        self.ended.problem, self.ended.words, self.ended.rank = problem, words, rank

    def _others(self) -> None:
        """Where the others are; then why they cannot go on, which a rank raises where it waits."""
        running = self._running()
        for rank in running:
            self._tell(rank, "where")
        self._until(lambda: all(r in self.ended.places or r not in self._running() for r in running), ANSWER_SECONDS)
        for rank in self._running():
            self._tell(rank, "stop", self.ended.words)
        if self.ended.problem in ("raised", "died"):
            if self.ended.rank in self.ended.reports:  # its end closes its connections: who waits for it wakes
                self._tell(self.ended.rank, "over")
            self._until(lambda: not self._running(), GRACE_SECONDS)

    def _running(self) -> list[int]:
        gone = self.ended.reports.keys() | self.ended.died.keys()
        return [rank for rank in range(self.ended.world_size) if rank not in gone]

    def _until(self, done: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self._read(0.05)

    def _tell(self, rank: int, kind: str, content: Any = None) -> None:
        with contextlib.suppress(OSError):  # it has ended, which _read sees
            self.connections[rank].send((kind, content))

    def _read(self, seconds: float) -> None:
        """Take in what ranks have said, waiting for it at most so long."""
        for ready in wait([connection for connection in self.connections if not connection.closed], seconds):
            assert isinstance(ready, Connection)
            rank = self._ranks[ready]
            try:
                self._take_in(rank, *ready.recv())
            except (EOFError, OSError):
                ready.close()
                if rank not in self.ended.reports:
                    self.ended.died[rank] = self._how_it_died(rank)

    def _take_in(self, rank: int, kind: str, content: Any) -> None:
        if kind == "print":
            stream, lines = content
            for line in lines:
                print(f"[rank {rank}] {line}", file=getattr(sys, stream), flush=True)
        elif kind == "look":
            self._looks[rank] = content
        elif kind == "where":
            self.ended.places[rank] = content
        elif kind == "report":
            self.ended.reports[rank] = content

    def _how_it_died(self, rank: int) -> str:
        code, end = None, time.monotonic() + ANSWER_SECONDS
        while code is None and time.monotonic() < end:
            code = self.way.exit_codes()[rank]
            time.sleep(0.01)
        how = "ended with no exit code" if code is None else f"exit code {code}" if code >= 0 else f"signal {-code}"
        log = self.folder / f"rank{rank}.log"
        last = log.read_text(errors="replace").strip()[-500:] if log.exists() else ""
        said = f"; the last it wrote: {last}" if last else ""
        return f"died ({how}){said}"


def shown(place: Place | None) -> str:
    """A place with the text of its lines, which only this process has for a notebook's cells."""
    lines = []
    for file, number, name in place.frames if place else []:
        text = linecache.getline(file, number).strip()
        lines.append(f"    {file}:{number} in {name}" + (f": {text}" if text else ""))
    return "\n".join(lines)
