"""A folder full of broken files in one batch: each is graded or unreadable, with words for its student; no one else."""

import json
import os
import re
import unicodedata

import pytest

from autograder.grade.run import grade
from autograder.untrusted import spelt
from tests.conftest import ROOT
from tests.left_out import every

from .broken_files import BROKEN, UNREADABLE
from .harness import HONEST, RIGHT, Attack
from .lab import STEM

ODD_NAMES = ("no student; id", os.fsdecode(b"no \xff text"))


@pytest.fixture(scope="module")
def asked_for(request) -> list[int]:
    """The files whose tests run."""
    found = (getattr(item, "callspec", None) for item in request.session.items if item.path == request.path)
    return [spec.params["number"] for spec in found if spec and "number" in spec.params]


@pytest.fixture(scope="module")
def graded(lab, asked_for, tmp_path_factory):
    """(rows by student, folder that was graded into)."""
    root = tmp_path_factory.mktemp("broken")
    right = lab.notebook(Attack("right", answer=RIGHT))
    for number in asked_for:
        broken = BROKEN[number]
        folder = root / "submitted" / f"s{number:03d}" / STEM
        folder.mkdir(parents=True)
        broken.make(folder, right)
    for name, blob in (("neighbour-a", right), ("neighbour-b", lab.notebook(HONEST)), *((n, right) for n in ODD_NAMES)):
        folder = root / "submitted" / name / STEM
        folder.mkdir(parents=True)
        (folder / f"{STEM}.ipynb").write_bytes(blob)
    rows = grade(lab.course, STEM, root / "submitted", root / "graded", jobs=2)
    return {row.student: row for row in rows}, root / "graded"


def test_there_are_many_and_each_has_a_row(graded, asked_for):
    assert len(BROKEN) >= 40 and len({broken.name for broken in BROKEN}) == len(BROKEN)
    assert len(graded[0]) == len(asked_for) + 2 + len(ODD_NAMES)


@pytest.mark.parametrize("number", every(4, range(len(BROKEN))), ids=[broken.name for broken in BROKEN])
def test_broken_file(graded, number: int):
    row = graded[0][f"s{number:03d}"]
    statuses = {verdict.status for verdict in row.verdicts.values()}
    if BROKEN[number].came == UNREADABLE:
        assert statuses == {UNREADABLE} and row.score == 0
        for verdict in row.verdicts.values():
            check_fit_to_forward(verdict.note)
    else:
        assert (row.problem, row.score, UNREADABLE in statuses) == ("", BROKEN[number].came, False)


def check_fit_to_forward(note: str) -> None:
    """A sentence for the student: says what is wrong, with no path, trace or control character."""
    assert 20 <= len(note) <= 200 and (note[0].isupper() or note.startswith(STEM)) and note.endswith(".")
    here = re.escape(str(ROOT.parents[-2]))
    assert not re.search(rf"Traceback|Error\b|/tmp|{here}|0x[0-9a-f]{{6}}", note)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in note)


def test_the_neighbours_have_what_they_earned(graded, lab):
    rows = graded[0]
    assert {name: v.score for name, v in rows["neighbour-a"].verdicts.items()} == lab.neighbour
    assert {name: v.score for name, v in rows["neighbour-b"].verdicts.items()} == lab.honest


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_folder_that_is_no_students(graded, name: str):
    row = graded[0][spelt(name.encode("utf-8", "backslashreplace").decode())]
    assert row.score == 0 and not row.graded and "no student id" in row.problem


def test_what_is_recorded_can_be_read(graded, asked_for):
    """nbgrader's own files hold valid notebooks and no lone surrogate, and nothing of another file."""
    folder = graded[1] / "autograded"
    found = list(folder.glob(f"*/{STEM}/*.ipynb"))
    assert len(found) >= len(asked_for)
    for path in found:
        assert json.loads(path.read_text(encoding="utf-8"))["nbformat"] == 4
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
