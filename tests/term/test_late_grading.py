"""Due dates and the late policy of ``course.toml`` in nbgrader's gradebook."""

import pytest
from nbgrader.api import Gradebook

from autograder.build.pipeline import build
from autograder.course import CourseError, load_course
from autograder.demo.student import Student
from autograder.grade.run import grade
from autograder.term.secret import new_secret

STEM = "lab00_foundations"
COURSE = f"""\
name = "A course"
term = "sample"
starts = 2026-08-31
timezone = "Europe/Berlin"
[late]
grace_minutes = 15
percent_a_day = 10
[labs]
{STEM} = {{ component = "foundations", points = 5, due = 2026-10-01T23:59:00 }}
"""


def test_lateness_costs_what_the_term_says_and_follows_a_new_date(small_course, secrets_at, in_process):
    path, submitted, into = small_course / "course.toml", small_course / "submitted", small_course / "into"
    path.write_text(COURSE)
    built = build(load_course(small_course).lab(STEM), small_course / "labs" / STEM)
    for name, when in (("ann", "2026-10-01 22:13:00 UTC"), ("bob", "2026-10-02 22:14:01 UTC")):
        (submitted / name / STEM).mkdir(parents=True)
        notebook = Student(built.student, built.solution).solve().hand_in()
        (submitted / name / STEM / f"{STEM}.ipynb").write_bytes(notebook)
        (submitted / name / STEM / "timestamp.txt").write_text(when)

    def penalties() -> dict[str, float | None]:
        rows = {row.student: row for row in grade(load_course(small_course), STEM, submitted, into)}
        assert {name: row.score for name, row in rows.items()} == {"ann": 4, "bob": 4}
        with Gradebook(f"sqlite:///{into / 'gradebook.db'}") as book:
            return {name: book.find_submission_notebook(STEM, STEM, name).late_submission_penalty for name in rows}

    assert penalties() == {"ann": None, "bob": pytest.approx(0.8)}  # ann within the grace, bob in the second day
    path.write_text(COURSE.replace("10-01T23:59", "10-02T23:59"))
    assert penalties() == {"ann": None, "bob": pytest.approx(0.4)}  # nothing ran again, and the penalty followed
    path.write_text(COURSE.replace("10-01T23:59", "10-03T00:14"))
    assert penalties() == {"ann": None, "bob": None}
    new_secret("2027-spring")
    with pytest.raises(CourseError, match="is of term 'sample', and this is '2027-spring'"):
        grade(load_course(small_course, term="2027-spring"), STEM, submitted, into)
