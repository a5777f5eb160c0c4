"""nbgrader's gradebook through one connection: a submission's grades and its journal entry in one transaction."""

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader.api import Base, Comment, Grade, Gradebook, GradeCell, MissingEntry, SolutionCell
from nbgrader.dbutil import ALEMBIC_DIR
from nbgrader.preprocessors import AssignLatePenalties
from nbgrader.utils import is_grade, parse_utc
from sqlalchemy import Column, ColumnElement, MetaData, Select, String, Table, Text, create_engine, inspect, select
from sqlalchemy.exc import OperationalError
from traitlets.config import Config

from ..feedback.grades import Grades, everybodys_grades
from ..fingerprint import Fingerprint
from ..scoring.cells import grade_id
from ..term import LatePolicy
from .bonus import SaveGrades
from .late_plugin import CoursePolicy

BUSY_SECONDS = 60  # formgrader writes to the same file

_metadata = MetaData()
_journal = Table(
    "mlsys_journal",
    _metadata,
    Column("lab", String(128), primary_key=True),
    Column("student", String(128), primary_key=True),
    Column("entry", Text, nullable=False),
)
_fingerprints = Table(  # what journal entries name as their edition: once for each that anybody was graded against
    "mlsys_fingerprint",
    _metadata,
    Column("digest", String(64), primary_key=True),
    Column("parts", Text, nullable=False),
)


@dataclass(frozen=True)
class Entry:
    """What was graded, against what, and what it came to: enough to know that nothing need be done again."""

    lab: str
    student: str
    submission: str  # digest of what was handed in
    edition: str  # digest of the fingerprint that it was graded against
    notebook: str  # digest of the file in autograded/
    scores: Mapping[str, Mapping[str, Any]]  # by exercise: kind, status, score, max_score, counted, hints, note
    run: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Entry":
        """As it was kept; in earlier journals extensions counted like the rest."""
        entry = cls(**json.loads(text))
        scores = {name: {"counted": (told["score"], told["max_score"]), **told} for name, told in entry.scores.items()}
        return replace(entry, scores=scores)


def _make_tables(url: str) -> None:
    """A gradebook that is new, as nbgrader makes it: it would start another Python to ask for the latest revision."""
    engine = create_engine(url)
    with engine.begin() as connection:
        if not inspect(connection).get_table_names():
            Base.metadata.create_all(connection)
            MigrationContext.configure(connection).stamp(ScriptDirectory(ALEMBIC_DIR), "head")
    engine.dispose()


