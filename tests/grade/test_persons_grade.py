"""What a person has graded stands when all is graded again, where what that person read is the same."""

from pathlib import Path

import pytest

from autograder.course import load_course
from autograder.demo.student import Student
from tests.feedback.conftest import Page

from .conftest import STEM, Course


def read(course: Course, text: str) -> dict[str, tuple]:
    """What the gradebook has of ann, and her page's words."""
    with course.recorder.book.transaction() as book:
        grades = book.find_submission_notebook(STEM, STEM, "ann").grades
        found = {g.name: (g.manual_score, g.score, bool(g.needs_manual_grade)) for g in grades}
    page = Page(course.recorder.feedback("ann", load_course(course.root)).read_text("utf-8"))
    assert text in page.text, page.text[:600]
    return found


@pytest.fixture
def by_hand(opened: Course):
    """A person has given ann half a point for her words, and three for her code; her file is put back afterwards."""
    path = opened.root / "submitted" / "ann" / STEM / f"{STEM}.ipynb"
    before = path.read_bytes()
    opened.rows(again=True)
    give(opened)
    yield path
    path.write_bytes(before)
    give(opened, None, None)
    opened.rows(again=True)


def give(course: Course, why: float | None = 0.5, times: float | None = 3) -> None:
    """As formgrader saves it."""
    with course.recorder.book.transaction() as book:
        for name, score in (("why", why), ("times", times)):
            grade = book.find_grade(name, STEM, STEM, "ann")
            grade.manual_score, grade.needs_manual_grade = score, False


def worked(course: Course, path: Path, times: str = "", why: str = "") -> None:
    """Ann hands in again."""
    student = Student(course.session.released, course.session.released)
    student.write("times", times or "def times(x):\n    return x")
    path.write_bytes((student.edit("why", why) if why else student).hand_in())


def test_a_regrade_leaves_what_a_person_gave(opened, by_hand):
    opened.rows(again=True)
    opened.rows(again=True)
    found = read(opened, "3.5 of 5 points")
    assert found == {"times": (3, 3, False), "why": (0.5, 0.5, False)}


def test_what_was_written_anew_waits_and_is_in_no_total(opened, by_hand):
    worked(opened, by_hand, why="Because I say so.")
    opened.rows()
    found = read(opened, "0 of 5 points so far Not in yet: 5 for what a person will read")
    assert found == {"times": (3, 3, True), "why": (0.5, 0.5, True)}
    opened.rows(again=True)
    assert read(opened, "Not in yet: 5") == found  # it goes on waiting
    give(opened)
    assert read(opened, "3.5 of 5 points") == {"times": (3, 3, False), "why": (0.5, 0.5, False)}
    worked(opened, by_hand, why="Because I say so!")
    opened.rows()
    assert read(opened, "3 of 5 points so far Not in yet: 1") == {"times": (3, 3, False), "why": (0.5, 0.5, True)}
    give(opened)
    worked(opened, by_hand, times="def times(x):\n    return x + 1", why="Because I say so!")
    opened.rows()
    assert read(opened, "0.5 of 5 points so far Not in yet: 4") == {"times": (3, 3, True), "why": (0.5, 0.5, False)}


def test_where_what_was_read_is_gone_a_person_is_asked(opened, by_hand):
    path = opened.recorder.place("autograded", "ann") / f"{STEM}.ipynb"
    path.unlink()
    opened.rows()
    assert {name: waits for name, (_, _, waits) in read(opened, "Not in yet: 5").items()} == {
        "times": True,
        "why": True,
    }
