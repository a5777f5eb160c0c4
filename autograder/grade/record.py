"""nbgrader as the system of record: the course folder, the gradebook, one submission at a time."""

import logging
import os
import shutil
import sys
import warnings
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from traitlets.config import Config
from traitlets.utils.importstring import import_item

from mlsys_course.check import Verdict
from mlsys_course.errors import CourseProblem

from ..nbgrader_config import COURSE_FOLDER_CONFIG, configure


class RecordError(CourseProblem):
    """nbgrader and our verdict disagree, or nbgrader refused; the log says more."""


def _alembic_on_path() -> None:
    """nbgrader calls ``alembic`` by name; where the environment is not activated it is not on the path."""
    if shutil.which("alembic") is None:
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


class Recorder:
    """A course folder in nbgrader's layout: ``source/``, ``submitted/``, ``autograded/``, ``gradebook.db``."""

    def __init__(self, root: Path, stem: str, submitted: Path):
        self.root, self.stem = root.resolve(), stem
        _alembic_on_path()
        self.root.mkdir(parents=True, exist_ok=True)
        config = self.root / "nbgrader_config.py"
        if not config.exists():
            config.write_text(COURSE_FOLDER_CONFIG, encoding="utf-8")
        (self.root / ".mlsys").mkdir(exist_ok=True)
        self.log = logging.getLogger(f"mlsys.nbgrader.{stem}")
        self.log.propagate = False
        self.log.handlers = [logging.FileHandler(self.root / ".mlsys" / "nbgrader.log")]
        self.submitted = submitted
        self.db_url = f"sqlite:///{self.root / 'gradebook.db'}"

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        for handler in self.log.handlers:
            handler.close()

    def _coursedir(self, student: str) -> CourseDirectory:
        coursedir = CourseDirectory(config=self._config())
        coursedir.root = str(self.root)
        coursedir.assignment_id, coursedir.student_id = self.stem, student
        coursedir.submitted_directory = str(self.submitted.relative_to(self.root))
        coursedir.db_url = self.db_url
        return coursedir

    def _config(self) -> Config:
        return configure(Config())

    def _convert(self, kind: type, student: str, *, force: bool = True, **lists: str) -> None:
        """One nbgrader converter on one student. Lists of classes are named in the configuration as text."""
        converter = kind(coursedir=self._coursedir(student), config=self._config(), log=self.log)
        converter.force = force
        for trait in ("sanitize_preprocessors", "autograde_preprocessors", "preprocessors"):
            classes = getattr(converter, trait, [])
            setattr(converter, trait, [import_item(c) if isinstance(c, str) else c for c in classes])
        try:
            with warnings.catch_warnings():  # nbgrader's own use of its database and of nbconvert
                warnings.simplefilter("ignore", SAWarning)
                warnings.simplefilter("ignore", DeprecationWarning)
                converter.start()
        except (NbGraderException, SystemExit) as error:
            log = self.root / ".mlsys" / "nbgrader.log"
            raise RecordError(f"nbgrader refused {student or 'the assignment'}: {error}; see {log}") from error

    def generate(self, solution: nbformat.NotebookNode, edition: Path) -> None:
        """Put the assignment into the gradebook, once; again when the released notebook has changed."""
        source, release = self.root / "source" / self.stem, self.root / "release" / self.stem
        released = edition / f"{self.stem}.ipynb"
        there = release / f"{self.stem}.ipynb"
        if there.is_file() and nbformat.read(there, 4).cells == nbformat.read(released, 4).cells and self._known():
            return
        if source.exists():
            shutil.rmtree(source)
        shutil.copytree(edition, source, ignore=shutil.ignore_patterns("*.ipynb", "__pycache__"))
        nbformat.write(solution, source / f"{self.stem}.ipynb")
        self._convert(GenerateAssignment, "")

    def _known(self) -> bool:
        with Gradebook(self.db_url) as gradebook:
            try:
                gradebook.find_assignment(self.stem)
            except MissingEntry:
                return False
        return True

    def record(self, student: str, verdicts: dict[str, Verdict]) -> None:
        """Let nbgrader autograde one staged submission, and see that it wrote exactly our scores."""
        self._convert(Autograde, student)
        with Gradebook(self.db_url) as gradebook:
            notebook = gradebook.find_submission_notebook(self.stem, self.stem, student)
            scores = {grade.name: grade.auto_score for grade in notebook.grades}
        for name, verdict in verdicts.items():
            if scores.get(name) != verdict.score:
                raise RecordError(f"{student}, {name}: the gradebook has {scores.get(name)}, scored {verdict.score:g}")

    def feedback(self, student: str) -> Path:
        """nbgrader's HTML feedback of one student; the page's path."""
        self._convert(GenerateFeedback, student)
        return self.root / "feedback" / student / self.stem / f"{self.stem}.html"

    def students(self) -> list[str]:
        """Students whose submission of this lab is in the gradebook."""
        with Gradebook(self.db_url) as gradebook:
            try:
                return sorted(s.student.id for s in gradebook.assignment_submissions(self.stem))
            except MissingEntry:
                return []
