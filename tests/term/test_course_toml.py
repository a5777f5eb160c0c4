"""``course.toml``: what it says, and each mistake named with its line, what was found and what to write."""

import subprocess
import sys
from datetime import UTC, date, datetime

import pytest

from autograder.errors import CourseError
from autograder.term import LatePolicy, read_plan
from autograder.term.lines import Lines
from tests.conftest import ROOT

GOOD = """\
name = "A course" # a comment
term = "2027-spring"
starts = 2027-01-18
timezone = "Europe/Berlin"

[late]
grace_minutes = 15
percent_a_day = 10

[labs]
lab02_attention = { component = "attention", points = 100, due = 2027-02-15T23:59:00 }
lab09_all_reduce = { component = "all_reduce", due = 2027-03-28T23:59:00+07:00 }
"""
ATTENTION = 'lab02_attention = { component = "attention", points = 100, due = 2027-02-15T23:59:00 }\n'


def read(text: str):
    return read_plan(ROOT / "course.toml", text)


def test_what_it_says():
    plan = read(GOOD)
    assert (plan.name, plan.term, plan.starts, plan.zone.key) == ("A course", "2027-spring", date(2027, 1, 18),
                                                                   "Europe/Berlin")  # fmt: skip
    assert plan.late == LatePolicy(15, 10, None)
    attention, ring = plan.labs.values()
    assert {lab.bonus for lab in read(GOOD.replace("starts", "bonus = 7.5\nstarts")).labs.values()} == {7.5}
    assert attention.bonus == 20
    assert (attention.component, attention.points, attention.withholds) == ("attention", 100, None)
    assert attention.due and attention.due.astimezone(UTC) == datetime(2027, 2, 15, 22, 59, tzinfo=UTC)
    assert ring.due and ring.due.astimezone(UTC) == datetime(2027, 3, 28, 16, 59, tzinfo=UTC)
    assert ring.points is None and attention.where.endswith("course.toml:11")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('name = "A course" # a comment\n', "", 1, "name is missing; write name ="),
        ('"2027-spring"', '"../x"', 2, "cannot name a term"),
        ('term = "2027-spring"', "term = 7", 2, "term = 7 does not fit; write term ="),
        ("starts = 2027-01-18", 'starts = "2027-01-18"', 3, "does not fit; write starts = 2027-01-18"),
        ("starts = 2027-01-18", "starts = 2027-01-18T00:00:00", 3, "a date is enough"),
        ("Europe/Berlin", "Europe/Berln", 4, "is not in the IANA database"),
        ('timezone = "Europe/Berlin"\n', "", 1, "timezone is missing"),
        ("starts =", "bonus = '20'\nstarts =", 3, "bonus = '20'; write the most points that a lab's extensions add"),
        ("starts =", "bonus = -1\nstarts =", 3, "bonus = -1; write the most points"),
        ("timezone =", "timezome =", 4, "'timezome' is not known here; known are name"),
        ("percent_a_day = 10", "percent_a_day = 110", 8, "write a number from 0 to 100"),
        ("percent_a_day = 10", 'percent_a_day = "10"', 8, "write a number from 0 to 100"),
        ("grace_minutes", "grace", 7, "'grace' is not known here"),
        ("lab09_all_reduce =", "lab01_all_reduce =", 12, "stands after lab02_attention; labs build on each other"),
        ("lab09_all_reduce =", "lab02_all_reduce =", 12, "lab 02 stands here twice, as lab02_attention too"),
        ("lab09_all_reduce =", "ring =", 12, "'ring' is no lab's name"),
        ('component = "attention", ', "", 11, "lab02_attention needs a component"),
        ('component = "attention"', 'component = "atention"', 11, "'atention' is not in mlsys_course, which has acc"),
        ('component = "all_reduce"', 'component = "attention"', 12, "'attention' is an earlier lab's"),
        ("points = 100", "points = 0", 11, "points = 0; write what all but extensions add up to"),
        ("points = 100", "point = 100", 11, "'point' is not known here; known are component"),
        ("due = 2027-02-15T23:59:00", "due = 2027-02-15", 11, "due = 2027-02-15 is no day and time"),
        ("due = 2027-02-15T23:59:00", 'due = "2027-02-15T23:59"', 11, "without quotes"),
        ("due = 2027-02-15T23:59:00", "due = 2026-02-15T23:59:00", 11, "before the term starts on 2027-01-18"),
        ("due = 2027-02-15T23:59:00", "due = 2027-03-28T02:30:00", 11, "is skipped in Europe/Berlin, where clocks go"),
        ("points = 100", 'withholds = ["atention"]', 11, "withholds 'atention', which is no component"),
        ("points = 100", 'withholds = ["all_reduce"]', 11, "students would get the answer"),
        ("points = 100", 'withholds = "attention"', 11, "write a list of components"),
        ("[labs]", "[lab]", 10, "'lab' is not known here"),
        (GOOD[GOOD.index("[labs]") :], "", 1, "[labs] must hold lines such as lab02_attention"),
        ("[labs]", "[labs", 10, "correct that line"),
        (ATTENTION, ATTENTION * 2, 12, "correct that line"),
    ],
)
def test_a_mistake_is_named_with_its_line(old, new, line, words):
    assert GOOD.count(old) >= 1
    with pytest.raises(CourseError) as caught:
        read(GOOD.replace(old, new, 1))
    said = str(caught.value)
    assert words in said and (f"course.toml:{line}: " in said or f"at line {line}," in said)


def test_lines_are_found_however_a_table_is_written():
    text = (
        'a = """\nstarts = 1\n"""\n\n[labs.lab02_attention] # here\ncomponent = 1\n'
        '  "points" = 2\n\n[ late ]\nx.y = 3\nb = [\n 1,\n]\nlast = 4\n'
    )
    lines = Lines(ROOT / "course.toml", text)
    wanted = {("labs", "lab02_attention"): 5, ("labs", "lab02_attention", "component"): 6, ("late", "x", "y"): 10,
              ("labs", "lab02_attention", "points"): 7, ("late", "last"): 14, ("starts",): 1}  # fmt: skip
    assert {path: lines.of(*path) for path in wanted} == wanted


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(CourseError, match=r"cannot be read .*; restore it, in UTF-8"):
        read_plan(tmp_path / "course.toml")
    (tmp_path / "course.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(CourseError, match="in UTF-8"):
        read_plan(tmp_path / "course.toml")


def test_the_course_states_the_points_of_each_lab_that_has_sources(course):
    assert all(course.plan.labs[stem].points for stem in course.stems())
    assert all(lab.due for lab in course.plan.labs.values())


def test_loading_imports_no_torch():
    code = "import sys; from autograder.course import load_course; load_course(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("late", "lost"),
    [(0, 0), (14 * 60, 0), (16 * 60, 8), (86400 + 14 * 60, 8), (86400 + 16 * 60, 16), (7.5 * 86400, 80)],
)
def test_what_lateness_costs(late, lost):
    assert LatePolicy(15, 10, 7).penalty(80, late) == pytest.approx(lost)
    assert LatePolicy().penalty(80, late) == 0
    assert LatePolicy(percent_a_day=60).penalty(80, 10 * 86400) == 80  # never more than was earned
    half_a_day = LatePolicy(percent_a_day=10, closes_after_days=0.5)
    assert [half_a_day.penalty(80, hours * 3600) for hours in (6, 13)] == [8, 80]
