"""One grading run of one lab: engine and scorer are made once, and each notebook is graded once."""

import hashlib
import json
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from mlsys_course.check import Verdict

from ..build.edition import stage_edition
from ..build.pipeline import build
from ..course import Course, CourseError
from ..sandbox import Engine, Limits, Run
from .cells import cells_of, graded_cells
from .score import Scorer

UNSAFE = "Graded without the sandbox (--unsafe)."
UNREADABLE_RUN = Run("ok", [], {}, {}, 0.0, 0.0, 0, [])


@dataclass(frozen=True)
class Graded:
    """What came of one submission: the run with its outputs, and a verdict for each exercise."""

    run: Run
    verdicts: Mapping[str, Verdict]

    @property
    def score(self) -> float:
        return sum(verdict.score for verdict in self.verdicts.values())


class Session:
    """Grades repaired notebooks of one lab; any number of threads may call ``grade``."""

    def __init__(self, course: Course, stem: str, *, unsafe: bool = False, limits: Limits | None = None):
        self.lab = course.lab(stem)
        self._scratch = tempfile.TemporaryDirectory(prefix="mlsys-grade-")
        scratch = Path(self._scratch.name)
        scratch.chmod(0o755)  # the sandbox's own user reads the edition
        self.folder = course.built(stem)
        if not (self.folder / f"{stem}.ipynb").is_file():
            if self.folder.parent == course.root / "labs":
                raise CourseError(f"{self.folder} is not built; call `mlsys build {stem}` first")
            build(self.lab, self.folder)
        self.released: NotebookNode = nbformat.read(self.folder / f"{stem}.ipynb", as_version=4)
        self.candidates = graded_cells(self.released)
        self.scorer = Scorer.for_lab(self.lab)
        edition = stage_edition(course, stem, self.folder, scratch / "edition")
        self.engine = Engine(edition, unsafe=unsafe, limits=limits or Limits())
        self.unsafe = unsafe
        self._known: dict[str, Graded] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.close()
        self._scratch.cleanup()

    def grade(self, notebook: NotebookNode, files: Mapping[str, bytes], *, again: bool = False) -> Graded:
        """Run and score a repaired notebook, or return what an equal one came to, unless it is to run ``again``."""
        if unreadable := notebook.metadata.get("mlsys", {}).get("unreadable"):
            return Graded(UNREADABLE_RUN, self._all(unreadable))
        cells = cells_of(notebook, self.candidates)
        text = json.dumps([[cell.source, cell.exercise, cell.skip] for cell in cells])
        key = hashlib.sha256(text.encode() + repr(sorted(files.items())).encode()).hexdigest()
        with self._lock:
            if key in self._known and not again:
                return self._known[key]
        run = self.engine.run(cells, self.scorer, files=files)
        verdicts = self.scorer.verdicts(run, cells)
        if self.unsafe:
            verdicts = with_notes(verdicts, dict.fromkeys(verdicts, UNSAFE))
        graded = Graded(run, verdicts)
        with self._lock:
            self._known[key] = graded
        return graded

    def _all(self, message: str) -> dict[str, Verdict]:
        return {
            name: Verdict(name, s.kind, "unreadable", 0.0, s.max_score, note=message)
            for name, s in self.scorer.specifications.items()
        }


def with_notes(verdicts: Mapping[str, Verdict], notes: Mapping[str, str]) -> dict[str, Verdict]:
    """Verdicts with what was mended in the submission said beside them."""
    return {
        name: replace(v, note=" ".join(filter(None, [v.note, notes.get(name, "")]))) for name, v in verdicts.items()
    }
