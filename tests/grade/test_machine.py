"""What fails for the machine's sake is no grade: not graded, said in a sentence, and taken up by the next run."""

import errno
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from autograder.cli import add_commands
from autograder.course import CourseError
from autograder.files import read_regular
from autograder.grade.record import Recorder
from autograder.grade.report import write_report
from autograder.grade.run import Row
from autograder.grade.session import Session
from autograder.machine import machine_trouble, trouble
from autograder.parts import evaluate
from autograder.sandbox import Cell, Limits, SandboxUnavailable, host, submission
from autograder.sandbox.inside.channel import Channel, Closed
from autograder.sandbox.submission import Submission
from autograder.sandbox.watchdog import Watchdog
from mlsys_course.desk.check import Outcome, decode, encode

from .conftest import Course

STEM = "lab00_foundations"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/course/x")
LOCKED = OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
TROUBLES = {
    "no descriptors": (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "too many files are open"),
    "none on the machine": (OSError(errno.ENFILE, os.strerror(errno.ENFILE)), "too many files are open"),
    "a full disk": (FULL, "the disk is full (/course/x): free space"),
    "a quota": (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "the disk is full"),
    "a full database": (LOCKED, "the disk is full"),
    "no memory": (MemoryError(), "memory is used up"),
    "no memory to fork": (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "memory is used up"),
    "no processes": (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "no more processes"),
    "no sandbox": (SandboxUnavailable("the warm process has ended"), "the warm process has ended"),
    "memory outside": (SandboxUnavailable(host.OUT_OF_MEMORY), "this machine ran out of memory"),
    "whatever else": (RuntimeError("of ours"), "RuntimeError: of ours"),
}


@pytest.fixture
def course(opened) -> Course:
    """Cleo's grade is taken back."""
    opened.recorder.book.forget(STEM, "cleo")
    return opened


@pytest.fixture
def at_cleo(monkeypatch):
    """A function: what happens when cleo is graded, so many times; while it runs, or while it is recorded."""

    def at_cleo(error: Exception, times: int = 10**6, *, recording: bool = False) -> list[int]:
        calls: list[int] = []

        def fails(student: str) -> None:
            if student == "cleo" and len(calls) < times:
                calls.append(1)
                raise error

        graded, staged = Session.grade, Recorder.stage

        def grade(self, notebook, files, student=""):
            fails(student)
            return graded(self, notebook, files, student)

        def stage(self, entry, *rest, **more):
            fails(entry.student)
            return staged(self, entry, *rest, **more)

        monkeypatch.setattr(*((Recorder, "stage", stage) if recording else (Session, "grade", grade)))
        return calls

    return at_cleo


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("kind", TROUBLES)
def test_it_is_no_zero_and_the_next_run_grades_it(course, at_cleo, kind, recording):
    error, words = TROUBLES[kind]
    at_cleo(error, recording=recording)
    rows = course.rows()
    assert rows["ann"].score == 4 and not rows["cleo"].graded
    assert rows["cleo"].problem.startswith("not graded: ") and words in rows["cleo"].problem
    assert course.recorded() == ["ann"]
    assert "cleo" not in write_report(course.into, STEM, course.recorder.book.entries(STEM)).read_text()


@pytest.mark.parametrize("kind", ["no descriptors", "no memory to fork", "no sandbox", "a full disk"])
def test_what_a_neighbour_may_have_used_up_is_tried_again(course, at_cleo, kind):
    calls = at_cleo(TROUBLES[kind][0], times=1)
    rows = course.rows()
    assert len(calls) == 1 and rows["cleo"].score == 4 and course.recorded() == ["ann", "cleo"]


def test_an_earlier_grade_stays(course, at_cleo):
    course.rows()
    at_cleo(FULL, recording=True)
    assert not course.rows(again=True)["cleo"].graded and course.recorded() == ["ann", "cleo"]
    assert course.recorder.book.scores(STEM, "cleo") == {"times": 4.0, "why": 0.0}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EACCES])
def test_a_file_that_this_machine_cannot_read_is_not_one_that_is_missing(course, tmp_path, monkeypatch, number):
    real = os.open

    def fails(path, *rest, **more):
        if "cleo" in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr("autograder.files.os.open", fails)
    with pytest.raises(OSError):
        read_regular(tmp_path / "cleo", 1)
    rows = course.rows()
    assert rows["ann"].score == 4 and not rows["cleo"].graded and course.recorded() == ["ann"]


def graded_as(patch: pytest.MonkeyPatch, result) -> None:
    """What the command's grading comes to: rows, or an error."""

    def grade(*_: object, **__: object) -> list[Row]:
        if isinstance(result, Exception):
            raise result
        return result

    patch.setattr("autograder.grade.run.grade", grade)


def command(root: Path, monkeypatch, *words: str):
    app = typer.Typer()
    add_commands(app)
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "150")
    return CliRunner().invoke(app, list(words))


GRADE = ("grade", "lab00", "--submitted", "submitted", "--into", "into", "--csv", "a.csv")


def test_the_command_says_so_and_ends_with_a_failure(course, at_cleo, monkeypatch):
    at_cleo(FULL)
    graded_as(monkeypatch, list(course.rows().values()))
    done = command(course.root, monkeypatch, *GRADE)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "cleo: not graded: the disk is full (/course/x): free space" in said
    assert "1 of 2 were not graded, which is no zero" in said
    assert [line[:3] for line in (course.root / "a.csv").read_text().splitlines()] == ["stu", "ann"]


