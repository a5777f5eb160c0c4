"""A grading run that is killed: nothing lost, nothing graded twice, nothing half written."""

import contextlib
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autograder.build.pipeline import build
from autograder.build.proven import remember_proof
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.grade.gradebook import Entry
from autograder.grade.record import Recorder

STEM = "lab00_foundations"
STUDENTS = ("ann", "bob", "cleo", "dan")


@pytest.fixture(scope="module")
def course_folder(tmp_path_factory) -> Path:
    """A small course with four submissions, to be graded into ``course/``."""
    from tests.conftest import write_small_course

    root = write_small_course(tmp_path_factory.mktemp("kill") / "here")
    built = build(load_course(root).lab(STEM), root / "labs" / STEM)
    work = {
        "ann": Student(built.student, built.solution).solve(),
        "bob": Student(built.student, built.solution).write("times", "def times(x):\n    return x + 1"),
        "cleo": Student(built.student, built.solution),
        "dan": Student(built.student, built.solution).solve().insert_after("times", "print('careful')"),
    }
    for name, student in work.items():
        folder = root / "submitted" / name / STEM
        folder.mkdir(parents=True)
        (folder / f"{STEM}.ipynb").write_bytes(student.hand_in())
    return root


@pytest.fixture
def here(course_folder, tmp_path) -> Path:
    """A copy of that course, not yet graded."""
    target = tmp_path / "here"
    subprocess.run(["cp", "-r", str(course_folder), str(target)], check=True)
    return target


def entries(here: Path) -> dict[str, Entry]:
    if not (here / "course" / "gradebook.db").exists():
        return {}
    with Recorder(here / "course", STEM) as recorder:
        return {entry.student: entry for entry in recorder.book.entries(STEM)}


def assert_all_in_order(here: Path, earlier: dict[str, Entry], set_aside: Path | None = None) -> None:
    """Everybody has a grade, on paper and in the book; those who had one were not graded again.

    Nothing else of theirs lies about but what was ``set_aside`` by hand.
    """
    with Recorder(here / "course", STEM) as recorder:
        now = {entry.student: entry for entry in recorder.book.entries(STEM)}
        assert sorted(now) == sorted(recorder.students()) == list(STUDENTS)
        assert [recorder.differs(entry) for entry in now.values()] == [""] * len(STUDENTS)
        assert recorder.recover() == []
    assert {name: now[name] for name in earlier} == earlier  # seconds and all: a second run would differ in them
    assert {name: entry.scores["times"]["score"] for name, entry in now.items()} == {
        "ann": 4, "bob": 0, "cleo": 0, "dan": 4
    }  # fmt: skip
    rows = (here / "points.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1::2]] == list(STUDENTS)
    for name in STUDENTS:
        paths = [path for path in (here / "course").rglob("*") if path.is_file() and name in path.parts]
        paths = [path for path in paths if set_aside is None or not path.is_relative_to(set_aside)]
        graded, handed = f"autograded/{name}/{STEM}/{STEM}.ipynb", f"submitted/{name}/{STEM}/{STEM}.ipynb"
        assert {str(path.relative_to(here / "course")) for path in paths} == {
            graded,
            handed,
            f"logs/{name}/{STEM}/log.txt",
        }
        handed, kept = here / "submitted" / name / STEM, here / "course" / "submitted" / name / STEM
        assert (handed / f"{STEM}.ipynb").read_bytes() == (kept / f"{STEM}.ipynb").read_bytes()


def written(here: Path) -> dict[Path, tuple[int, bytes]]:
    """Notebooks of the course folder, when they were written and what they hold."""
    found = (here / "course").rglob("*.ipynb")
    return {path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest()) for path in found}


