"""One gradebook for all commands, and what they say before they change what stands."""

import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from autograder.authoring import closing_line
from autograder.build.proven import remember_proof
from autograder.cli import add_commands
from autograder.collect import collect, find_receipt
from autograder.course import CourseError, load_course
from autograder.demo import show
from autograder.doctor import course_folder
from autograder.feedback.exporter import FeedbackExporter
from autograder.grade.execute import RepairingExporter
from autograder.grade.record import Recorder
from autograder.grade.run import _check_proven
from autograder.nbgrader_config import COURSE_FOLDER_CONFIG
from tests.student.test_collect import hand_in

from .conftest import STEM, Course

ELSEWHERE = COURSE_FOLDER_CONFIG + "c.CourseDirectory.db_url = 'postgresql://db.invalid/course'\n"
COMMANDS = {
    "grade": ["grade", "lab00", "--submitted", "submitted"],
    "regrade": ["grade", "lab00", "--submitted", "submitted", "--into", ".", "--regrade"],
    "feedback": ["feedback", "lab00"],
    "demo": ["demo", "."],
    "term": ["term", "new", "2099-spring"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_another_gradebook_is_refused_by_every_command(small_course, secrets_at, monkeypatch, command):
    (small_course / "nbgrader_config.py").write_text(ELSEWHERE)
    (small_course / "submitted").mkdir()
    (small_course / show.MARKER).touch()
    before = sorted(small_course.rglob("*"))
    monkeypatch.chdir(small_course)
    app = typer.Typer()
    add_commands(app)
    done = CliRunner().invoke(app, COMMANDS[command])
    assert isinstance(done.exception, CourseError), done.output
    assert "db_url is set" in str(done.exception) and "take that line out" in str(done.exception)
    assert sorted(small_course.rglob("*")) == before


def test_and_by_the_doctor_the_recorder_and_nbgrader_by_hand(small_course, monkeypatch):
    (small_course / "nbgrader_config.py").write_text(ELSEWHERE)
    (finding,) = course_folder(small_course)
    assert finding.state == "missing" and "db_url is set" in finding.remedy
    with pytest.raises(CourseError, match="db_url is set"), Recorder(small_course, STEM):
        pass
    place = SimpleNamespace(root=str(small_course), db_url="sqlite:////elsewhere.db", assignment_id=STEM)
    by_hand = SimpleNamespace(coursedir=place)
    about = {"nbgrader": {"assignment": STEM, "student": "ann", "db_url": place.db_url}}
    for exporter in (RepairingExporter, FeedbackExporter):
        monkeypatch.setattr(exporter, "parent", by_hand)
        with pytest.raises(CourseError, match="db_url is set"):
            exporter.from_filename(exporter.__new__(exporter), "x.ipynb", about)


def collect_one(number: int, inbox: Path, into: Path, barrier) -> None:
    barrier.wait()
    for n in range(5):
        (inbox / f"{number}-{n}").mkdir(parents=True)
        (inbox / f"{number}-{n}" / "a.zip").write_bytes(hand_in(b"%d" % n, f"s{number}-{n}"))
        collect(inbox / f"{number}-{n}", into)


def test_several_collects_at_once_lose_no_receipt(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    work = [context.Process(target=collect_one, args=(n, tmp_path / "in", tmp_path / "out", barrier)) for n in range(3)]
    for process in work:
        process.start()
    for process in work:
        process.join(60)
    assert [process.exitcode for process in work] == [0, 0, 0]
    everybody = {f"s{number}-{n}" for number in range(3) for n in range(5)}
    assert {found.student for found in find_receipt("", tmp_path / "out")} == everybody
    assert {path.name for path in (tmp_path / "out").glob("s*")} == everybody


def test_a_regrade_by_a_changed_lab_asks_for_its_proof(opened: Course):
    course = load_course(opened.root)
    _check_proven(course, STEM, opened.session, opened.recorder)  # the same lab: nothing to ask
    changed = SimpleNamespace(identity="another digest")
    with pytest.raises(CourseError, match=r"never proven here: .* call `mlsys build lab00_foundations` first"):
        _check_proven(course, STEM, changed, opened.recorder)  # type: ignore[arg-type]
    remember_proof(course, STEM)
    _check_proven(course, STEM, changed, opened.recorder)  # type: ignore[arg-type]


def test_a_build_ends_with_what_was_proven_and_what_comes_next(course):
    assert closing_line(course, ["lab00_a", "lab01_b"], [], check=False) == (
        "proven: lab00_a, lab01_b; next: mlsys release lab00_a lab01_b"
    )
    said = closing_line(course, ["lab00_a"], ["lab01_b"], check=True)
    assert said.startswith("proven and up to date: lab00_a; not: lab01_b; next: mend") and "mlsys build lab01_b" in said
    assert "proven: nothing" in closing_line(course, [], ["lab01_b"], check=False)


def test_a_demo_where_one_was_before_keeps_what_was_graded_there(course, tmp_path, monkeypatch):
    monkeypatch.setattr(show, "COHORT", show.COHORT[:2])
    folder = tmp_path / "demo"
    show.make_course(course, folder)
    for name in ("gradebook.db", "autograded/ada/x", "submitted/gone/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("kept")
    show.make_course(course, folder)
    assert (folder / "gradebook.db").read_text() == (folder / "autograded/ada/x").read_text() == "kept"
    assert {path.name for path in (folder / "submitted").iterdir()} == {"ada", "babbage"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(CourseError, match="no demo's"):
        show.make_course(course, tmp_path / "other")


def test_the_demo_names_the_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(show.console, "file", None)
    show._what_next(tmp_path, [tmp_path / "page.html"], 1.0)
    assert str(tmp_path / "report" / f"{show.LAB}.html") in capsys.readouterr().out
