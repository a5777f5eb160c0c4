"""The engine: a warm process for an edition, and runs of submissions in sandboxes that it forks."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType

from mlsys_course.check import Outcome, Specification
from mlsys_course.check.edition import load_specification

from .attempt import Attempt
from .contract import Cell, CellRun, Ended, Limits, Run, RunStatus, SandboxUnavailable, Trusted
from .inside.channel import Channel
from .process import Sandbox, WarmProcess
from .protections import measured, none_of_them
from .sealed import Examination
from .watchdog import Watchdog

RESTARTS = 3
MOST_GRADED, MOST_FILES = 200, 200
NOT_REACHED = {
    "timeout": "The notebook took too long before this exercise's cell.",
    "memory": "The notebook took too much memory before this exercise's cell.",
    "crashed": "The notebook's process ended before this exercise's cell.",
}
WORST: tuple[RunStatus, ...] = ("ok", "crashed", "timeout", "memory")


class Engine:
    """Runs submissions of one edition: a folder with ``python/mlsys_course`` and ``lab/`` (drivers and cases).

    Raises SandboxUnavailable where this machine lacks a piece, unless ``unsafe``: then limits alone protect it.
    """

    def __init__(self, edition: Path, *, unsafe: bool = False, limits: Limits | None = None):
        for needed in (edition / "python" / "mlsys_course", edition / "lab" / "drivers.py"):
            if not needed.exists():
                raise FileNotFoundError(f"{needed} is missing; build the lab's edition first (mlsys build)")
        self.edition, self.unsafe, self.limits = edition, unsafe, limits or Limits()
        self.warm = WarmProcess(edition, sealed=not unsafe)
        try:
            self.protections = self._self_test()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the warm process and all that came from it."""
        self.warm.close()

    def run(self, cells: Sequence[Cell], trusted: Trusted, *, files: Mapping[str, bytes] | None = None) -> Run:
        """Run a notebook's cells, then the sealed calls of its graded cells. Several threads may run at once."""
        given = files or {}
        graded = [cell.exercise for cell in cells if cell.exercise is not None]
        if len(set(graded)) != len(graded) or len(graded) > MOST_GRADED:
            raise ValueError(f"graded cells must be different and at most {MOST_GRADED}: {graded}")
        if bad := [name for name in given if not _may_be_placed(name)]:
            raise ValueError(f"no place in the student's folder: {bad}; give relative paths, without '..'")
        if len(given) > MOST_FILES or sum(map(len, given.values())) > self.limits.scratch_mib << 19:
            raise ValueError(f"{len(given)} files; at most {MOST_FILES}, half of scratch_mib together")
        known = {exercise: load_specification(self.edition / "lab", exercise) for exercise in graded}
        return _Submission(self, cells, trusted, given, known).run()

    def _self_test(self) -> dict[str, bool]:
        """Start one sandbox, and look at it from outside."""
        sandbox = self.warm.spawn(self.limits, 0)
        try:
            sandbox.begin()
            found = {**none_of_them(), "rlimits": True} if self.unsafe else measured(sandbox)
            watchdog = Watchdog(sandbox, self.limits, self.limits.cpu_seconds)
            watchdog.look()
            found["watchdog"] = watchdog.peak_bytes > self.limits.scratch_mib << 20
        finally:
            sandbox.close()
        off = [name for name, active in found.items() if not active]
        if off and not self.unsafe:
            raise SandboxUnavailable(f"not in force here: {', '.join(off)}; run mlsys doctor, or grade with --unsafe")
        return found


