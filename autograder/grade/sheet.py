"""Grades as a table for spreadsheets: a line for each student and exercise, and the student's total on each."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from mlsys_course.desk.files import write_whole

from ..feedback.words import span
from ..untrusted import for_sheet
from .run import Row
from .session import UNSAFE
from .standing import WAITS, marks_of

COLUMNS = ("student", "lab", "exercise", "score", "max_score", "status", "hint", "kind")
MORE = ("worth", "by", "late", "penalty", "total", "of", "waits")  # from ``late`` on of the student


def write_csv(path: Path, stem: str, rows: Sequence[Row]) -> None:
    """What counts of each exercise, open questions included: ``score`` is empty where a person has still to grade."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, *MORE])
    for row in rows:
        writer.writerows([for_sheet(row.student), stem, *line, *_of_student(row)] for line in _lines(row))
    write_whole(path, text.getvalue())


def _lines(row: Row) -> Iterator[list[Any]]:
    for name, own in marks_of(row.grades, row.verdicts).items():
        verdict, mark = row.verdicts.get(name), row.grades.marks.get(name, own)
        score = "" if mark.waits else f"{mark.score:g}"
        by = "" if mark.waits else "person" if mark.by_person else "machine"
        status = WAITS if mark.waits else verdict.status if verdict else "graded" if mark.by_person else "left blank"
        kind = verdict.kind if verdict else "open"
        yield [name, score, f"{mark.max_score:g}", status, _hint(row, name), kind, f"{own.max_score:g}", by]


def _hint(row: Row, name: str) -> str:
    if (verdict := row.verdicts.get(name)) is None:
        return ""
    hint = " ".join(verdict.hints) or ("" if verdict.ok else verdict.note)
    hint = f"{UNSAFE} {hint}".strip() if UNSAFE in verdict.note and UNSAFE not in hint else hint
    return for_sheet(hint)


def _of_student(row: Row) -> list[str]:
    grades, total = row.grades, row.grades.total
    late = span(timedelta(seconds=max(grades.seconds_late, 0)))
    return [late, f"{grades.penalty:g}", f"{total.final:g}", f"{total.max_score:g}", ", ".join(grades.waiting)]
