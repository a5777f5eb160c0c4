"""Extensions are a bonus up to a bound, and every desk, page, table and the gradebook say the same."""

import csv
import io
import re
from pathlib import Path

import pytest
from nbgrader.api import Gradebook
from rich.console import Console

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.grade.record import Recorder
from autograder.grade.run import grade
from autograder.grade.sheet import write_csv
from autograder.grade.table import results_table
from mlsys_course.desk.points import LabPoints, counted_at, read_points, total
from mlsys_course.substrate.errors import CourseProblem

STEM = "lab00_foundations"
ORDER = {"first": "extension", "core": "core", "second": "extension", "choice": "choice", "open": "open"}
POINTS = LabPoints(ORDER, {"first": 15.0, "core": 92.0, "second": 10.0, "choice": 3.0, "open": 5.0}, bonus=20.0)


@pytest.mark.parametrize(
    ("scores", "said", "second"),
    [
        ({}, "0 of 100 points", 0),
        ({"core": 92, "choice": 3, "open": 5}, "100 of 100 points", 0),
        ({"core": 40, "second": 10}, "50 of 100 points, 10 of them bonus", 10),
        ({"core": 92, "first": 15, "second": 10, "choice": 3, "open": 5}, "120 of 100 points, 20 of them bonus", 5),
        ({"first": 15, "second": 2.5}, "17.5 of 100 points, 17.5 of them bonus", 2.5),
    ],
)
def test_extensions_add_up_to_the_bound(scores, said, second):
    counted = POINTS.counted(scores)
    assert (total(counted), counted["second"]) == (said, (second, 0))
    assert list(counted) == list(ORDER) and POINTS.most == 100


def test_nothing_is_added_where_the_course_says_so():
    assert LabPoints(ORDER, POINTS.worth, bonus=0).counted({"first": 15, "core": 1})["first"] == (0, 0)


def test_a_lab_that_is_damaged_is_said_and_an_earlier_release_counts_all_alike(tmp_path):
    assert counted_at(tmp_path, {"first": (15, 15)}) == {"first": (15, 15)}
    (tmp_path / "points.json").write_bytes(POINTS.to_bytes())
    assert read_points(tmp_path) == POINTS and counted_at(tmp_path, {"first": (15, 15)})["first"] == (15, 0)
    (tmp_path / "points.json").write_text("{")
    with pytest.raises(CourseProblem, match="copy it from the lab as you received it"):
        read_points(tmp_path)


CELLS = '''# %% exercise="NAME"
def NAME(x):
    """x times {{ factor }}."""
    ### BEGIN SOLUTION
    product = x * {{ factor }}
    return product
    ### END SOLUTION

# %% check="NAME"
check("NAME", NAME)

'''
DRIVER = """

@driver
def NAME(candidate, case):
    return {"y": candidate(case["x"])}
"""
MORE = """

def core_and_extensions(v, alone=exercises):
    core, question = alone(v)
    more = [replace(core, id=name, points={"values": 15}, kind="extension") for name in ("second", "third")]
    return [core, *more, question]


exercises = core_and_extensions
"""


@pytest.fixture
def lab(small_course):
    """The small lab, and ``times`` twice more, as extensions of 15 points each."""
    folder = small_course / "solutions" / STEM
    change(folder / f"{STEM}.py", "# %% experiment", both(CELLS) + "# %% experiment")
    change(folder / "drivers.py", "", both(DRIVER))
    change(folder / "exercises.py", "", MORE)
    change(folder / "exercises.py", "from autograder", "from dataclasses import replace\n\nfrom autograder")
    return small_course


def both(text: str) -> str:
    return text.replace("NAME", "second") + text.replace("NAME", "third")


def change(path: Path, old: str, new: str) -> None:
    """At the end where there is nothing old."""
    text = path.read_text()
    path.write_text(text.replace(old, new) if old else text + new)


def test_every_place_says_the_same(lab, in_process, monkeypatch, tmp_path):
    monkeypatch.chdir(lab)
    course = load_course(lab)
    built = build(course.lab(STEM), lab / "labs" / STEM)
    points = {
        c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points
        for c in built.student.cells
        if c.metadata.get("nbgrader", {}).get("grade")
    }
    assert points == {"times": 4, "second": 0, "third": 0, "why": 1}
    work = {
        "ada": Student(built.student, built.solution).solve(),
        "bob": Student(built.student, built.solution).solve().write("second", "def second(x):\n    return x"),
        "cleo": Student(built.student, built.solution).solve().write("times", "def times(x):\n    return x"),
        "dan": Student(built.student, built.solution),
    }
    for name, student in work.items():
        place = lab / "submitted" / name / STEM
        place.mkdir(parents=True)
        (place / f"{STEM}.ipynb").write_bytes(student.hand_in())
    into = tmp_path / "graded"
    for again in range(2):  # the second run reads the journal
        rows = {row.student: row for row in grade(course, STEM, lab / "submitted", into)}
        assert {name: row.score for name, row in rows.items()} == {"ada": 24, "bob": 19, "cleo": 20, "dan": 0}
        assert all(row.earlier == ("known" if again else "") for row in rows.values())
    said = io.StringIO()
    Console(file=said, width=200).print(results_table(STEM, list(rows.values())))
    assert re.findall(r"\d+/5", said.getvalue()) == ["24/5", "19/5", "20/5", "0/5"]
    write_csv(tmp_path / "points.csv", STEM, list(rows.values()))
    lines = list(csv.DictReader((tmp_path / "points.csv").read_text().splitlines()))
    scored = [r for r in lines if r["student"] == "ada" and r["kind"] != "open"]
    added = [(r["exercise"], r["kind"], float(r["score"]), float(r["max_score"])) for r in scored]
    assert sorted(added) == [("second", "extension", 15, 0), ("third", "extension", 5, 0), ("times", "core", 4, 4)]
    with Gradebook(f"sqlite:///{into / 'gradebook.db'}") as book:
        assert book.find_assignment(STEM).max_score == 5
        assert {s.student.id: s.score for s in book.assignment_submissions(STEM)} == {
            "ada": 24,
            "bob": 19,
            "cleo": 20,
            "dan": 0,
        }
    with Recorder(into, STEM) as recorder:
        pages = {name: recorder.feedback(name, course).read_text() for name in work}
    assert "<strong>24</strong> of 5 points" in pages["ada"] and "20 are a bonus for extensions" in pages["ada"]
    assert "15&nbsp;of&nbsp;15 bonus points" in pages["ada"] and "bonus for" not in pages["dan"]
    report = (into / "report" / f"{STEM}.html").read_text()
    assert report.count("15 bonus") == 2 and ">24/5<" in report
