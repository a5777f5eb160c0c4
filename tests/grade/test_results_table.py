"""The table of a grading run: points under their own exercise's number, and readable on a narrow terminal."""

import io
import re

import pytest

from autograder.demo import COHORT
from autograder.grade.run import Row
from autograder.grade.table import results_table
from mlsys_course.desk.check import Verdict
from mlsys_course.desk.screen import PlainConsole

NAMES = [f"exercise_{letter}" for letter in "abcdefghijklmno"]


def verdicts(names, score: float = 4.0) -> dict[str, Verdict]:
    return {name: Verdict(name, "core", "ok" if score == 4 else "wrong", score, 4.0) for name in names}


def printed(rows, width: int, did=None) -> str:
    console = PlainConsole(file=io.StringIO(), width=width)
    console.print(results_table("lab", rows, did))
    return console.file.getvalue()  # type: ignore[attr-defined]


def by_exercise(text: str, student: str) -> dict[str, str]:
    """A row's points by the names in the legend."""
    legend = dict(re.findall(r"(\d+) (\w+)", text.rpartition("┘")[2]))
    head = next(line for line in text.splitlines() if "student" in line)
    line = next(line for line in text.splitlines() if student in line)
    numbers = [cell.strip() for cell in re.split("[┃│]", head)]
    cells = [cell.strip() for cell in re.split("[┃│]", line)]
    return {legend[number]: cell for number, cell in zip(numbers, cells, strict=True) if number in legend}


@pytest.mark.parametrize("order", [1, -1])
def test_points_stand_under_their_own_name(order):
    old = verdicts(["c", "b", "gone"], 1.0) | verdicts(["a"], 2.0)
    rows = [
        Row("known", dict(reversed(old.items())), earlier="outdated", outdated="exercises.py"),
        Row("fresh", verdicts(["a", "b", "c", "new"])),
        Row("failed", {}, problem="not graded: the disk is full"),
    ][::order]
    text = printed(rows, 150)
    assert by_exercise(text, "fresh") == {"a": "4", "b": "4", "c": "4", "new": "4", "gone": ""}
    assert by_exercise(text, "known") == {"a": "2", "b": "1", "c": "1", "new": "", "gone": "1"}
    assert set(by_exercise(text, "failed").values()) == {""} and "not graded" in text
    assert list(by_exercise(text, "fresh"))[:4] == ["a", "b", "c", "new"]  # the lab as it is comes first


@pytest.mark.parametrize("width", [60, 80, 100, 150])
def test_every_width_shows_whole_names_points_and_words(width):
    wrong = verdicts(NAMES) | {"exercise_b": Verdict("exercise_b", "core", "wrong", 1.5, 4, hints=("Think again.",))}
    rows = [Row("ada", verdicts(NAMES)), Row("s1234567", wrong)]
    did = {member.name: member.did for member in COHORT}
    text = printed(rows, width, did)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(re.sub("[│┃]", " ", text).split())
    for words in ("ada", "s1234567", "60/60", "57.5/60", "all right", "Think again."):
        assert words in flat, words
    assert "…" not in text
    assert "exercise_b 1.5/4: wrong" in flat or by_exercise(text, "s1234567")["exercise_b"] == "1.5"
