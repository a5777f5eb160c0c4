"""What nbgrader's gradebook has for a student's lab: points, penalty, and what a person wrote."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbgrader.api import Gradebook


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
    penalty: float
    seconds_late: float
    handed_in: datetime.datetime | None  # UTC


def grades_of(book: Gradebook, stem: str, student: str) -> Grades:
    """Read a gradebook that is open; nbgrader's MissingEntry where it has no such submission."""
    notebook: Any = book.find_submission_notebook(stem, stem, student)
    submission = notebook.assignment
    names = (submission.student.first_name, submission.student.last_name)
    return Grades(
        student,
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