def _may_be_placed(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


@dataclass
class _Submission:
    """One run: attempts at the notebook, each without the cells that ended the ones before, then sealed calls."""

    engine: Engine
    cells: Sequence[Cell]
    trusted: Trusted
    files: Mapping[str, bytes]
    specifications: Mapping[str, Specification]
    left_out: dict[int, str] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    runs: list[CellRun] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    status: RunStatus = "ok"
    cpu_seconds: float = 0.0
    peak_bytes: int = 0

    def run(self) -> Run:
        start = time.monotonic()
        for attempt in range(RESTARTS + 1):
            if not self._again(last=attempt == RESTARTS):
                break
        for exercise in self.specifications:
            if exercise not in self.outcomes:
                self._give_up(exercise, self.status if self.status != "ok" else "crashed")
        wall = time.monotonic() - start
        return Run(
            self.status, self.runs, self.outcomes, self.problems, wall, self.cpu_seconds, self.peak_bytes, self.log
        )

    def _again(self, *, last: bool) -> bool:
        """One sandbox from start to end; whether another is to follow."""
        left = self.engine.limits.cpu_seconds - self.cpu_seconds
        if left <= 0:
            return False
        graded = [i for i, cell in enumerate(self.cells) if cell.exercise is not None and i not in self.left_out]
        sandbox = self.engine.warm.spawn(self.engine.limits, len(graded))
        try:
            sandbox.begin()
            watchdog = Watchdog(sandbox, self.engine.limits, left)
            try:
                return self._attempt(sandbox, graded, last)
            finally:
                watchdog.look()
                self.cpu_seconds += watchdog.cpu_seconds
                self.peak_bytes = max(self.peak_bytes, watchdog.peak_bytes)
        finally:
            sandbox.close()

    def _attempt(self, sandbox: Sandbox, graded: list[int], last: bool) -> bool:
        attempt = Attempt(sandbox, self.cells, self.engine.limits, self.files, self.left_out)
        try:
            attempt.run()
        except Ended as error:
            self._note(error.why, error.log)
            if not (attempt.out_of_time or last) and attempt.reached < len(self.cells):
                self._leave_out(attempt.reached, error.why)
                return True
            if len(attempt.runs) == attempt.reached:
                attempt.runs.append(CellRun("timeout" if error.why == "timeout" else "error"))
        self._keep(attempt.runs)
        if any(run.status == "timeout" for run in self.runs):
            self._note("timeout")
        channels = dict(zip(graded, sandbox.graded, strict=True))
        parked = [i for i in attempt.parked if self.cells[i].exercise not in self.outcomes]
        return self._examine_all(sandbox, [self._examination(sandbox, i, channels[i]) for i in parked]) and not last

    def _examine_all(self, sandbox: Sandbox, waiting: list[Examination]) -> bool:
        """Sealed calls, one exercise after the other; whether the rest need theirs in another sandbox."""
        sandbox.notebook.close()
        for examination in waiting:
            examination.greet()
        random.SystemRandom().shuffle(waiting)
        while waiting:
            # Nobody else is there to see the inputs: no notebook, no process that it or a candidate left.
            sandbox.keep_only([examination.pid for examination in waiting])
            examination = waiting.pop()
            try:
                examination.run()
            except Ended as error:
                return bool(waiting) and error.why != "timeout"
            finally:
                self.outcomes[examination.exercise] = examination.outcomes
                if examination.problem:
                    self.problems[examination.exercise] = examination.problem
                    self.log.append(examination.log)
                for other in waiting if sandbox.over else ():
                    other.close()
        return False

    def _examination(self, sandbox: Sandbox, index: int, channel: Channel) -> Examination:
        cell, seconds = self.cells[index], self.engine.limits.call_seconds
        exercise = cell.exercise or ""
        specification = self.specifications[exercise]
        return Examination(sandbox, channel, exercise, cell.candidate, specification, self.cells, self.trusted, seconds)

    def _leave_out(self, index: int, why: str) -> None:
        self.left_out[index] = why
        exercise = self.cells[index].exercise
        if exercise is not None:
            self._give_up(exercise, why)

    def _give_up(self, exercise: str, why: str) -> None:
        self.outcomes[exercise] = {call.key: Outcome(problem=why) for call in self.trusted.calls(exercise)}
        self.problems[exercise] = NOT_REACHED[why]
        self.log.append(f"{exercise}: its cell was not reached: {why}")

    def _keep(self, runs: list[CellRun]) -> None:
        if not self.runs:
            missing = len(self.cells) - len(runs)
            self.runs = [*runs, *(CellRun("notrun") for _ in range(missing))]

    def _note(self, why: RunStatus, log: str = "") -> None:
        if WORST.index(why) > WORST.index(self.status):
            self.status = why
        if log:
            self.log.append(log)
