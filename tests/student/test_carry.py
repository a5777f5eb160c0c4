"""What mlsys carry writes to my_mlsys/, and what of somebody's own it finds there."""

import pytest

from mlsys_course.desk import carry as carrying
from mlsys_course.desk.carry import _write, carry, untouched
from mlsys_course.desk.workbook import Found

from .conftest import cell, tree

ONE, TWO, THREE = ("def f():\n    return 1\n", "def f():\n    return 2\n", "def f():\n    return 3\n")


def test_the_last_carry_is_kept_where_the_next_may_hold_less(desk):
    path = _write(desk.parts, "attention", "lab02_attention", ONE)
    before = path.read_bytes()
    _write(desk.parts, "attention", "lab02_attention", TWO)
    (kept,) = (desk.hidden / "before" / "my_mlsys").iterdir()
    assert kept.read_bytes() == before and path.read_text().endswith(TWO)
    _write(desk.parts, "attention", "lab02_attention", TWO)
    assert len(tree(desk.hidden)) == 1 and sorted(tree(desk.parts)) == ["__init__.py", "attention.py"]


def test_a_carried_file_that_was_edited_by_hand_is_kept_beside_each_time(desk):
    for number, body in enumerate((ONE, TWO), 1):
        path = _write(desk.parts, "attention", "lab02_attention", body)
        assert untouched(path.read_text())
        path.write_text(path.read_text() + f"mine = {number}\n")
        assert not untouched(path.read_text())
    _write(desk.parts, "attention", "lab02_attention", THREE)
    kept = {path.name: path.read_text()[-9:] for path in desk.parts.glob("*.mine*")}
    assert kept == {"attention.py.mine": "mine = 1\n", "attention.py.mine2": "mine = 2\n"}


def test_line_ends_of_another_system_are_no_edit(desk):
    path = _write(desk.parts, "attention", "lab02_attention", ONE)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert untouched(path.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "times = lambda x: {factor} * x",
        "import functools\ndef scaled(x, by):\n    return by * x\ntimes = functools.partial(scaled, by={factor})",
        "class Times:\n    def __call__(self, x):\n        return {factor} * x\n\ntimes = Times()",
    ],
)
def test_lambdas_partials_and_instances_are_carried(started, edit, small_lab, desk, monkeypatch, source):
    factor = small_lab.lab.variants["factor"]
    edit(started, lambda nb: cell(nb, "solution-times").update(source=source.replace("{factor}", str(factor))))
    monkeypatch.setattr(carrying, "run_checks", lambda folder: [Found("times", "ok", 4, 4)])
    assert carry(started, desk.root) == {"times": "carried to foundations.py"}


def test_what_is_not_carried_says_why(started, edit, desk, monkeypatch):
    edit(started, lambda nb: cell(nb, "solution-times").update(source="globals()['times'] = abs"))
    monkeypatch.setattr(carrying, "run_checks", lambda folder: [Found("times", "ok", 4, 4)])
    assert carry(started, desk.root)["times"].startswith("passes, and is not carried: no cell defines times")
    monkeypatch.setattr(carrying, "run_checks", lambda folder: [Found("times", "ok", 0, 4)])
    assert carry(started, desk.root) == {"times": "recorded; an answer is nothing to carry"}
