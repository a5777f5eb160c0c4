"""Pages on disk, where nbgrader puts feedback and its exchange takes it from."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..course import Course
from ..files import read_regular, write_whole
from ..nbgrader_config import SECRET
from .course_folder import FeedbackError

if TYPE_CHECKING:
    from ..grade.record import Recorder

EXCHANGED, MOST_BYTES = ("timestamp.txt", SECRET), 1000  # what release_feedback wants beside a page


def hand_out(folder: Path, stem: str, page: str, submitted: Path) -> Path:
    """Write a page, and beside it what nbgrader's exchange gave with the submission; the page's path."""
    path = folder / f"{stem}.html"
    write_changed(path, page)
    for name in EXCHANGED:
        if (known := read_regular(submitted / name, MOST_BYTES)) is not None:
            write_changed(folder / name, known.decode("utf-8", "replace"))
    return path


def write_changed(path: Path, text: str) -> None:
    """Write a file whole, unless it says so already."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def write_pages(recorder: "Recorder", course: Course, students: Iterable[str]) -> dict[str, str]:
    """Everybody's page; by student, what kept one from being written. One student's trouble is no other's."""
    problems = {}
    for student in students:
        try:
            recorder.feedback(student, course)
        except (FeedbackError, OSError) as error:
            problems[student] = str(error)
    return problems
