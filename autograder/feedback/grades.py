"""What nbgrader's gradebook has for a student's lab: points, penalty, and what a person wrote."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nbgrader.api import Gradebook, MissingEntry


@dataclass(frozen=True)
class Mark:
    """One graded cell. ``waits`` for a person; ``by_person`` where one has decided its score; ``extra`` is in it."""

    score: float
    max_score: float
    waits: bool
    by_person: bool
    extra: float = 0.0


@dataclass(frozen=True)
class Grades:
    """A student's lab. ``comments`` are those that a person wrote, by the grade id of the cell that they stand at."""

    student: str
    name: str
    marks: Mapping[str, Mark]
    comments: Mapping[str, str]
    penalty: float = 0.0
    seconds_late: float = 0.0
    handed_in: datetime.datetime | None = None  # UTC

    @property
    def total(self) -> "Total":
        """What it all comes to."""
        marks = self.marks.values()
        score = sum(mark.score for mark in marks if not mark.waits)
        return Total(
            score,
            score - self.penalty,
            sum(mark.max_score for mark in marks),
            sum(mark.score for mark in marks if not mark.max_score),
            sum(mark.max_score for mark in marks if mark.waits),
        )

    @property
    def waiting(self) -> list[str]:
        """What a person has still to grade."""
        return [name for name, mark in self.marks.items() if mark.waits]


@dataclass(frozen=True)
class Total:
    """Points before lateness and after it, of how many; the extensions' among them; how many wait for a person."""

    score: float
    final: float
    max_score: float
    bonus: float
    waits: float


def grades_of(book: Gradebook, stem: str, student: str) -> Grades:
    """Read a gradebook that is open; nbgrader's MissingEntry where it has no such submission."""
    return _grades(book.find_submission_notebook(stem, stem, student))


def everybodys_grades(book: Gradebook, stem: str) -> dict[str, Grades]:
    """By student, as of those whose submission of a lab is in the gradebook."""
    try:
        submissions: Any = book.assignment_submissions(stem)
    except MissingEntry:
        return {}
    return {s.student.id: _grades(notebook) for s in submissions for notebook in s.notebooks}


def machine_grades(student: str, counted: Mapping[str, tuple[float, float]]) -> Grades:
    """As scored, before a gradebook knows of it: by exercise the points that it adds, and to how many."""
    marks = {name: Mark(score, most, waits=False, by_person=False) for name, (score, most) in counted.items()}
    return Grades(student, "", marks, {})


def own_points(mark: Mark, kind: str, score: float, max_score: float) -> Mark:
    """An extension's own points, where grading scored it; the gradebook has what they add."""
    if kind != "extension":
        return mark
    return replace(mark, score=mark.score if mark.by_person else score, max_score=max_score)


def _grades(notebook: Any) -> Grades:
    submission = notebook.assignment
    names = (submission.student.first_name, submission.student.last_name)
    return Grades(
        submission.student.id,
        " ".join(filter(None, names)),
        {grade.name: _mark(grade) for grade in notebook.grades},
        {note.name: note.manual_comment.strip() for note in notebook.comments if (note.manual_comment or "").strip()},
        notebook.late_submission_penalty or 0.0,
        float(submission.total_seconds_late),
        submission.timestamp,
    )


def _mark(grade: Any) -> Mark:
    return Mark(
        grade.score,
        grade.max_score,
        bool(grade.needs_manual_grade),
        grade.manual_score is not None or bool(grade.extra_credit),
        grade.extra_credit or 0.0,
    )