class Book:
    """The gradebook of a course folder. Not for several threads at once."""

    def __init__(self, url: str, config: Config, log: logging.Logger):
        self.url = url
        busy = f"{'&' if '?' in url else '?'}timeout={BUSY_SECONDS}" if url.startswith("sqlite") else ""
        _make_tables(url + busy)
        self.book = Gradebook(url + busy)
        self._commit = self.book.db.commit
        self.book.db.commit = self.book.db.flush  # what the API would commit by itself waits for `transaction`
        _metadata.create_all(self.book.engine)
        self._grades, self._penalties = _SaveGrades(config=config, log=log), _Penalties(config, log)

    def close(self) -> None:
        """Let the connection go."""
        self.book.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Gradebook]:
        """All that is done inside, or nothing."""
        try:
            yield self.book
            self._commit()
        except BaseException:
            self.book.db.rollback()
            raise
        finally:
            self.book.db.expire_all()

    def has_assignment(self, stem: str) -> bool:
        """Whether nbgrader knows the lab."""
        try:
            self.book.find_assignment(stem)
        except MissingEntry:
            return False
        finally:
            self.book.db.rollback()
        return True

    def entry(self, stem: str, student: str) -> Entry | None:
        """The journal's word on a student's submission."""
        chosen = select(_journal.c.entry).where(*_row(stem, student))
        with self.transaction() as book:
            text = book.db.execute(chosen).scalar()
        return None if text is None else Entry.from_json(text)

    def entries(self, stem: str) -> list[Entry]:
        """The journal of a lab, in order of the students' names."""
        chosen = select(_journal.c.entry).where(_journal.c.lab == stem).order_by(_journal.c.student)
        with self.transaction() as book:
            return [Entry.from_json(text) for text in book.db.execute(chosen).scalars()]

    def note(self, graded_against: Fingerprint) -> None:
        """Keep what a fingerprint's digest stands for."""
        with self.transaction() as book:
            if not book.db.execute(_parts_of(graded_against.digest)).scalar():
                row = {"digest": graded_against.digest, "parts": json.dumps(dict(graded_against.parts))}
                book.db.execute(_fingerprints.insert().values(row))

    def fingerprint(self, digest: str) -> Fingerprint | None:
        """What a digest stands for; None of grades from before this was kept."""
        with self.transaction() as book:
            text = book.db.execute(_parts_of(digest)).scalar()
        return None if text is None else Fingerprint(json.loads(text))

    def forget(self, stem: str, student: str) -> None:
        """Strike a journal entry out, so that the submission is graded again."""
        with self.transaction() as book:
            book.db.execute(_journal.delete().where(*_row(stem, student)))

    def students(self, stem: str) -> list[str]:
        """Students whose submission of the lab is in the gradebook."""
        with self.transaction() as book:
            try:
                return sorted(s.student.id for s in book.assignment_submissions(stem))
            except MissingEntry:
                return []

    def scores(self, stem: str, student: str) -> dict[str, float | None]:
        """The automatic score of each graded cell, empty where there is no submission."""
        with self.transaction() as book:
            try:
                notebook = book.find_submission_notebook(stem, stem, student)
            except MissingEntry:
                return {}
            return {grade.name: grade.auto_score for grade in notebook.grades}

    def grades(self, stem: str) -> dict[str, Grades]:
        """By student what a lab comes to: lateness, a person's grades and what waits for one among it."""
        with self.transaction() as book:
            return everybodys_grades(book, stem)

    def follow(self, policy: LatePolicy) -> None:
        """Let lateness cost what the term says; a plugin that the configuration names goes first."""
        if isinstance(self._penalties.plugin_inst, CoursePolicy):
            self._penalties.plugin_inst.policy = policy

    def set_due(self, stem: str, due: datetime) -> None:
        """When a lab is due."""
        if isinstance(self._penalties.plugin_inst, CoursePolicy):
            self._penalties.plugin_inst.due = due
        with self.transaction() as book:
            assignment: Any = book.find_assignment(stem)
            assignment.duedate = due.astimezone(UTC).replace(tzinfo=None)

    def renew_penalties(self, stem: str) -> None:
        """By what is due and graded now: a date may be another, and a person may have given points since."""
        with self.transaction() as book:
            submissions: Any = book.assignment_submissions(stem)
            for submission in submissions:
                for notebook in submission.notebooks:
                    self._penalties.apply(notebook, submission.total_seconds_late, submission.student.id)

    def save(self, entry: Entry, notebook: NotebookNode, timestamp: bytes, earlier: NotebookNode | None = None) -> None:
        """One submission's grades, comments, late penalty and journal entry, in one transaction.

        ``earlier`` is what was recorded before: a person's grade of what is still the same stands.
        """
        for attempt in range(3):
            try:
                with self.transaction() as book:
                    self._save(book, entry, notebook, timestamp, earlier)
                return
            except OperationalError:
                if attempt == 2:
                    raise
                time.sleep(0.5)

    def _save(
        self, book: Gradebook, entry: Entry, notebook: NotebookNode, timestamp: bytes, earlier: NotebookNode | None
    ) -> None:
        book.update_or_create_student(entry.student)
        when: dict[str, Any] = {"timestamp": parse_utc(timestamp.decode().strip())} if timestamp else {}
        submission = book.update_or_create_submission(entry.lab, entry.student, **when)
        saved = book.find_submission_notebook(entry.lab, entry.lab, entry.student)
        rows = _Rows.of(book, str(saved.id))
        judged = _judged_still(rows, earlier, notebook)
        self._grades.save(notebook, entry, rows)
        for grade in judged:
            grade.needs_manual_grade = False
        self._penalties.apply(saved, submission.total_seconds_late, entry.student)
        book.db.execute(_journal.delete().where(*_row(entry.lab, entry.student)))
        book.db.execute(_journal.insert().values(lab=entry.lab, student=entry.student, entry=entry.to_json()))


