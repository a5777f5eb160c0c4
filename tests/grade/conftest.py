"""What this room's tests share."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.grade import session
from autograder.grade.execute import use_session
from autograder.grade.handed_in import submissions
from autograder.grade.record import Recorder
from autograder.grade.run import _GradingRun
from autograder.grade.session import Session
from tests.conftest import write_small_course

from .graders import Graders
from .in_process import InProcess

STEM = "lab00_foundations"


@pytest.fixture(scope="session")
def graders() -> Iterator[Graders]:
    """Runs of ``mlsys``, each a process of its own."""
    with Graders() as started:
        yield started


@dataclass
class Course:
    """A course folder that is open for grading; ann's work is graded, and cleo's is not yet."""

    root: Path
    session: Session
    recorder: Recorder

    @property
    def into(self) -> Path:
        return self.recorder.root

    def rows(self, **how):
        """A grading run's rows, by student."""
        run = _GradingRun(self.session, self.recorder, True, 2)
        return {row.student: row for row in run.rows(submissions(self.root / "submitted", STEM), **how)}

    def recorded(self) -> list[str]:
        return [name for name in self.recorder.students() if self.recorder.book.entry(STEM, name)]


@pytest.fixture(scope="session")
def opened(tmp_path_factory) -> Iterator[Course]:
    """Made once: nbgrader takes seconds to begin a gradebook."""
    root = write_small_course(tmp_path_factory.mktemp("course"))
    made = build(load_course(root).lab(STEM), root / "labs" / STEM)
    for name in ("ann", "cleo"):
        (root / "submitted" / name / STEM).mkdir(parents=True)
        notebook = Student(made.student, made.solution).solve().hand_in()
        (root / "submitted" / name / STEM / f"{STEM}.ipynb").write_bytes(notebook)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "Engine", InProcess)
        opened = Session(load_course(root), STEM, unsafe=True)
    use_session(opened)
    with opened, Recorder(root / "into", STEM) as recorder:
        recorder.generate(made.solution, opened.folder)
        course = Course(root, opened, recorder)
        course.rows()
        yield course
