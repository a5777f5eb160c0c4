"""A student's week in each of two terms, and a student who does everything wrong: staff's and student's own commands,
the student's in an environment of its own that holds nothing of the course but what was released."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import nbformat
import pytest

from autograder.build.pipeline import build_and_prove
from autograder.collect import collect, find_receipt
from autograder.course import Course, load_course
from autograder.feedback import write_pages
from autograder.grade.record import Recorder
from autograder.grade.run import grade, solution_notebook
from autograder.release import release
from autograder.sandbox import probe
from autograder.term.renewal import renew
from autograder.term.secret import new_secret
from mlsys_course.desk.release import pack, read_release
from mlsys_course.desk.workbook import grade_id
from tests.conftest import DRIVERS, EXERCISES, LAB

from .conftest import tree

FIRST, NEXT = "lab00_foundations", "lab01_sequence"
TERMS = ("2026-fall", "2027-spring")
COURSE = f"""name = "A course"
term = "{TERMS[0]}"
starts = 2126-08-31
timezone = "America/New_York"

[labs]
{FIRST} = {{ component = "foundations", points = 5, due = 2126-09-14T23:59:00 }}
{NEXT} = {{ component = "sequence", points = 5, due = 2126-09-21T23:59:00 }}
"""
TAKES = 'from mlsys_course.desk.carry import take\n\nprint(take("foundations", "times")(2))'


class Student:
    """A person with a computer: an environment without the course, and a folder for labs."""

    def __init__(self, home: Path):
        self.home, self.labs = home, home / "Meine Übungen"
        self.labs.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "env"], check=True)
        (site,) = (home / "env").glob("lib/python*/site-packages")
        (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")  # torch and all that, and no network

    def python(self, *arguments: str | Path, **how) -> subprocess.CompletedProcess:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG"))}
        said = {"HOME": str(self.home), "COLUMNS": "100", "PIP_NO_INDEX": "1"}
        command = [str(self.home / "env" / "bin" / "python"), *map(str, arguments)]
        return subprocess.run(
            command, cwd=how.pop("cwd", self.labs), env=kept | said, capture_output=True, encoding="utf-8", check=False
        )

    def install(self, path: Path) -> None:
        """What the release's README asks for, where packages are there already."""
        release = read_release(path)
        wheel = self.home / release.wheel
        wheel.write_bytes(release.files[release.wheel])
        done = self.python("-m", "pip", "install", "--no-deps", wheel)
        assert done.returncode == 0, done.stderr

    def mlsys(self, *arguments: str | Path, fails: bool = False) -> str:
        """What a command says; it must succeed, or must not."""
        done = self.python("-m", "mlsys_course.desk.cli", *arguments)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def write(self, lab: str, sources: dict[str, str]) -> None:
        """Type into cells, known by their nbgrader id."""
        path = self.labs / lab / f"{lab}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.source = sources.get(grade_id(cell), cell.source)
        path.write_text(nbformat.writes(notebook), encoding="utf-8")


def answers(course: Course, lab: str) -> dict[str, str]:
    """The solution cells of a lab, as a student would type them."""
    cells = solution_notebook(course.lab(lab)).cells
    kept = {grade_id(c): [line for line in c.source.split("\n") if "### " not in line] for c in cells}
    return {name: "\n".join(lines) for name, lines in kept.items() if name.startswith("solution-") or name == "why"}


@pytest.fixture(scope="module")
def staff(tmp_path_factory) -> Iterator[Path]:
    """A checkout of a course with two labs, in its first term."""
    folder = tmp_path_factory.mktemp("staff")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        new_secret(TERMS[0])
        root = folder / "course"
        texts = {".py": LAB, "drivers": DRIVERS, "exercises": EXERCISES}
        for stem in (FIRST, NEXT):
            place = root / "solutions" / stem
            place.mkdir(parents=True)
            renamed = {name: t if stem == FIRST else t.replace("times", "scaled") for name, t in texts.items()}
            (place / f"{stem}.py").write_text(renamed[".py"].replace("print(scaled(3))", TAKES))
            (place / "drivers.py").write_text(renamed["drivers"])
            (place / "exercises.py").write_text(renamed["exercises"])
        (root / "course.toml").write_text(COURSE)
        yield root


def released(root: Path, lab: str) -> Path:
    """Build, prove and release a lab of the course's term."""
    course = load_course(root)
    made = build_and_prove(course, lab, unsafe=any(probe().values()))
    assert made.good, made.lines
    return release(course, lab, root.parent / "releases").path