@pytest.mark.parametrize(
    ("point", "graded"),
    [
        ("in the commit", (1,)),
        pytest.param("after the score", (0, 1), marks=pytest.mark.long),
        pytest.param("between the renames 3", (1,), marks=pytest.mark.long),
        pytest.param("before the run", (0, 1), marks=pytest.mark.long),
        pytest.param("while staging", (0,), marks=pytest.mark.long),
        pytest.param("before the commit", (1,), marks=pytest.mark.long),
        pytest.param("before the rename", (2,), marks=pytest.mark.long),
        pytest.param("between the renames 7", (2,), marks=pytest.mark.long),
        pytest.param("between the renames 8", (2,), marks=pytest.mark.long),
    ],
)
def test_killed_at(here, graders, point, graded):
    graders.die(here, point)
    earlier = entries(here)
    assert len(earlier) in graded
    graders.finish(here)
    assert_all_in_order(here, earlier)


def test_killed_with_a_sandbox_at_work(here, graders):
    graders.die(here, "after the score", sealed=True)
    earlier = entries(here)
    assert len(earlier) in (0, 1)
    said = graders.finish(here, sealed=True)
    assert "sealed" in said.lower() and "NOT SEALED" not in said
    assert_all_in_order(here, earlier)


@pytest.mark.long
def test_what_was_scored_before_the_kill_is_not_run_again(here, graders):
    graders.die(here, "before the commit")
    (folder,) = (here / "course" / ".mlsys" / "staged" / STEM).iterdir()
    staged = Entry.from_json((folder / "entry.json").read_text())
    graders.finish(here)
    assert entries(here)[folder.name] == staged


@pytest.mark.long
def test_killed_at_random(here, graders):
    """Twenty times, at moments drawn with a seed, and what is graded stays so."""
    draw, start = random.Random(20), time.monotonic()
    graders.die(here, "before the run")
    longest = 1.5 * (time.monotonic() - start)
    for _ in range(20):
        before = entries(here)
        pid = graders.start(here)
        time.sleep(draw.uniform(0.1, longest))
        os.kill(pid, signal.SIGKILL)
        graders.end(pid)
        now = entries(here)
        assert {name: now[name] for name in before} == before
    graders.finish(here)
    assert_all_in_order(here, before)


def test_grading_again_runs_nothing_and_regrade_says_what_changed(here, graders):
    graders.finish(here)
    earlier = entries(here)
    files = written(here)
    assert "4 of 4 were graded before" in graders.finish(here)
    assert entries(here) == earlier
    assert written(here) == files

    said = graders.finish(here, "--regrade")
    assert "changed:" not in said
    assert {n: e.scores for n, e in entries(here).items()} == {n: e.scores for n, e in earlier.items()}

    exercises = here / "solutions" / STEM / "exercises.py"
    exercises.write_text(exercises.read_text().replace('points={"values": 4}', 'points={"values": 6}'))
    build(load_course(here).lab(STEM), here / "labs" / STEM)
    said = graders.finish(here)
    assert "4 of them before the lab changed (exercises.py): --regrade" in " ".join(said.split())
    assert entries(here)["ann"].scores["times"]["score"] == 4
    code, said = graders.end(graders.start(here, "--regrade"))
    assert code == 2 and "was never proven here: grading again" in " ".join(said.split())
    assert entries(here)["ann"].scores["times"]["score"] == 4
    remember_proof(load_course(here), STEM)
    said = graders.finish(here, "--regrade")
    assert "ann changed: times ok 4 -> ok 6 (the lab has changed since: exercises.py)" in said
    assert "cleo changed" not in said

    with sqlite3.connect(here / "course" / "gradebook.db") as book:  # as grades were kept before fingerprints were
        book.execute("DELETE FROM mlsys_fingerprint")
        book.execute("UPDATE mlsys_journal SET entry = json_replace(entry, '$.edition', 'an earlier kind of digest')")
    book.close()
    said = " ".join(graders.finish(here).split())
    assert "4 of them before the lab changed (in what, was not yet noted when it was graded): --regrade" in said


@pytest.mark.long
def test_a_newer_submission(here, graders):
    graders.finish(here)
    earlier = entries(here)
    right = (here / "submitted" / "ann" / STEM / f"{STEM}.ipynb").read_bytes()
    (here / "submitted" / "bob" / STEM / f"{STEM}.ipynb").write_bytes(right)
    said = graders.finish(here)
    assert "bob changed: times wrong 0 -> ok 4 (a newer submission)" in said
    assert {n: e for n, e in entries(here).items() if n != "bob"} == {n: e for n, e in earlier.items() if n != "bob"}


