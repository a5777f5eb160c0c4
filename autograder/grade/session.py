"""One grading run of one lab: engine and scorer are made once, and each notebook is graded once."""

import contextlib
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import nbformat
import torch
from nbformat import NotebookNode

from mlsys_course.desk.check import Verdict

from ..build.edition import stage_edition
from ..cases import GROUPS, quiet_torch
from ..course import Course, CourseError
from ..draw import group_of
from ..fingerprint import fingerprint
from ..parts import Answers
from ..sandbox import Cell, Engine, Limits, Run
from ..scoring.cells import cells_of, graded_cells, numbers_of
from ..scoring.kept import scorer_of
from ..scoring.score import Scorer
from .flags import flags
from .own_words import first_stopped

UNSAFE = "Graded without the sandbox (--unsafe)."
UNREADABLE_RUN = Run("ok", [], {}, {}, 0.0, 0.0, 0, [])


@dataclass(frozen=True)
class Graded:
    """What came of one submission: the run with its outputs, and a verdict for each exercise."""

    run: Run
    verdicts: Mapping[str, Verdict]
    cells: Sequence[Cell] = ()
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by exercise: why a person should look
    stopped: str = ""  # the first cell that stopped and that others need, in our own words

    @property
    def score(self) -> float:
        return sum(verdict.score for verdict in self.verdicts.values())


class Session:
    """Grades repaired notebooks of one lab; any number of threads may call ``grade``."""

    def __init__(
        self,
        course: Course,
        stem: str,
        *,
        unsafe: bool = False,
        device: str = "cpu",
        jobs: int | None = None,
        limits: Limits | None = None,
    ):
        self.lab, self._course = course.lab(stem), course
        self.fingerprint = fingerprint(course, stem)
        self._scratch = tempfile.TemporaryDirectory(prefix="mlsys-grade-")
        scratch = Path(self._scratch.name)
        scratch.chmod(0o755)  # the sandbox's own user reads the edition
        self.folder = course.built(stem)
        if not (self.folder / f"{stem}.ipynb").is_file():
            if self.folder.parent == course.root / "labs":
                raise CourseError(f"{self.folder} is not built; call `mlsys build {stem}` first")
            from ..build.pipeline import build as build_lab  # with it comes nbgrader, which takes a second to import

            build_lab(self.lab, self.folder)
        self.released: NotebookNode = nbformat.read(self.folder / f"{stem}.ipynb", as_version=4)
        self.candidates = graded_cells(self.released)
        edition = stage_edition(course, stem, self.folder, scratch / "edition")
        self._turn = threading.Semaphore(jobs) if jobs else contextlib.nullcontext()  # at most so many sandboxes
        self._threads, self._making = torch.get_num_threads(), threading.Lock()
        beside = ThreadPoolExecutor(1)  # its process takes seconds to start, and nobody needs it yet
        self._engine = beside.submit(Engine, edition, unsafe=unsafe, device=device, sharers=jobs, limits=limits)
        beside.shutdown(wait=False)
        quiet_torch()  # references are small, and submissions keep the cores busy
        try:
            self._scorers = {0: self._scorer(0)}
        except BaseException:
            self.close()
            raise
        self.unsafe = unsafe

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(Exception):  # where it could not start there is nothing to end
            self._engine.result().close()
        torch.set_num_threads(self._threads)
        self._scratch.cleanup()

    @property
    def engine(self) -> Engine:
        """The sandboxes, once they can be had. Raises SandboxUnavailable where they cannot."""
        return self._engine.result()

    @property
    def identity(self) -> str:
        """Names all that a grade of this lab depends on, but for the submission."""
        return self.fingerprint.digest

    @property
    def protections(self) -> str:
        """Which protections of the sandbox are active, in one line."""
        off = [name for name, active in self.engine.protections.items() if not active]
        return f"NOT SEALED: without {', '.join(off)}" if off else f"sealed: {', '.join(self.engine.protections)}"

    @property
    def scorer(self) -> Scorer:
        """Of the first group; all agree on everything but numbers."""
        return self._scorers[0]

    def scorer_for(self, student: str) -> Scorer:
        """Of the student's group; made when the first of the group is graded."""
        group = group_of(student, self.lab.term.secret, GROUPS) if student else 0
        with self._making:
            if group not in self._scorers:
                self._scorers[group] = self._scorer(group)
            return self._scorers[group]

    def _scorer(self, group: int) -> Scorer:
        return scorer_of(self._course, self.lab.stem, group, self.fingerprint)

    def grade(self, notebook: NotebookNode, files: Mapping[str, bytes], student: str = "") -> Graded:
        """Run and score a student's repaired notebook; without a name, as of the first group."""
        if unreadable := notebook.metadata.get("mlsys", {}).get("unreadable"):
            return Graded(UNREADABLE_RUN, self.unreadable(unreadable))
        cells = cells_of(notebook, self.candidates)
        # Its own answers of parts: how fast one comes must not tell what another submission has asked.
        scorer = replace(self.scorer_for(student), answers=Answers())
        with self._turn:
            run = self.engine.run(cells, scorer, files=files)
        verdicts = scorer.verdicts(run, cells)
        if self.unsafe:
            verdicts = with_notes(verdicts, dict.fromkeys(verdicts, UNSAFE))
        flagged, stopped = self._flags(cells, files), first_stopped(cells, run.cells, numbers_of(notebook))
        if stopped and any(not verdict.ok for verdict in verdicts.values()):
            flagged["notebook"] = [*flagged.get("notebook", []), stopped]
        for name, verdict in verdicts.items():
            if alone := [f"case {r.case!r} {r.outcome.words}" for r in verdict.results if r.outcome.problem == "alone"]:
                flagged[name] = [*flagged.get(name, []), *alone]
        return Graded(run, verdicts, cells, flagged, stopped)

    def _flags(self, cells: Sequence[Cell], files: Mapping[str, bytes]) -> dict[str, list[str]]:
        """What the text has that honest work has no use for."""
        try:
            found = flags(cells, self.scorer.specifications, self.scorer.drivers, files)
        except Exception as error:  # whatever a text can do to a search of it, the grade stands
            return {"notebook": [f"its text could not be searched for evasions: {type(error).__name__}"]}
        return {name or "notebook": [str(flag) for flag in those] for name, those in found.items()}

    def counted(self, verdicts: Mapping[str, Verdict]) -> dict[str, tuple[float, float]]:
        """By exercise the points that it adds, and to how many."""
        counted = self.lab.points.counted({name: verdict.score for name, verdict in verdicts.items()})
        return {name: counted[name] for name in verdicts}

    def unreadable(self, message: str) -> dict[str, Verdict]:
        """Nothing for anybody, and why."""
        return {
            name: Verdict(name, s.kind, "unreadable", 0.0, s.max_score, note=message)
            for name, s in self.scorer.specifications.items()
        }


def with_notes(verdicts: Mapping[str, Verdict], notes: Mapping[str, str]) -> dict[str, Verdict]:
    """Verdicts with what was mended in the submission said beside them."""
    return {
        name: replace(v, note=" ".join(filter(None, [v.note, notes.get(name, "")]))) for name, v in verdicts.items()
    }
