"""Where pages come from: a course folder's released and recorded notebooks."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

from mlsys_course.substrate.errors import CourseProblem

from ..course import Course
from .pages import Pages


class FeedbackError(CourseProblem):
    """Something that a page needs is not in the course folder."""


def pages_of(course: Course, root: Path, stem: str) -> Pages:
    """The pages of a lab as it was released from a course folder."""
    path = root / "release" / stem / f"{stem}.ipynb"
    return Pages(course.name, course.term.name, stem, _read(path), course.plan.zone)


def read_recorded(path: Path) -> NotebookNode:
    """A notebook that grading wrote."""
    return _read(path)


def _read(path: Path) -> NotebookNode:
    """Without validation, which takes longer than everything else: these files are our own."""
    try:
        return nbformat.v4.reads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FeedbackError(f"{path} is missing; call `mlsys grade` again, which writes it") from None
    except (ValueError, KeyError, AttributeError) as error:
        raise FeedbackError(f"{path} is no notebook ({type(error).__name__}); call `mlsys grade` again") from None