def week(root: Path, student: Student) -> dict:
    """One student's week in the course's term; what came of it."""
    course = load_course(root)
    term, inbox, into = course.term.name, student.home / "inbox", student.home / "gradebook"
    first = released(root, FIRST)
    assert first.name == f"{FIRST}-{term}-r1.zip"
    student.install(first)
    assert "Due " in student.mlsys("start", "lab00", "--from", first, "--no-open")
    typed = answers(course, FIRST)
    student.write(FIRST, typed)
    source = root / "solutions" / FIRST / f"{FIRST}.py"
    source.write_text(source.read_text().replace("# A small lab", "# A small lab, corrected"))
    said = student.mlsys("update", "lab00", "--from", released(root, FIRST))
    assert "release 1 became release 2" in said and "Installed mlsys_course-" in said
    notebook = nbformat.read(student.labs / FIRST / f"{FIRST}.ipynb", as_version=4)
    assert "corrected" in notebook.cells[0].source
    assert typed["solution-times"] in [cell.source for cell in notebook.cells]
    assert "1 of 1 pass: 4 of 5 points" in student.mlsys("check", "lab00")
    assert "1 of 1 carried" in student.mlsys("carry", "lab00")
    handed = student.mlsys("submit", "lab00", "--student", "ada", "--into", inbox, "--no-run")
    assert "warning:" not in handed and "checksum" in handed
    (row,) = collect(inbox, into / "submitted")
    assert row.receipt == "ok" and row.checksum in handed and find_receipt(row.checksum, into / "submitted") == [row]
    course = load_course(root)
    (graded,) = grade(course, FIRST, into / "submitted", into, unsafe=any(probe().values()))
    assert (graded.student, graded.score, graded.problem) == ("ada", 4, "")
    with Recorder(into, FIRST) as recorder:
        assert write_pages(recorder, course, recorder.students()) == {}
    page = into / "feedback" / "ada" / FIRST / f"{FIRST}.html"
    assert "ada" in page.read_text(encoding="utf-8")
    said = student.mlsys("start", "lab01", "--from", released(root, NEXT), "--no-open")
    assert "foundations: your own, from my_mlsys/." in said and "Installed mlsys_course-0.1.0+lab01.r1" in said
    student.write(NEXT, answers(course, NEXT))
    said = student.mlsys("check", "lab01", "--experiments")
    assert "1 of 1 pass: 4 of 5 points" in said and "foundations.times: your own" in said
    assert "carry lab01" in student.mlsys("progress")
    return {"factor": course.lab(FIRST).variants["factor"], "book": into / "gradebook.db", "first": first}


@pytest.mark.long
def test_a_week_in_each_of_two_terms(staff, tmp_path):
    ada = Student(tmp_path / "first")
    before = week(staff, ada)
    book = before["book"].read_bytes()
    renew(staff, TERMS[1], date(2127, 1, 20), (before["book"],))
    grace = Student(tmp_path / "second")
    after = week(staff, grace)
    assert before["factor"] != after["factor"] and before["book"].read_bytes() == book
    assert (staff / "archive" / TERMS[0]).is_dir()
    mine = tree(ada.labs / FIRST)
    said = ada.mlsys("start", "lab00", "--from", after["first"], "--no-open")  # last year's student comes back
    assert f"It is of term {TERMS[0]}" in said and "make an empty folder" in said and tree(ada.labs / FIRST) == mine
    assert "has other numbers" in ada.mlsys("update", "lab00", "--from", after["first"], fails=True)


@pytest.mark.long
def test_a_student_who_does_everything_wrong(staff, tmp_path):
    path = released(staff, FIRST)
    eve = Student(tmp_path / "eve")
    eve.install(path)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(path.read_bytes()[:999])
    wrong = {
        "call this in the folder that holds the labs": ["check", "lab00"],
        "download it again": ["start", "lab00", "--from", cut],
        "cannot be reached": ["start", "lab00", "--from", "http://127.0.0.1:9/lab00.zip"],
        "was asked for": ["start", "lab05", "--from", path],
        "No lab here yet": ["progress"],
    }
    for message, command in wrong.items():
        assert message in eve.mlsys(*command, fails=True)
    assert tree(eve.labs) == {}
    eve.mlsys("start", "lab00", "--from", path, "--no-open")
    lab, notebook = eve.labs / FIRST, eve.labs / FIRST / f"{FIRST}.ipynb"
    eve.write(FIRST, {"times": "pass  # I do not like to be checked"})
    work = tree(lab)
    assert "nothing in it was changed" in eve.mlsys("start", "lab00", "--from", path, "--no-open")
    assert "already; nothing was changed" in eve.mlsys("update", "lab00", "--from", path)
    assert "--student NAME" in eve.mlsys("submit", "lab00", "--no-run", "--student", "../mallory", fails=True)
    assert "so nothing was packed" in eve.mlsys(
        "submit", "lab00", "--no-run", "--strict", "--student", "eve", fails=True
    )
    assert tree(lab) == work and not list(eve.labs.glob("*.zip"))
    said = eve.mlsys("submit", "lab00", "--student", "eve", "--into", tmp_path / "inbox")
    assert "Still blank: times" in said and "The graded cell of times was edited" in said and "0 of 5 points" in said
    for spoil, message in (
        (lambda: notebook.rename(lab / "Untitled.ipynb"), "give your notebook its name back"),
        (lambda: (lab / "Untitled.ipynb").rename(notebook), ""),
        (lambda: notebook.write_bytes(notebook.read_bytes()[:-30]), "no readable notebook"),
        (lambda: notebook.write_bytes(work[f"{FIRST}.ipynb"]), ""),
        (lambda: (lab / "cases").rename(eve.labs / "cases"), "has no cases/"),
        (lambda: (eve.labs / "cases").rename(lab / "cases"), ""),
        (lambda: lab.rename(eve.labs / "my lab"), f"rename the folder to {FIRST}"),
        (lambda: (eve.labs / "my lab").rename(lab), ""),
    ):
        spoil()
        assert not message or message in eve.mlsys("submit", "lab00", "--no-run", fails=True).replace("\n", " ")
    assert {name: data for name, data in tree(lab).items() if "__pycache__" not in name} == work
    (zipped,) = (tmp_path / "inbox").glob("*.zip")
    with zipfile.ZipFile(zipped) as archive:
        forged = {name: archive.read(name) for name in archive.namelist()}
    forged[f"{FIRST}.ipynb"] += b" "
    zipped.write_bytes(pack({**forged, "../../evil.py": b""}))
    (row,) = collect(tmp_path / "inbox", tmp_path / "submitted")
    assert (row.student, row.receipt) == ("eve", "changed") and "left out" in row.remark
    assert sorted(p.name for p in (tmp_path / "submitted").iterdir()) == [".collected", "eve"]
