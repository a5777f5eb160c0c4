"""Bad input to the command line: what was looked for and where, a non-zero exit, nothing half written."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from autograder.build.edition import stage_edition
from autograder.build.pipeline import build, prove_built
from autograder.build.proof import prove_exercises, prove_stripped
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.scoring.score import Scorer

STEM = "lab00_foundations"


@dataclass(frozen=True)
class Done:
    """What a command line came to."""

    returncode: int
    stdout: str


@pytest.fixture
def mlsys(graders) -> Callable[..., Done]:
    """The command line as a person has it; grading has a sandbox where it is ``sealed``."""

    def mlsys(*words: str, cwd: Path, sealed: bool = False) -> Done:
        environment = {**os.environ, "COLUMNS": "200"}
        return Done(*graders.end(graders.call(cwd, *words, sealed=sealed, environment=environment)))

    return mlsys


def flat(done: Done) -> str:
    return " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("grade", "lab99", "--submitted", "."), "no lab 'lab99'"),
        (("grade", "lab00", "--submitted", "nowhere"), "nowhere is no folder"),
        (("grade", "lab00", "--submitted", "solutions/lab00_foundations"), f"looked for <student>/{STEM}/{STEM}.ipynb"),
        (("grade", "lab00", "--submitted", ".", "--jobs", "0"), "'--jobs'"),
        (("build", "lab99"), "there are lab00_foundations"),
        (("feedback", "lab00"), "no gradebook.db in"),
        (("check", "lab99"), "no lab 'lab99'"),
        (("carry", "lab99"), "no lab 'lab99'"),
        (("term", "new", "../x"), "cannot name a term"),
        (("build", "--term", "1999-fall"), "mlsys term new 1999-fall"),
    ],
)
def test_says_what_to_do(mlsys, small_course, secrets_at, words, said):
    done = mlsys(*words, cwd=small_course)
    assert done.returncode != 0 and said in flat(done), flat(done)
    assert "Traceback" not in flat(done)
    assert sorted(p.name for p in small_course.iterdir()) == ["course.toml", "solutions"]


@pytest.fixture
def handed_in(small_course) -> Path:
    """Five submissions of the small lab, two of them unreadable."""
    built = build(load_course(small_course).lab(STEM), small_course / "labs" / STEM)
    students = {
        "ann": Student(built.student, built.solution).solve().hand_in(),
        "bob": Student(built.student, built.solution).hand_in(),
        "cleo": b"not a notebook",
        "dan": None,
    }
    for name, blob in students.items():
        folder = small_course / "submitted" / name / STEM
        folder.mkdir(parents=True)
        if blob is not None:
            (folder / f"{STEM}.ipynb").write_bytes(blob)
    (small_course / "submitted" / "dan" / STEM / "homework.ipynb").write_text("{}")
    (small_course / "submitted" / "eve").symlink_to(small_course / "submitted" / "ann")
    return small_course


def test_one_that_is_no_notebook_is_said_and_the_rest_graded(mlsys, handed_in):
    done = mlsys("grade", "00", "--submitted", "submitted", "--csv", "points.csv", cwd=handed_in)
    assert done.returncode == 1 and "No file lab00_foundations.ipynb was handed in; there is homework.ipynb" in flat(
        done
    )
    rows = (handed_in / "points.csv").read_text().splitlines()[1::2]  # of two lines the second is of what waits
    assert [row.split(",")[0] for row in rows] == ["ann", "bob", "cleo", "dan"]  # a link is nobody's submission
    assert [row.split(",")[3] for row in rows] == ["4", "0", "0", "0"]
    assert [row.split(",")[5] for row in rows] == ["ok", "missing", "unreadable", "unreadable"]
    assert (handed_in / "submitted" / "cleo" / STEM / f"{STEM}.ipynb").read_bytes() == b"not a notebook"
    done = mlsys("feedback", "lab00", "--into", ".", cwd=handed_in)
    assert done.returncode == 0 and len(list((handed_in / "feedback").rglob("*.html"))) == 4


def test_unsafe_grades_are_marked_so(mlsys, handed_in):
    command = ["grade", "00", "--submitted", "submitted", "--csv", "points.csv", "--unsafe"]
    done = mlsys(*command, cwd=handed_in, sealed=True)
    assert "NOT SEALED" in flat(done)
    rows = [row.split(",") for row in (handed_in / "points.csv").read_text().splitlines()[1::2]]
    assert [row[3] for row in rows] == ["4", "0", "0", "0"]
    assert all("without the sandbox" in row[6] for row in rows if row[5] != "unreadable")
    page = nbformat.read(handed_in / "autograded" / "ann" / STEM / f"{STEM}.ipynb", as_version=4)
    assert "without the sandbox" in str(page.cells)


def test_build_check_fails_on_a_stale_lab_and_writes_nothing(mlsys, handed_in):
    (handed_in / "labs" / STEM / "drivers.py").write_text("")
    done = mlsys("build", "lab00", "--check", cwd=handed_in)
    assert done.returncode == 1 and "drivers.py differs" in flat(done) and "scores 100%" in flat(done)
    assert (handed_in / "labs" / STEM / "drivers.py").read_text() == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "subject", "said"),
    [
        ("exercises.py", "x / factor", "x * factor * (1 + 1e-7)", "times: divides", "tolerances away"),
        ("exercises.py", "x / factor", "x * factor", "times: divides", "loses nothing on sealed cases"),
        ("exercises.py", "x / factor", "x + factor", "times: divides", "name nothing instead"),
        ("exercises.py", "n < 2", "n < 1", "times", "at least 2 public"),
        (f"{STEM}.py", "product = x * {{ factor }}", "product = x + {{ factor }}", "solution", "times: wrong 0/4"),
        (
            f"{STEM}.py",
            "    ### BEGIN",
            "    y = 1 * x\n    return {{ factor }} * y\n    ### BEGIN",
            "blank",
            "times: ok 4/4",
        ),
        (f"{STEM}.py", "print(times(3))", "product = 2 * x\nx = 1", "edition", ""),
        (f"{STEM}.py", "print(times(3))", "product = x * {{ factor }}\nreturn product", "edition", "product = x *"),
    ],
)
def test_what_is_not_proven_is_named(small_course, file, old, new, subject, said):
    path = small_course / "solutions" / STEM / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    course = load_course(small_course)
    built = build(course.lab(STEM), small_course / "labs" / STEM)
    if file == "exercises.py":
        lines = prove_exercises(built.lab, Scorer.for_lab(built.lab))
    elif subject == "edition":
        edition = stage_edition(course, STEM, built.folder, small_course / "edition")
        lines = [prove_stripped(course, built.lab, edition)]
    else:
        lines = prove_built(course, built)
    (line,) = [line for line in lines if line.subject == subject]
    assert line.ok == (not said) and said in line.detail
    assert line.ok or "caught and named" not in line.proved


def test_exercises_as_json(mlsys, small_course):
    done = mlsys("exercises", "--json", cwd=small_course)
    times, why = json.loads(done.stdout)
    keys = {"lab", "id", "kind", "points", "component", "public_cases", "sealed_cases", "misconceptions", "evidence"}
    assert set(times) == keys and set(why) == keys | {"rubric"}
    assert times["misconceptions"] == ["adds", "divides", "squares"] and times["sealed_cases"] == 4
    assert (why["kind"], why["points"], why["evidence"]) == ("open", 1, ["person"])


def test_every_command_has_help_with_an_example(mlsys, tmp_path):
    for command in ("build", "grade", "feedback", "exercises", "demo", "check", "carry", "doctor", "term new"):
        done = mlsys(*command.split(), "--help", cwd=tmp_path)
        assert done.returncode == 0 and f"Example: mlsys {command}" in flat(done)
