"""Terminal, page of staff, spreadsheet and the student's page say one total: after lateness, with a person's grades."""

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from nbgrader.api import Gradebook

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.grade.record import Recorder
from autograder.grade.run import Row, grade
from autograder.grade.sheet import write_csv
from autograder.grade.table import closing_lines, results_table
from mlsys_course.desk.screen import PlainConsole
from tests.feedback.conftest import Page

from .test_report import rows as cells

STEM = "lab00_foundations"
COURSE = f"""\
name = "A course"
term = "sample"
starts = 2026-08-31
timezone = "UTC"
[late]
percent_a_day = 15
[labs]
{STEM} = {{ component = "foundations", points = 5, due = 2026-10-01T12:00:00 }}
"""


class Desk:
    """A course folder, and what each place says of it."""

    def __init__(self, root: Path):
        self.root, self.into = root, root / "into"
        (root / "course.toml").write_text(COURSE)
        self.course = load_course(root)
        self.built = build(self.course.lab(STEM), root / "labs" / STEM)
        for name in ("ada", "emil", "raman"):
            (root / "submitted" / name / STEM).mkdir(parents=True)
            solved = Student(self.built.student, self.built.solution).solve().edit("why", "Because it is.").hand_in()
            (root / "submitted" / name / STEM / f"{STEM}.ipynb").write_bytes(b"{" if name == "raman" else solved)
        late = root / "submitted" / "emil" / STEM / "timestamp.txt"
        late.write_text("2026-10-03 11:00:00 UTC")

    def grade(self, *, regrade: bool = False) -> dict[str, Row]:
        rows = grade(self.course, STEM, self.root / "submitted", self.into, regrade=regrade, ask_proof=False)
        return {row.student: row for row in rows}

    def give(self, **scores: float) -> None:
        """A person's grades of ada and emil, as formgrader saves them."""
        with Gradebook(f"sqlite:///{self.into / 'gradebook.db'}") as book:
            for student in ("ada", "emil"):
                for name, score in scores.items():
                    mark: Any = book.find_grade(name, STEM, STEM, student)
                    mark.manual_score, mark.needs_manual_grade = score, False
                book.db.commit()

    def terminal(self, rows: dict[str, Row], width: int) -> str:
        console = PlainConsole(file=io.StringIO(), width=width)
        console.print(results_table(STEM, list(rows.values())))
        for line in closing_lines(list(rows.values()), self.into):
            console.print(line, soft_wrap=True)
        return " ".join(re.sub("[│┃]", " ", console.file.getvalue()).split())  # type: ignore[attr-defined]

    def sheet(self, rows: dict[str, Row]) -> list[dict[str, str]]:
        write_csv(self.root / "points.csv", STEM, list(rows.values()))
        return list(csv.DictReader((self.root / "points.csv").read_text().splitlines()))

    def report(self) -> dict[str, list[str]]:
        """By student the cells of their row, and of the row below what is said."""
        found = cells((self.into / "report" / f"{STEM}.html").read_text())
        return {row[0].split()[0]: row[1:] + below for row, below in itertools.pairwise(found)}

    def pages(self) -> dict[str, tuple[str, str]]:
        """The total of each student's page."""
        with Recorder(self.into, STEM) as recorder:
            pages = {name: Page(recorder.feedback(name, self.course).read_text()).text for name in recorder.students()}
        return {name: re.findall(r"([\d.]+) of ([\d.]+) points", page)[0] for name, page in pages.items()}


@pytest.fixture
def desk(small_course, secrets_at, in_process) -> Desk:
    return Desk(small_course)


def test_every_place_says_the_final_total(desk):
    rows = desk.grade()
    assert_all_say(desk, rows, {"ada": "4", "emil": "2.8", "raman": "0"})
    for width in (70, 160):
        said = desk.terminal(rows, width)
        assert "late by 1 day 23 hours: 4 before" in said and said.count("late by") == 1
        assert said.count("why: waits for a person") == 2 and "2 of 3 wait for a person" in said, said
    assert "late by 1 day 23 hours: 4 before" in desk.report()["emil"][-1]
    assert "waits" in desk.report()["emil"]
    waiting = [line for line in desk.sheet(rows) if line["exercise"] == "why" and line["student"] != "raman"]
    assert {(line["score"], line["max_score"], line["status"], line["waits"]) for line in waiting} == {
        ("", "1", "waits for a person", "why")
    }
    (emil,) = [line for line in desk.sheet(rows) if line["student"] == "emil" and line["exercise"] == "times"]
    assert (emil["late"], float(emil["penalty"]), emil["score"], emil["worth"]) == ("1 day 23 hours", 1.2, "4", "4")

    desk.give(why=0.5, times=3)
    for regrade in (False, True):
        rows = desk.grade(regrade=regrade)
        said = desk.terminal(rows, 160)
        assert said.count("times: a person's 3/4 stands; the machine gave 4 (ok)") == 2
        assert said.count("why: 0.5/1 by a person") == 2 and "wait for a person" not in said
        assert ("3 of 3 were graded again, and nothing that the machine gave has changed" in said) == regrade
        assert (
            "s 3/4 stands; the machine gave 4" in desk.report()["ada"][-1] and "3 by a person" in desk.report()["ada"]
        )
        by = {(line["exercise"], line["by"]) for line in desk.sheet(rows) if line["student"] == "ada"}
        assert by == {("times", "person"), ("why", "person")}


def assert_all_say(desk: Desk, rows: dict[str, Row], totals: dict[str, str]) -> None:
    """Each place has its own way to the same numbers; the denominator is the lab's."""
    wide, narrow = (desk.terminal(rows, width) for width in (160, 70))
    for name, total in totals.items():
        assert re.search(rf"{name} .*?{re.escape(total)}/5", wide) and re.search(rf"{name} {total}/5", narrow)
    assert {name: row[0] for name, row in desk.report().items() if name in totals} == {
        name: f"{total}/5" for name, total in totals.items()
    }
    assert {(line["student"], line["total"], line["of"]) for line in desk.sheet(rows)} == {
        (name, total, "5") for name, total in totals.items()
    }
    assert desk.pages() == {name: (total, "5") for name, total in totals.items()}


def test_a_person_is_in_the_final_total(desk):
    desk.grade()
    desk.give(why=0.5, times=3)
    assert_all_say(desk, desk.grade(), {"ada": "3.5", "emil": "2.45", "raman": "0"})  # lateness takes of it too


def test_what_could_not_be_read_is_said_once(desk):
    desk.grade()
    (*_, said) = desk.report()["raman"]
    assert said.startswith("unreadable") and said.count("JSON does not parse") == 1 and " s," not in said


def test_right_work_with_a_note_is_not_under_what_is_wrong(desk):
    student = Student(desk.built.student, desk.built.solution).solve()
    cells = [c for c in student.notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") != "times"]
    student.notebook.cells = cells
    (desk.root / "submitted" / "ada" / STEM / f"{STEM}.ipynb").write_bytes(student.hand_in())
    said = desk.terminal(desk.grade(), 70)
    assert "times 4/4: all right, but noted. This graded cell was missing" in said
