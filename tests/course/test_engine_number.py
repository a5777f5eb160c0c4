"""Scoring code does not change without its number."""

import json
import shutil

import pytest

from autograder.fingerprint.engine import ENGINE, ROOT, scoring_code
from tests.course.engine_number import KEPT, complaint, digests

SCORER = "autograder/scoring/score.py"
NOW = digests(scoring_code())


def test_scoring_code_is_that_of_the_engine_s_number():
    said = complaint(json.loads(KEPT.read_text(encoding="utf-8")), ENGINE, NOW)
    assert not said, said


@pytest.fixture
def copy(tmp_path):
    """The scoring code, to be changed."""
    for name in NOW:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    "file",
    [
        SCORER,
        "autograder/cases.py",
        "autograder/sandbox/sealed.py",
        "autograder/sandbox/inside/replay.py",
        "mlsys_course/desk/check/verdict.py",
    ],
)
def test_a_change_without_the_number_is_refused(copy, file):
    path = copy / file
    path.write_text(path.read_text() + "\n\ndef generous(points):\n    return 2 * points\n")
    kept, now = {"number": 4, "files": NOW}, digests(scoring_code(copy))
    assert f"{file} changed: raise ENGINE" in complaint(kept, 4, now)
    assert complaint(kept, 5, now).startswith("call ")
    assert complaint({"number": 5, "files": now}, 5, now) == ""


def test_a_file_more_or_less_is_a_change(copy):
    (copy / "autograder/scoring/bonus.py").write_text("BONUS = 5\n")
    (copy / SCORER).unlink()
    said = complaint({"number": 1, "files": NOW}, 1, digests(scoring_code(copy)))
    assert "autograder/scoring/bonus.py" in said and SCORER in said


def test_words_about_scoring_code_are_no_change(copy):
    path = copy / SCORER
    path.write_text("# how points are made\n" + path.read_text().replace('"""The trusted side', '"""The other side'))
    assert "The other side" in path.read_text()
    assert complaint({"number": 1, "files": NOW}, 1, digests(scoring_code(copy))) == ""


def test_the_number_is_never_lowered():
    assert "never lowered" in complaint({"number": 3, "files": NOW}, 2, NOW)
