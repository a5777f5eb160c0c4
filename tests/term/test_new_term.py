"""``mlsys term``: the next term, the archive of the last one, and the safe keeping of secrets."""

import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from datetime import date

import pytest

from autograder.build.pipeline import build
from autograder.course import CourseError, load_course
from autograder.doctor import term as doctors_findings
from autograder.term import read_plan
from autograder.term.claim import claim
from autograder.term.renewal import next_start, renew, rewritten
from autograder.term.secret import export_secret, has_copy, import_secret, new_secret, secret_of, secret_path
from tests.conftest import ROOT

STEM = "lab00_foundations"
COURSE = f"""\
# Keep me.
name = "A course"
term = "sample"   # and me
starts = 2026-08-31
timezone = "Europe/Berlin"

[labs]
{STEM} = {{ component = "foundations", points = 5, due = 2026-10-01T23:59:00 }} # and me, due = 3
lab02_attention = {{ component = "attention", due = 2026-10-08 23:59:00+02:00, points = 9 }}

[labs.lab09_all_reduce]
component = "all_reduce"
due = 2026-11-01T12:00:00
"""


@pytest.fixture
def here(small_course, secrets_at):
    """A small course with dates, built, with a gradebook."""
    (small_course / "course.toml").write_text(COURSE)
    build(load_course(small_course).lab(STEM), small_course / "labs" / STEM)
    with sqlite3.connect(small_course / "gradebook.db") as book:
        book.execute("create table grades (student text)")
    return small_course


def test_only_dates_and_names_change_in_the_text():
    plan = read_plan(ROOT / "course.toml", COURSE)
    text = rewritten(COURSE, plan, "2027-spring", date(2027, 3, 1))
    changed = [(a, b) for a, b in zip(COURSE.split("\n"), text.split("\n"), strict=True) if a != b]
    assert [new for _, new in changed] == [
        'term = "2027-spring"   # and me',
        "starts = 2027-03-01",
        f'{STEM} = {{ component = "foundations", points = 5, due = 2027-04-01T23:59:00 }} # and me, due = 3',
        'lab02_attention = { component = "attention", due = 2027-04-08T23:59:00+02:00, points = 9 }',
        "due = 2027-05-02T12:00:00",
    ]


LABS = COURSE[COURSE.index("[labs]") :]
LAYOUTS = {
    "lines end as on Windows": COURSE.replace("\n", "\r\n"),
    "quotes and blanks": COURSE.replace('term = "sample"', "term  =\t'sample' "),
    "a string of several lines": COURSE.replace('term = "sample"', '"term" = """\\\n  sample"""'),
    "a fraction of a second": COURSE.replace("12:00:00", "12:00:00.25Z# close"),
    "another table first": COURSE.replace("[labs]\n", "[late]\ngrace_minutes = 5\n\n[ labs ] # due = 2026-01-01\n"),
    "a table between": COURSE.replace("[labs.lab09", "[late] # days\ngrace_minutes = 5\n\n[ labs . lab09"),
    "a list of several lines": COURSE.replace("points = 9", "withholds = [ # why\n  'attention', # mine\n]"),
    "dotted names": COURSE.replace(
        LABS,
        f'labs.{STEM}.component = "foundations"\nlabs.{STEM} . due = 2026-10-01T23:59:00#x\n'
        'labs."lab09_all_reduce" = { component="all_reduce" , due=2026-11-01T12:00:00   }  #y\n',
    ),
}
CHANGES = re.compile(r"term\W+(?:sample|2027-spring)\W+|starts = [\d-]+|\bdue\s*=\s*[\d-]+[T ][\d:.]+(?:Z|\+[\d:]+)?")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_however_it_is_written_only_dates_and_names_change(here, layout):
    path, text = here / "course.toml", LAYOUTS[layout]
    path.write_bytes(text.encode())
    before = read_plan(path)
    after = renew(here, "2027-spring", date(2027, 3, 1)).plan
    days = {lab.due.date() - before.labs[stem].due.date() for stem, lab in after.labs.items() if lab.due}
    assert (after.term, after.starts, days) == ("2027-spring", date(2027, 3, 1), {after.starts - before.starts})
    left = [CHANGES.sub("", each) for each in (text, path.read_bytes().decode())]
    assert left[0] == left[1]


def test_the_clock_shows_the_same_after_the_change_to_summer_time():
    plan = read_plan(ROOT / "course.toml", COURSE)
    later = read_plan(ROOT / "course.toml", rewritten(COURSE, plan, "next", date(2027, 2, 15)))
    for stem, lab in plan.labs.items():
        before, after = lab.due, later.labs[stem].due
        assert before and after and (after.astimezone(plan.zone).hour, after.minute) == (before.hour, before.minute)
        assert after.weekday() == before.weekday() and (after.date() - before.date()).days == 168
    offsets = [str(lab.due.utcoffset()) for lab in later.labs.values() if lab.due]
    assert offsets == ["1:00:00", "1:00:00", "2:00:00"]  # summer time ended before the third, and begins before it


def test_a_start_is_chosen_half_a_year_later_on_the_same_weekday():
    plan = read_plan(ROOT / "course.toml", COURSE)
    assert next_start(plan, date(2026, 9, 1)) == date(2027, 3, 1)
    assert next_start(plan, date(2027, 3, 1)) == date(2027, 8, 30)
    assert next_start(plan, date(2030, 1, 1)).weekday() == plan.starts.weekday()