@pytest.mark.long
def test_a_newer_submission_while_grading(here, graders):
    """It comes after its older one was read, and before the run has ended."""
    graders.end(graders.start(here, point="a newer submission of bob"))
    assert entries(here)["bob"].scores["times"]["score"] == 4
    kept = here / "course" / "submitted" / "bob" / STEM / f"{STEM}.ipynb"
    assert kept.read_bytes() == (here / "submitted" / "bob" / STEM / f"{STEM}.ipynb").read_bytes()


def test_two_graders_at_once(here, graders):
    first = graders.start(here)
    lock = here / "course" / ".mlsys" / f"{STEM}.lock"
    end = time.monotonic() + 60
    while not (lock.exists() and lock.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(first, signal.SIGSTOP)  # else it may have ended before the second one looks
    code, said = graders.end(graders.start(here))
    os.kill(first, signal.SIGCONT)
    assert code == 2 and f"process {first}" in said and "wait until it has ended" in " ".join(said.split())
    code, said = graders.end(first)
    assert code == 0, said
    assert_all_in_order(here, {})


@pytest.mark.long
def test_a_late_submission(here, graders):
    from nbgrader.api import Gradebook

    graders.finish(here)
    with Gradebook(f"sqlite:///{here / 'course' / 'gradebook.db'}") as book:
        book.update_or_create_assignment(STEM, duedate="2026-11-20 12:00:00 UTC")
    (here / "course" / "nbgrader_config.py").write_text(
        (here / "course" / "nbgrader_config.py").read_text() + "c.LateSubmissionPlugin.penalty_method = 'zero'\n"
    )
    for name, when in (("ann", "2026-11-20 13:30:00 UTC"), ("dan", "2026-11-20 11:59:00 UTC"), ("bob", "x" * 20)):
        (here / "submitted" / name / STEM / "timestamp.txt").write_text(when)
    said = graders.finish(here)
    assert said.count("late by 1 hour 30 minutes: 4 before") == 1
    with Gradebook(f"sqlite:///{here / 'course' / 'gradebook.db'}") as book:
        scores = {name: book.find_submission(STEM, name) for name in ("ann", "dan")}
        assert (scores["ann"].late_submission_penalty, scores["dan"].late_submission_penalty) == (4, 0)
        assert scores["ann"].score == 4


def when_written(file: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_mtime_ns


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="kills processes")
def test_what_an_interrupted_nbgrader_left_is_found_and_mended(here, graders):
    graders.finish(here)
    course = here / "course"
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    command = [sys.executable, "-m", "nbgrader", "autograde", STEM, "--force"]
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=course, env=environment, stdout=null, stderr=null)
    file = course / "autograded" / "ann" / STEM / f"{STEM}.ipynb"
    before = when_written(file)
    end = time.monotonic() + 90
    while time.monotonic() < end and when_written(file) in (before, None):  # nbgrader takes the old one away first
        time.sleep(0.001)
    process.kill()  # ann's notebook is sanitized, and not yet run
    process.wait()
    doctor = [sys.executable, "-m", "mlsys_course.desk.cli", "doctor"]
    environment["COLUMNS"] = "200"
    said = subprocess.run(doctor, cwd=course, capture_output=True, text=True, timeout=120, env=environment)
    assert said.returncode == 1 and f"graded by halves: ann, {STEM}" in said.stdout, said.stdout
    mended = subprocess.run([*doctor, "--mend"], cwd=course, capture_output=True, text=True, timeout=120)
    assert mended.returncode == 0, mended.stdout
    aside = course / ".mlsys" / "quarantine" / "interrupted"
    assert not file.exists() and list((aside / "ann").iterdir())
    graders.finish(here)
    assert_all_in_order(here, {}, set_aside=aside)
