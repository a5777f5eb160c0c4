"""How many mutants of an exercise its sealed cases catch: each is judged in a fork, within so many executed lines."""

import contextlib
import io
import os
import random
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from mlsys_course.desk.check import Specification
from mlsys_course.desk.check.meter import run_measured
from mlsys_course.desk.check.settings import as_the_lab_says
from mlsys_course.desk.check.verdict import judge_case

from ..build.notebook import render
from ..build.source import candidate_of, read_source
from ..cases import sealed_specification
from ..course import Lab
from ..errors import CourseError
from ..exercise import Exercise
from .equivalent import MOST, equivalents, is_equivalent
from .helpers import Helpers
from .mutants import Mutant, mutants

LINES = 20, 20_000  # a mutant may execute so many times the lines that the solution does, and so many more
SECONDS, MOST_BYTES = 20, 6 << 30  # of one mutant
MUTANT = "<mutant>"
CAUGHT, SURVIVED, NO_MUTANT = 1, 3, 4  # what a fork ends with: any other end is a crash, which cases see


@dataclass(frozen=True)
class Score:
    """Of one exercise: how many mutants there were, which were not caught, and how many are known as no mistakes."""

    exercise: str
    tried: int
    survivors: Sequence[Mutant]
    equivalent: int

    @property
    def caught(self) -> float:
        """The share of those that are mistakes."""
        return 1 - len(self.survivors) / max(1, self.tried - self.equivalent)

    @property
    def too_many_equivalent(self) -> bool:
        """Whether more are excused than an exercise may have without a word."""
        return self.equivalent > MOST * self.tried


def scores(lab: Lab, exercise: str | None = None, **how: Any) -> Iterator[Score]:
    """Of each coded exercise of a lab, or of one; ``how`` as for ``score``."""
    if exercise and exercise not in (names := [one.id for one in lab.exercises]):
        raise CourseError(f"{lab.stem} has no coded exercise {exercise!r}; it has {', '.join(names)}")
    for one in lab.exercises:
        if exercise in (None, one.id):
            yield score(lab, one, **how)


def score(lab: Lab, exercise: Exercise, *, most: int | None = None, jobs: int | None = None,
          progress: Callable[..., None] = lambda **_: None) -> Score:  # fmt: skip
    """Judge all mutants of an exercise's cell, or ``most`` of them, drawn with a fixed seed."""
    bench = Bench(lab, exercise)
    made = mutants(bench.cell.source)
    if most is not None and len(made) > most:
        made = random.Random(0).sample(made, most)
    known = equivalents(lab.source.parent).get(exercise.id, [])
    wrong = [mutant for mutant in made if not is_equivalent(mutant, known)]
    found = bench.judged([mutant.source for mutant in wrong], jobs or os.cpu_count() or 1, progress)
    survivors = [mutant for mutant, end in zip(wrong, found, strict=True) if end == SURVIVED]
    return Score(exercise.id, len(made) - found.count(NO_MUTANT), survivors, len(made) - len(wrong))


class Bench:
    """The notebook up to an exercise's cell, and the sealed cases that judge what stands in its place."""

    def __init__(self, lab: Lab, exercise: Exercise):
        cells = read_source(lab.source)
        render(lab.source, cells, lab.variants)
        place = next(n for n, cell in enumerate(cells) if (cell.kind, cell.id) == ("exercise", exercise.id))
        self.cell = cells[place]
        checked = next(cell for cell in cells if (cell.kind, cell.id) == ("check", exercise.id))
        self.candidate = candidate_of(lab.source, checked)
        self.exercise, self.driver = exercise, lab.drivers[exercise.id]
        self.specification = sealed_specification(lab, exercise)
        self.names: dict[str, Any] = {"__name__": "__main__"}
        with contextlib.redirect_stdout(io.StringIO()):
            for cell in cells[:place]:
                if cell.kind in ("code", "exercise") and not cell.markdown:
                    exec(compile(cell.source, f"<{cell.id or 'code'}>", "exec"), self.names)
        self.most_lines, self.lines = sys.maxsize, 0
        if self.end_of(self.cell.source) != SURVIVED:
            raise CourseError(f"{lab.stem}, {exercise.id}: the solution does not pass; call mlsys build {lab.stem}")
        self.most_lines = LINES[0] * self.lines + LINES[1]

    def judged(self, sources: Sequence[str], jobs: int, progress: Callable[..., None]) -> list[int]:
        """What the fork of each ends with, ``jobs`` at a time."""
        ends: dict[int, int] = {}
        running: dict[int, int] = {}
        waiting = list(enumerate(sources))[::-1]
        while waiting or running:
            while waiting and len(running) < jobs:
                number, source = waiting.pop()
                running[self._fork(source)] = number
            ended, status = os.wait()
            ends[running.pop(ended)] = os.waitstatus_to_exitcode(status)
            progress(completed=len(ends), total=len(sources))
        return [ends[number] for number in range(len(sources))]

    def _fork(self, source: str) -> int:
        child = os.fork()
        if child:
            return child
        status = CAUGHT
        with contextlib.suppress(BaseException):
            os.setsid()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            null = os.open(os.devnull, os.O_RDWR)
            for standard in (1, 2):
                os.dup2(null, standard)
            status = self.end_of(source)
        os._exit(status)

    def end_of(self, source: str) -> int:
        """CAUGHT where what the cell then defines does not earn all points."""
        helpers = Helpers()
        names = {**self.names, **helpers.names()}
        exec(compile(source, MUTANT, "exec"), names)
        candidate = eval(self.candidate, names)
        with _counted(self.most_lines) as lines:
            caught = any(not self._passes(candidate, one) for one in _by_case(self.specification))
        self.lines = lines.count
        idle = not helpers.acted and any(name in source for name in helpers.names())
        return CAUGHT if caught else NO_MUTANT if idle else SURVIVED

    def _passes(self, candidate: Any, one: Specification) -> bool:
        (case,) = one.cases
        watch = {"forbidden": one.forbidden, "allowed": one.allowed, "unchanged": one.unchanged}
        parts = {name: part.reference for name, part in self.exercise.parts.items()}
        with as_the_lab_says():
            outcome = run_measured(self.driver, candidate, case.inputs, case.limits, parts=parts, **watch)
        return judge_case(one, case, outcome, self.driver).ok


def _by_case(specification: Specification) -> Iterator[Specification]:
    return (replace(specification, cases=[case]) for case in specification.cases)


class _Lines:
    """Counts the lines that the cell executes in this and in other threads, and ends it where they are too many."""

    def __init__(self, most: int):
        self.count, self.most = 0, most

    def __call__(self, frame: FrameType, event: str, _: Any) -> "_Lines | None":
        if frame.f_code.co_filename != MUTANT:
            return None
        self.count += event == "line"
        if self.count > self.most:
            raise TimeoutError(f"more than {self.most} lines")
        return self


@contextlib.contextmanager
def _counted(most: int) -> Iterator[_Lines]:
    lines = _Lines(most)
    threading.settrace(lines)
    sys.settrace(lines)
    try:
        yield lines
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
