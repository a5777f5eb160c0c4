"""Ranks: as many sandboxes as an exercise has ranks, each of which runs the notebook itself."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from .attempt import Attempt
from .contract import Cell, Ended, Limits, Stopped, Trusted
from .inside.channel import Channel
from .process import Sandbox, WarmProcess
from .watchdog import Watchdog

MOST_RANKS, FEWEST_PROCESSES = 8, 24  # a notebook may start ranks as threads


def ranks_of(trusted: Trusted, exercises: Collection[str]) -> dict[str, int]:
    """Of those exercises whose sealed calls are to several ranks, the most ranks of any call."""
    found = {}
    for exercise in exercises:
        sizes = [len(call.ranks) for call in trusted.calls(exercise)]
        if any(sizes):
            found[exercise] = max(sizes)
            if not all(1 <= size <= MOST_RANKS for size in sizes):
                raise ValueError(f"{exercise}: every sealed call needs 1 to {MOST_RANKS} ranks, not {sizes}")
    return found


def only_graded(cells: Sequence[Cell], exercises: Collection[str]) -> list[Cell]:
    """The cells with other graded ones left out."""
    return [
        cell if cell.exercise is None or cell.exercise in exercises else Cell(cell.source, skip=True) for cell in cells
    ]


def shared(limits: Limits, size: int) -> Limits:
    """A submission's limits by rank: together they are the submission's."""
    processes = max(FEWEST_PROCESSES, limits.processes // size)
    return replace(
        limits,
        memory_mib=limits.memory_mib // size,
        gpu_memory_mib=limits.gpu_memory_mib // size,
        processes=processes,
    )


class Group:
    """Sandboxes that run the same cells at the same time, and end together.

    ``failures`` say of those that did not reach the notebook's end what ended them.
    """

    def __init__(
        self,
        warm: WarmProcess,
        limits: Limits,
        size: int,
        cells: Sequence[Cell],
        left_out: Mapping[int, str],
        cpu_seconds: float,
    ):
        self.limits, self.cells, self.left_out = shared(limits, size), cells, left_out
        self.graded = [i for i, cell in enumerate(cells) if cell.exercise is not None and i not in left_out]
        self.most_cpu = cpu_seconds / size
        self.failures: list[Ended] = []
        self.cpu_seconds, self.most_used, self.peak_bytes, self.peak_card_bytes = 0.0, 0.0, 0, 0
        self.attempts: list[Attempt] = []
        self.watchdogs: list[Watchdog] = []
        self.sandboxes: list[Sandbox] = []
        try:
            for _ in range(size):
                self.sandboxes.append(warm.spawn(self.limits, len(self.graded)))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all of them."""
        for sandbox in self.sandboxes:
            sandbox.kill()
        for sandbox in self.sandboxes:
            sandbox.close()

    def run(self, files: Mapping[str, bytes]) -> None:
        """Run the notebook in each, to its end or to what ends it."""
        for sandbox in self.sandboxes:
            sandbox.begin()
            self.watchdogs.append(Watchdog(sandbox, self.limits, self.most_cpu))
        self.attempts = [Attempt(s, self.cells, self.limits, files, self.left_out) for s in self.sandboxes]
        with ThreadPoolExecutor(len(self.attempts)) as pool:
            self.failures = [error for error in pool.map(_ran, self.attempts) if error is not None]

    @property
    def why(self) -> Stopped:
        """What kept a rank from its cell."""
        return self.failures[0].why if self.failures else "crashed"

    def channels(self, index: int, size: int) -> list[tuple[Sandbox, Channel]]:
        """Where the copies of ``size`` ranks wait that parked at a cell; empty unless all did."""
        ranks = list(zip(self.sandboxes, self.attempts, strict=True))[:size]
        if any(sandbox.over or index not in attempt.reached_graded for sandbox, attempt in ranks):
            return []
        return [(sandbox, sandbox.graded[self.graded.index(index)]) for sandbox, _ in ranks]

    @property
    def failed(self) -> Exception | None:
        """What kept somebody from watching one of them."""
        return next((watchdog.failed for watchdog in self.watchdogs if watchdog.failed), None)

    def measure(self) -> None:
        """Sum what they took, for the last time before they are closed."""
        for watchdog in self.watchdogs:
            watchdog.look()
        self.cpu_seconds = sum(watchdog.cpu_seconds for watchdog in self.watchdogs)
        self.most_used = max((watchdog.cpu_seconds for watchdog in self.watchdogs), default=0.0)
        self.peak_bytes = sum(watchdog.peak_bytes for watchdog in self.watchdogs)
        self.peak_card_bytes = sum(watchdog.peak_card_bytes for watchdog in self.watchdogs)


def _ran(attempt: Attempt) -> Ended | None:
    try:
        attempt.run()
    except Ended as error:
        return error
    return None
