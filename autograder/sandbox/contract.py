"""What the engine takes and gives: cells, sealed calls, limits, and what a run came to."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mlsys_course.desk.check import Outcome
from mlsys_course.substrate.errors import CourseProblem


class SandboxUnavailable(CourseProblem):
    """This machine lacks a piece that sealed grading needs; the message says which, and what to do."""


BUFFER = 64 << 10  # the most bytes that wait unread behind a descriptor: a pipe's; TCP's are set to fewer
TERMINALS = 2 * 640 << 10  # and behind a sandbox's terminals
FEWEST_DESCRIPTORS = 8  # to run at all, where memory is limited to a few hundred MiB
UNSEEN = 20  # such bytes are in no process's resident set, so all of them together are one part in so many


@dataclass(frozen=True)
class Limits:
    """Of one submission. Memory, CPU and processes are summed over all its processes, temporary files included."""

    call_seconds: float = 5.0  # wall-clock, for a sealed call that names no limit of its own
    sealed_seconds: float = 120.0  # of all sealed calls together: who sleeps through each of them holds up the others
    cell_seconds: float = 20.0
    notebook_seconds: float = 60.0
    cpu_seconds: float = 60.0
    memory_mib: int = 3072
    gpu_memory_mib: int = 0  # with a card; 0: the card's memory shared by as many submissions as there are processors
    processes: int = 64
    scratch_mib: int = 64
    output_mib: int = 4

    @property
    def descriptors(self) -> int:
        """Of each process: so many that unread bytes in the kernel cannot matter. One more is its channel to us."""
        room = (self.memory_mib << 20) // UNSEEN - TERMINALS
        return max(FEWEST_DESCRIPTORS, room // (self.processes * BUFFER) - 1)

    def resources(self) -> dict[str, int]:
        """The limits that the kernel holds each process to, beside the watchdog's sums. Names of resource.RLIMIT_*."""
        return {
            "NPROC": self.processes,
            "CPU": int(self.cpu_seconds) + 5,
            "FSIZE": self.scratch_mib << 20,
            "NOFILE": self.descriptors,
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
            "SIGPENDING": 1024,
        }


@dataclass(frozen=True)
class Cell:
    """A code cell. With ``exercise`` it is graded: not run, but ``candidate`` is what its sealed calls are about,
    an expression in the student's names. With ``skip`` it stays out, as experiments do."""

    source: str
    exercise: str | None = None
    candidate: str = ""
    skip: bool = False


@dataclass(frozen=True)
class Call:
    """One sealed call: the bytes of an encoded tree of inputs, and a wall-clock limit (0: the engine's own).

    With ``measure_memory`` it is made once more, in a process that has done nothing else, whose growth counts. With
    ``ranks`` it is a call to as many ranks at once, each in a sandbox of its own: their inputs in order, in place of
    ``inputs``; then each rank is measured by itself, with the messages that it got, and the largest growth counts.
    """

    key: str
    inputs: bytes
    seconds: float = 0.0
    measure_memory: bool = False
    ranks: Sequence[bytes] = ()


class Trusted(Protocol):
    """Who draws the sealed inputs and holds the references. ``part`` raises ValueError to refuse.

    ``parts`` names the exercises whose references ``part`` answers with. ``settled`` says of outcomes from the process
    that answers for all exercises whether they may stand; if not, the exercise is asked again, alone. ``earned`` are
    the keys of those calls that points are earned with.
    """

    def calls(self, exercise: str) -> Sequence[Call]: ...

    def part(self, exercise: str, name: str, request: bytes) -> bytes: ...

    def parts(self, exercise: str) -> Collection[str]: ...

    def settled(self, exercise: str, outcomes: Mapping[str, Outcome]) -> bool: ...

    def earned(self, exercise: str, outcomes: Mapping[str, Outcome]) -> Collection[str]: ...


CellStatus = Literal["ok", "error", "timeout", "skipped", "notrun"]
Stopped = Literal["timeout", "memory", "crashed"]
RunStatus = Literal["ok"] | Stopped


@dataclass(frozen=True)
class CellRun:
    """What became of one cell; ``outputs`` as in nbformat."""

    status: CellStatus
    outputs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """What became of a submission. ``status`` is the worst that happened to the notebook, restarts or not.

    ``outcomes`` by exercise and call, one call of each exercise again under its key with AGAIN, and of each call to
    ranks that earns points what it came to when every rank ran alone, under that key with ALONE;
    ``problems`` says of exercises what ended their calls, in the engine's own words, fit for students; ``log``,
    which may quote the sandbox, is for staff. Of an outcome's costs, "part_calls" counts forward and backward, and
    "rank_bytes", "rank_messages" are the most that any one rank sent, "total_bytes" what all sent, and
    "off_ring_bytes" what did not go to the next rank.
    """

    status: RunStatus
    cells: list[CellRun]
    outcomes: dict[str, dict[str, Outcome]]
    problems: dict[str, str]
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    log: list[str]
    peak_card_bytes: int = 0


AGAIN, ALONE = "#again", "#alone"


class Ended(Exception):
    """The sandbox, or a process in it, is gone: why, as a problem's word. ``detail`` is for students, in our words."""

    def __init__(self, why: Stopped, log: str = "", detail: str = ""):
        super().__init__(log or why)
        self.why: Stopped = why
        self.log, self.detail = log, detail


def case_of(key: str) -> str:
    """The call that an outcome's key is about."""
    return key.removesuffix(ALONE).removesuffix(AGAIN)


def calls_by_key(calls: Sequence[Call]) -> Mapping[str, Call]:
    """Calls by key; raises ValueError when two have the same."""
    found = {call.key: call for call in calls}
    if len(found) != len(calls) or any(case_of(key) != key for key in found):
        keys = [call.key for call in calls]
        raise ValueError(f"keys of sealed calls must differ, and not end in {AGAIN} or {ALONE}: {keys}")
    return found