def test_a_new_term(here, secrets_at):
    before = (here / "gradebook.db").read_bytes()
    old = load_course(here)
    made = renew(here, "2027-spring", date(2027, 1, 18))
    new = load_course(here)
    assert (new.term.name, made.days, made.secret.parent) == ("2027-spring", 140, secrets_at)
    assert new.lab(STEM).variants != old.lab(STEM).variants and new.term.secret != old.term.secret
    built = build(new.lab(STEM), new.built(STEM))
    assert f"The factor is {new.lab(STEM).variants['factor']}." in built.student.cells[0].source
    assert built.folder == here / "dist" / "2027-spring" / STEM
    archive = here / "archive" / "sample"
    assert (archive / "course.toml").read_text() == COURSE
    assert (archive / "labs" / STEM / "drivers.py").is_file()
    (book,) = json.loads((archive / "archive.json").read_text())["gradebooks"]
    assert book["path"] == str(here / "gradebook.db") and (here / "gradebook.db").read_bytes() == before
    again = load_course(here, term="sample")  # the last term is graded by its own dates
    assert (again.plan, again.term) == (old.plan.__class__(**{**vars(old.plan), "path": again.plan.path,
            "labs": again.plan.labs}), old.term)  # fmt: skip
    assert again.plan.labs[STEM].due == old.plan.labs[STEM].due
    with pytest.raises(CourseError, match=r"is of term 'sample', and this is '2027-spring'.*--into"):
        claim(here, "2027-spring")


def test_a_term_that_exists_stays(here):
    renew(here, "2027-spring")
    text = (here / "course.toml").read_bytes()
    for name in ("2027-spring", "sample"):
        with pytest.raises(CourseError, match=r"exists already|cannot name a term"):
            renew(here, name)
    renew(here, "2027-fall")
    with pytest.raises(CourseError, match="exists already"):
        renew(here, "2027-spring")
    assert (here / "archive" / "2027-spring" / "course.toml").read_bytes() == text


def test_a_stopped_change_is_repeated(here, monkeypatch):
    import autograder.term.renewal as renewal

    def full(path, text):
        raise CourseError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(renewal, "write_text", full)
        with pytest.raises(CourseError, match="disk full"):
            renew(here, "2027-spring")
    assert (here / "course.toml").read_text() == COURSE
    secret = secret_path("2027-spring").read_bytes()
    assert renew(here, "2027-spring").secret.read_bytes() == secret
    assert load_course(here).term.name == "2027-spring"


def test_a_date_that_does_not_exist_changes_nothing(here, secrets_at):
    text = COURSE.replace("due = 2026-10-01T23:59:00", "due = 2026-10-04T02:30:00")
    (here / "course.toml").write_text(text)
    with pytest.raises(CourseError, match=r"would start on 2027-02-22: .*course.toml:8: .*is skipped.*Nothing has"):
        renew(here, "2027-spring", date(2027, 2, 22))
    assert (here / "course.toml").read_text() == text
    assert not secrets_at.exists() and not (here / "archive").exists()


def test_a_secret_is_copied_once_and_brought_back(here, secrets_at, tmp_path):
    new_secret("2027-spring")
    (warning,) = [f for f in doctors_findings() if f.what == "secret of 2027-spring"]
    assert warning.state == "missing" and "export-secret 2027-spring" in warning.remedy
    copy = tmp_path / "copy"
    export_secret("2027-spring", copy, here)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600 and has_copy("2027-spring")
    assert [f.state for f in doctors_findings() if f.what == "secret of 2027-spring"] == ["ok"]
    with pytest.raises(CourseError, match="exists and stays as it is"):
        export_secret("2027-spring", copy, here)
    secret = secret_of("2027-spring")
    secret_path("2027-spring").unlink()
    import_secret("2027-spring", copy)
    assert secret_of("2027-spring") == secret
    import_secret("2027-spring", copy)  # the same again: nothing to do
    copy.write_text("another secret, and long enough")
    with pytest.raises(CourseError, match="another secret already"):
        import_secret("2027-spring", copy)
    assert secret_of("2027-spring") == secret


@pytest.mark.parametrize(
    ("term", "where", "words"),
    [
        ("sample", "copy", "is public"),
        ("2027-spring", "course/copy", "lies in the course's folder"),
        ("2027-spring", "nowhere/copy", "is no folder"),
        ("2028-fall", "copy", "no secret of term '2028-fall'"),
    ],
)
def test_a_secret_is_not_copied_there(here, tmp_path, term, where, words):
    new_secret("2027-spring")
    with pytest.raises(CourseError, match=words):
        export_secret(term, tmp_path / where, here)
    assert not has_copy("2027-spring") and not (tmp_path / where).exists()


def test_a_copy_that_cannot_be_brought_back(here, tmp_path):
    with pytest.raises(CourseError, match="cannot be read"):
        import_secret("2027-spring", tmp_path / "none")
    (tmp_path / "short").write_text("short")
    with pytest.raises(CourseError, match="at least 16"):
        import_secret("2027-spring", tmp_path / "short")


def test_on_the_command_line(here, secrets_at):
    def mlsys(*words: str) -> str:
        command = [sys.executable, "-m", "mlsys_course.desk.cli", "term", *words]
        environment = {**os.environ, "COLUMNS": "200"}
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = mlsys("new", "2027-spring", "--starts", "2027-01-20")
    assert "shifted by 142 days, so weekdays change" in said and "mlsys build" in said
    mlsys("export-secret", "2027-spring", str(here.parent / "copy"))
    said = mlsys("list")
    assert "2027-spring" in said and "current" in said and "here, copied" in said and "archived" in said
