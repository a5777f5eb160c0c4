"""What an interrupted ``nbgrader autograde`` left behind: nbgrader skips it from then on, and exports 0."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbgrader.utils import is_grade

from ..nbgrader_config import folder_config, gradebook_url
from ..scoring.cells import grade_id
from .bonus import automatic_score
from .gradebook import Book
from .quarantine import QUARANTINE

log = logging.getLogger("mlsys.interrupted")


@dataclass(frozen=True)
class Interrupted:
    """One submission that is graded by halves, and why."""

    course: Path
    student: str
    stem: str
    why: str

    def mend(self) -> str:
        """Move the half-graded folder away and forget the grade, so that the next run grades it."""
        folder = self.course / "autograded" / self.student / self.stem
        if folder.is_dir():
            place = self.course / QUARANTINE / "interrupted" / self.student / self.stem
            number = 0
            while place.with_name(f"{place.name}.{number}").exists():
                number += 1
            place.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(place.with_name(f"{place.name}.{number}"))
        book = _book(self.course)
        try:
            book.forget(self.stem, self.student)
        finally:
            book.close()
        return f"set aside; grade {self.stem} again (mlsys grade, or nbgrader autograde)"


def interrupted(course: Path) -> Iterator[Interrupted]:
    """All of them in a course folder with a gradebook."""
    book = _book(course)
    try:
        for folder in sorted((course / "autograded").glob("*/*")):
            student, stem = folder.parent.name, folder.name
            if why := _why(folder / f"{stem}.ipynb", book.scores(stem, student)):
                yield Interrupted(course, student, stem, why)
    finally:
        book.close()


def _why(path: Path, saved: dict[str, float | None]) -> str:
    try:
        cells = nbformat.read(path, as_version=4).cells
    except Exception:  # whatever a write that was cut short has left
        return "its notebook is missing or cut short"
    for cell in cells:
        if is_grade(cell) and cell.cell_type == "code":
            if not cell.outputs:
                return f"{grade_id(cell)} was not run"
            if saved.get(grade_id(cell)) != automatic_score(cell):
                return f"the gradebook lacks the score of {grade_id(cell)}"
    return ""


def _book(course: Path) -> Book:
    config = folder_config(course)
    return Book(gradebook_url(course, config), config, log)