def _row(stem: str, student: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The journal's row of a submission."""
    return _journal.c.lab == stem, _journal.c.student == student


def _parts_of(digest: str) -> Select:
    return select(_fingerprints.c.parts).where(_fingerprints.c.digest == digest)


@dataclass(frozen=True)
class _Rows:
    """A submission's grades and comments, read at once: the gradebook would join seven tables for each of them."""

    grades: Mapping[str, Grade]
    comments: Mapping[str, Comment]
    db: Any = field(default_factory=lambda: SimpleNamespace(commit=lambda: None))  # the transaction is ours

    @classmethod
    def of(cls, book: Gradebook, notebook: str) -> "_Rows":
        grades = book.db.query(GradeCell.name, Grade).join(Grade.cell).filter(Grade.notebook_id == notebook)
        comments = book.db.query(SolutionCell.name, Comment).join(Comment.cell).filter(Comment.notebook_id == notebook)
        return cls(*({row[0]: row[1] for row in found} for found in (grades, comments)))

    def find_grade(self, cell: str, *_: str) -> Grade:
        return self._found(self.grades, cell)

    def find_comment(self, cell: str, *_: str) -> Comment:
        return self._found(self.comments, cell)

    @staticmethod
    def _found(rows: Mapping[str, Any], cell: str) -> Any:
        if cell not in rows:
            raise MissingEntry(f"the gradebook knows no cell {cell!r} of this lab; build the lab and grade again")
        return rows[cell]


def _judged_still(rows: _Rows, earlier: NotebookNode | None, now: NotebookNode) -> list[Any]:
    """Grades that a person has given and that do not wait for one, of exercises whose text is what that person read."""
    if earlier is None:
        return []
    before, after = _texts(earlier), _texts(now)
    given: list[tuple[str, Any]] = [(n, g) for n, g in rows.grades.items() if g.manual_score is not None]  # type: ignore
    return [g for n, g in given if not g.needs_manual_grade and n in after and before.get(n) == after[n]]


def _texts(notebook: NotebookNode) -> dict[str, list[str]]:
    """By graded cell, what a student wrote for it: in it where it is an answer, and in its exercise's own cell."""
    answers = {
        grade_id(cell): cell.source for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution")
    }
    names = [grade_id(cell) for cell in notebook.cells if is_grade(cell)]
    return {name: [answers.get(name, ""), answers.get(f"solution-{name}", "")] for name in names}


class _SaveGrades(SaveGrades):
    """nbgrader's stage, on the rows of one submission."""

    def save(self, notebook: NotebookNode, entry: Entry, rows: _Rows) -> None:
        """Scores and comments of all cells."""
        self.gradebook: Any = rows
        self.notebook_id = self.assignment_id = entry.lab
        self.student_id = entry.student
        for index, cell in enumerate(notebook.cells):
            self.preprocess_cell(cell, ResourcesDict(), index)


class _Penalties(AssignLatePenalties):
    """nbgrader's late policy, or the plugin that the course's configuration names."""

    def __init__(self, config: Config, log: logging.Logger):
        super().__init__(config=config, log=log)
        self.init_plugin()

    def apply(self, notebook: Any, seconds_late: float, student: str) -> None:
        """Set the notebook's penalty; none when it was in time."""
        notebook.late_submission_penalty = None
        if seconds_late > 0:
            plugin: Any = self.plugin_inst
            penalty = plugin.late_submission_penalty(student, notebook.score, seconds_late)
            if penalty is not None:
                notebook.late_submission_penalty = self._check_late_penalty(notebook, penalty)