@pytest.mark.parametrize("place", ["grading", "the table", "the pages"])
def test_a_disk_that_fills_up_around_the_submissions_is_one_sentence(course, monkeypatch, place):
    def full(*_: object, **__: object) -> None:
        raise FULL

    graded_as(monkeypatch, FULL if place == "grading" else [])
    monkeypatch.setattr("autograder.grade.sheet.write_csv", full)
    monkeypatch.setattr("autograder.grade.record.Recorder.__enter__", full)
    (course.root / "into" / "gradebook.db").touch()
    words = ("feedback", "lab00", "--into", "into") if place == "the pages" else GRADE
    done = command(course.root, monkeypatch, *words)
    assert isinstance(done.exception, CourseError)
    assert str(done.exception) == "the disk is full (/course/x): free space, and call this again"


def test_other_errors_are_not_taken_for_the_machines():
    with pytest.raises(ZeroDivisionError), machine_trouble():
        raise ZeroDivisionError
    assert trouble(FileNotFoundError(errno.ENOENT, "x")) == trouble(ValueError()) == trouble(None) == ""
    try:
        try:
            raise FULL
        except OSError as inner:
            raise RuntimeError from inner
    except RuntimeError as outer:
        assert trouble(outer).startswith("the disk is full")


@pytest.mark.skipif(sys.platform != "linux", reason="as the kernel counts")
def test_descriptors_are_as_many_as_may_be():
    program = (
        "import resource; from autograder.sandbox.host import raise_descriptor_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 900)); raise_descriptor_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert min(900, resource.getrlimit(resource.RLIMIT_NOFILE)[1]) == 900
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "(900, 900)"


class Warm:
    """A warm process that may have ended, seen from outside."""

    def __init__(self, ended: bool = False):
        self.ended, self.cards = ended, None

    def over(self) -> bool:
        return self.ended

    def said(self) -> str:
        return "Killed"


def crashes(monkeypatch, *, ended: bool = False, killed: int = 0, problem: str = "crashed"):
    """A run whose one exercise came to a problem, while the kernel killed so many processes."""
    counts = iter([5, 5 + killed, 5 + killed])
    monkeypatch.setattr(submission, "processes_killed", lambda: next(counts))
    monkeypatch.setattr(
        Submission, "_again", lambda self, last: self.outcomes.update(a={"1": Outcome(problem=problem)})
    )
    monkeypatch.setattr(Submission, "_again_in_ranks", lambda self: False)
    asked = Submission(Warm(ended), Limits(), [Cell("", "a")], SimpleNamespace(), {}, {"a": None}, {})  # type: ignore
    return asked.run()


def test_who_is_killed_because_memory_ran_out_outside_has_no_outcome(monkeypatch):
    assert crashes(monkeypatch).outcomes["a"]["1"].problem == "crashed"  # its own doing
    assert crashes(monkeypatch, killed=1, problem="").outcomes["a"]["1"].problem == ""  # somebody else was killed
    with pytest.raises(SandboxUnavailable, match="ran out of memory"):
        crashes(monkeypatch, killed=1)
    with pytest.raises(SandboxUnavailable, match="the warm process has ended: Killed"):
        crashes(monkeypatch, ended=True)


def test_the_kernel_is_asked(tmp_path, monkeypatch):
    for name, text in (("vmstat", "pgfault 1\noom_kill 3\n"), ("events", "oom 9\noom_kill 2\noom_group_kill 7\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(host, "COUNTERS", [str(tmp_path / name) for name in ("vmstat", "events", "none")])
    assert host.processes_killed() == 5


def test_a_sandbox_that_nobody_could_watch_has_no_outcome(monkeypatch):
    sandbox = SimpleNamespace(ended=threading.Event(), slot=1, kill=lambda why: sandbox.ended.set())
    monkeypatch.setattr(Watchdog, "look", lambda self: (_ for _ in ()).throw(TROUBLES["no descriptors"][0]))
    watchdog = Watchdog(sandbox, Limits(), 1.0)  # type: ignore[arg-type]
    watchdog.thread.join(5)
    asked = Submission(Warm(), Limits(), [], SimpleNamespace(), {}, {}, {})  # type: ignore[arg-type]
    with pytest.raises(SandboxUnavailable, match="nobody could watch"):
        asked.count(watchdog)
    assert sandbox.ended.is_set()


@pytest.mark.parametrize(("number", "raised"), [(errno.ENOMEM, OSError), (errno.ENOBUFS, OSError),
                                                (errno.EPIPE, Closed), (errno.ECONNRESET, Closed)])  # fmt: skip
def test_a_channel_tells_the_machine_from_the_other_end(number, raised):
    def fails(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    channel = Channel(SimpleNamespace(sendall=fails, recv=fails, settimeout=lambda s: None))  # type: ignore[arg-type]
    for use in (lambda: channel.send({}), channel.receive):
        with pytest.raises(raised):
            use()


def test_a_part_that_the_machine_could_not_compute_is_no_answer():
    def part(error: Exception):
        def fails(x):
            raise error

        return SimpleNamespace(work=lambda x: 1, most=10, reference=fails)

    request = encode({"op": "forward", "args": [1], "kwargs": {}})
    with pytest.raises(MemoryError):
        evaluate(part(MemoryError()), request)  # type: ignore[arg-type]
    assert decode(evaluate(part(KeyError("x")), request))["raised"] == "KeyError"  # type: ignore[arg-type]
