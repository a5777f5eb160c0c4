"""A submission's cells, and fresh sandboxes that run some of them."""

import ast
import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlsys_course.desk.check import Outcome, Specification, decode
from mlsys_course.desk.check.compare import TOLERANCE, case_dtype, compare
from mlsys_course.desk.check.reach import LONGEST_CELL, parse_cell, reach, used_names_of

from .attempt import Attempt
from .contract import Cell, CellRun, Limits, SandboxUnavailable, Trusted
from .group import Group
from .inside.channel import Channel
from .parked import Parked
from .process import Sandbox, WarmProcess
from .watchdog import Watchdog

HANG_SECONDS = 1.0  # to run a cell again that had to be interrupted
SCRATCH_MIB = 4  # beside who is measured, above what was handed in: a file mapped piece by piece shows in no peak


@dataclass
class Work:
    """What was handed in and who judges it; and what its sandboxes took so far."""

    warm: WarmProcess
    limits: Limits
    cells: Sequence[Cell]
    trusted: Trusted
    files: Mapping[str, bytes]
    specifications: Mapping[str, Specification]
    ranks: Mapping[str, int]  # of exercises for several ranks, how many
    left_out: dict[int, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0
    spared: float = 0.0  # of these, what the notebook took once more for exercises that are asked alone
    peak_bytes: int = 0
    peak_card_bytes: int = 0

    @property
    def handed_in(self) -> int:
        """Bytes of the files that came with the notebook."""
        return sum(map(len, self.files.values()))

    @property
    def cpu_left(self) -> float:
        """CPU-seconds that it may still take."""
        return self.limits.cpu_seconds + self.spared - self.cpu_seconds

    def limits_of_measured(self, limits: Limits) -> Limits:
        """Of a process whose memory is measured: what it may have beside itself."""
        return replace(limits, scratch_mib=SCRATCH_MIB + math.ceil(self.handed_in / (1 << 20)))

    def first_alike(
        self, cell: int, run: Callable[[Collection[int]], tuple[Outcome, float]], as_before: Outcome, inputs: bytes
    ) -> float:
        """The peak of a run that comes to the same as before; infinite where none does.

        First after the cells that the candidate's names reach alone; where these cannot do without the others, after
        the whole notebook up to its own cell. Where that comes to something else too, nothing is known of what it takes
        where it is right.
        """
        for kept in (self.reached(cell), range(cell)):
            found, peak = run(kept)
            if came_to_the_same(found, as_before, inputs):
                return peak
        return math.inf

    def parked(
        self, sandbox: Sandbox, index: int, channel: Channel, runs: Sequence[CellRun], *, common: bool = False
    ) -> Parked:
        specification = self.specifications[self.cells[index].exercise or ""]
        again = [HANG_SECONDS if run.status == "timeout" else 2 * run.seconds + 1 for run in runs]
        replay = again if self.warm.replay else []
        return Parked(sandbox, channel, index, specification, self.cells, replay, common=common)

    def reached(self, cell: int) -> Collection[int]:
        """The cells above that hold what the candidate's names depend on, by the text; one too long to read is none."""
        read = [c.exercise is None and not c.skip and len(c.source) <= LONGEST_CELL for c in self.cells[:cell]]
        above = [c.source if known else "" for c, known in zip(self.cells, read, strict=False)]
        return reach(above, used_names_of(self.cells[cell].candidate)).cells

    @contextlib.contextmanager
    def fresh(
        self, kept: Collection[int], exercises: Collection[str], limits: Limits, least: float
    ) -> Iterator[list[Parked]]:
        """A sandbox that has run the ``kept`` cells, and of the others has no text; its processes for those exercises.

        It may take ``least`` CPU-seconds, or what is left. Raises Ended.
        """
        needed = {i for i in kept if self.cells[i].exercise in (None, *exercises)}
        cells = [c if i in needed else replace(c, skip=True, source="") for i, c in enumerate(self.cells)]
        cells = cells[: max(needed) + 1]
        graded = [i for i in sorted(needed) if self.cells[i].exercise is not None and i not in self.left_out]
        sandbox = self.warm.spawn(limits, len(graded))
        try:
            sandbox.begin()
            watchdog = Watchdog(sandbox, limits, max(least, self.cpu_left))
            try:
                attempt = Attempt(sandbox, cells, limits, self.files, self.left_out)
                attempt.run()
                sandbox.notebook.close()
                channels = zip(graded, sandbox.graded, strict=True)
                yield [self.parked(sandbox, index, channel, attempt.runs) for index, channel in channels]
            finally:
                watchdog.look()
                self.count(watchdog)
        finally:
            sandbox.close()

    def count(self, took: Watchdog | Group) -> None:
        if took.failed:
            raise SandboxUnavailable(f"nobody could watch a sandbox: {took.failed!r}") from took.failed
        self.cpu_seconds += took.cpu_seconds
        self.peak_bytes = max(self.peak_bytes, took.peak_bytes)
        self.peak_card_bytes = max(self.peak_card_bytes, took.peak_card_bytes)


def only_imports(source: str) -> bool:
    """Whether a cell imports and does nothing else."""
    statements = parse_cell(source) if len(source) <= LONGEST_CELL else ()
    return bool(statements) and all(isinstance(one, ast.Import | ast.ImportFrom) for one in statements)


def closeness(inputs: bytes) -> float:
    """How far the outputs of one call may be apart in two processes: no looser than it is judged, for less is cheap."""
    return TOLERANCE[case_dtype(decode(inputs))]


def came_to_the_same(one: Outcome, other: Outcome, inputs: bytes) -> bool:
    """Whether one call with these inputs came to the same in two processes."""
    same = one.problem == other.problem
    return same and all(leaf.ok for leaf in compare(one.outputs, other.outputs, closeness(inputs)))
