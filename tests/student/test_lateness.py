"""Dates in words: what is overdue, what is closed, what handing in now costs; days are those of the course's clock."""

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from autograder.grade.handed_in import Submission, in_utc
from autograder.term import LatePolicy
from mlsys_course.desk.lateness import ago, cost, days_late, in_words, state
from mlsys_course.desk.lookover import of_the_edition
from mlsys_course.desk.progress import progress
from mlsys_course.desk.release import due_of
from mlsys_course.desk.start import start, when

from .conftest import STEM

NEW_YORK = ZoneInfo("America/New_York")
RULE = {"grace_minutes": 15, "percent_a_day": 10, "closes_after_days": 7}
DUE = datetime(2026, 9, 21, 23, 59, tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("hours", "days"), [(-1, 0), (0.2, 0), (0.5, 1), (24, 1), (24.5, 2), (24 * 7 + 0.2, 7), (24 * 7 + 1, 8)]
)
def test_started_days(hours, days):
    assert days_late(DUE, DUE.astimezone(UTC) + timedelta(hours=hours), 15) == days


def test_a_day_in_which_clocks_change_is_one_day():
    autumn, spring = datetime(2026, 10, 31, 23, 59, tzinfo=NEW_YORK), datetime(2026, 3, 7, 23, 59, tzinfo=NEW_YORK)
    same_time = [datetime(2026, 11, 1, 23, 59, tzinfo=NEW_YORK), datetime(2026, 3, 8, 23, 59, tzinfo=NEW_YORK)]
    assert [days_late(due, when.astimezone(UTC)) for due, when in zip((autumn, spring), same_time, strict=True)] == [
        1,
        1,
    ]
    policy = LatePolicy(percent_a_day=10, closes_after_days=1)
    assert policy.penalty(100, 25 * 3600, autumn) == 10 and policy.penalty(100, 25 * 3600) == 100


def test_what_it_costs_now():
    assert cost(DUE, DUE + timedelta(minutes=10), RULE).startswith("within the 15 minutes of grace")
    assert cost(DUE, DUE + timedelta(days=2, hours=3), RULE) == "30% of its points are taken off now"
    assert cost(DUE, DUE + timedelta(days=30), RULE) == "it earns nothing since 29 September"
    states = [state(DUE, DUE + timedelta(days=days), RULE) for days in (-1, 1, 30)]
    assert states == ["", "overdue", "closed"] and state(None, DUE, RULE) == ""
    assert "10% of the points earned; 15 minutes are free; after 7 days a lab earns nothing." in in_words(RULE)


def test_submit_and_progress_say_so(desk, releases, tmp_path):
    late = {"due": "2020-09-28T23:59:00-04:00", "timezone": "America/New_York", "late": RULE}
    rows = [{"lab": STEM, "points": 5, "due": late["due"]}, {"lab": "lab04_later", "points": None, "due": late["due"]}]
    folder = start(STEM, desk, str(releases.zip(tmp_path / "from", **late, syllabus=rows))).folder
    (said,) = [line for line in of_the_edition(folder, desk) if "due" in line]
    assert "Mon 28 Sep 2020, 23:59 (EDT)" in said and "it earns nothing since 6 October" in said
    assert [(row.lab, row.state, row.next) for row in progress(desk).rows] == [(STEM, "closed", "")]
    assert "28 Sep 2020 23:59, closed: earns nothing now" in repr(progress(desk))
    (said,) = when(folder)
    assert "was due Mon 28 Sep 2020" in said and " days ago, and is closed: it earns nothing since 6 October." in said
    assert due_of({"due": "2026-01-01T00:00:00+09:00"}).utcoffset() == timedelta(hours=9), "not this machine's zone"


def test_what_was_handed_in_keeps_its_state(desk, releases, tmp_path):
    """In time, late, and in time for a lab that is closed by now; the days are counted to the hand-in."""
    due = datetime.now(UTC) - timedelta(days=3)
    facts = {"due": due.isoformat(), "late": RULE}
    folder = start(STEM, desk, str(releases.zip(tmp_path / "from", **facts, syllabus=[]))).folder
    assert when(folder)[0].endswith(", 3 days ago: 30% of its points are taken off now.")
    receipts = desk.hidden / "receipts"
    receipts.mkdir()
    for days, state_then in ((-1, ""), (1, "overdue")):
        receipt = {"lab": STEM, "student": "ada", "checksum": "1", "time": (due + timedelta(days=days)).isoformat()}
        (receipts / "x.json").write_text(json.dumps(receipt))
        (row,) = progress(desk).rows
        assert (row.state, row.next) == (state_then, "")
    edition = json.loads((folder / "edition.json").read_text())
    (folder / "edition.json").write_text(json.dumps(edition | {"late": {"closes_after_days": 2}}))
    assert progress(desk).rows[0].state == "closed" and "earns nothing" not in repr(progress(desk))


def test_how_long_ago_in_one_unit():
    spans = [timedelta(days=61, hours=14), timedelta(days=2), timedelta(hours=47.5), timedelta(minutes=119)]
    assert [ago(span) for span in spans] == ["61 days ago", "2 days ago", "47 hours ago", "119 minutes ago"]
    assert ago(timedelta(seconds=61)) == "1 minute ago"


def test_a_release_carries_the_rule(releases):
    assert "late" in releases.make().edition and "Nothing is taken off" not in releases.files["edition.json"].decode()


@pytest.mark.parametrize(
    "text",
    ["2026-09-29 04:30:00.000000 UTC\n", "2026-09-29 00:30:00.000000 EDT\n", "2026-09-29 00:30:00 -0400\n",
     "\ufeff2026-09-29 04:30:00 UTC\n", "2026-09-29T04:30:00Z", "2026-09-29 04:30:00", "2026-09-28 21:30 PDT"],
)  # fmt: skip
def test_one_moment_in_many_spellings(text):
    assert in_utc(text.encode()) == b"2026-09-29 04:30:00.000000 UTC"


@pytest.mark.parametrize("text", ["yesterday", "2026-09-29 04:30 XYZT", "2026-19-39", "\x1b[31m", "soon \x07"])
def test_what_is_no_time_is_named_and_not_in_time(tmp_path, text):
    (tmp_path / f"{STEM}.ipynb").write_text("{}")
    (tmp_path / "timestamp.txt").write_text(text)
    handed = Submission("ada", tmp_path, STEM).read()
    (why,) = handed.refused
    assert why.startswith("timestamp.txt: ") and "is no time that is understood" in why and why.isprintable()
    assert handed.timestamp == b""
