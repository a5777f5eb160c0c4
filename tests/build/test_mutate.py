"""Mutants: what is changed, which are no mistakes, and that the cases of a lab catch the others."""

import sys
from dataclasses import replace

import pytest
import typer

from autograder.authoring import mutant_lines, mutate
from autograder.course import load_course
from autograder.errors import CourseError
from autograder.mutate import Equivalent, Mutant, equivalents, judging, mutants, score, scores
from autograder.mutate.equivalent import FILE, is_equivalent
from autograder.mutate.helpers import Helpers
from autograder.mutate.mutants import settled
from tests.conftest import write_small_course

SOURCE = '''
def f(x, w, n=2):
    """Says n = 3."""
    y = x.to(w.dtype) * w
    if n > 1:
        y = y + 1
    for i in range(n):
        y = g(y, i, scale=2)
    if y is None:
        raise ValueError(f"{n + 1} is wrong")
    return y if n else x
'''
MADE = {
    "a sign": ("y = y + 1", "y = y - 1"),
    "a bound": ("if n > 1:", "if n >= 1:"),
    "a number": ("def f(x, w, n=2):", "def f(x, w, n=3):"),
    "a branch": ("if n > 1:", "if False:"),
    "one side": ("return y if n else x", "return y"),
    "a statement": ("y = g(y, i, scale=2)", "pass"),
    "arguments": ("y = g(y, i, scale=2)", "y = g(i, y, scale=2)"),
    "a keyword": ("y = g(y, i, scale=2)", "y = g(y, i)"),
    "a cast": ("y = x.to(w.dtype) * w", "y = x * w"),
    "a gradient": ("y = x.to(w.dtype) * w", "y = x.to(w.dtype) * _detached(w)"),
    "the last step": ("for i in range(n):", "for i in range(0, n - 1):"),
    "a loop": ("for i in range(n):", "for i in []:"),
    "the first result": ("", "@_remembered"),
    "an argument": ("", "@_written(1, 'w')"),
}


@pytest.mark.parametrize("change", MADE.values(), ids=MADE)
def test_a_mistake_is_made(change):
    assert change in [(mutant.was, mutant.now) for mutant in mutants(SOURCE)]


DRAWN = """
def f(x):
    if "rms" == "layer":
        x += 1
    if "True" != "False":
        x += 2
    elif x:
        x += 30
    return x * (4 if "rms" == "rms" else 5) if x else 6
"""


def test_what_the_term_did_not_draw_is_not_changed():
    made = mutants(DRAWN)
    assert settled(DRAWN) == "def f(x):\n    pass\n    x += 2\n    return x * 4 if x else 6\n"
    assert ("x += 2", "x += 3") in [(mutant.was, mutant.now) for mutant in made]
    assert not [mutant for mutant in made if "rms" in mutant.source or "x += 30" in mutant.source]


@pytest.mark.parametrize("place", ["x.device", "places[0].device", "device"])
def test_a_device_that_is_left_out_is_a_mutant_as_a_dtype_is(place):
    made = mutants(
        f"def f(x, places, device):\n    return torch.ones(2, device={place}) + torch.ones(2, dtype=x.dtype)\n"
    )
    assert any("device=" in mutant.was and "device=" not in mutant.now for mutant in made)
    assert any("dtype=" in mutant.was and "dtype=" not in mutant.now for mutant in made)


def test_each_is_made_once_in_a_fixed_order_and_says_something_else():
    made = mutants(SOURCE)
    assert made == mutants(SOURCE) and len({mutant.source for mutant in made}) == len(made)
    assert not [mutant for mutant in made if mutant.was == mutant.now or "{n - 1} is wrong" in mutant.now]
    assert all("Says" not in mutant.source for mutant in made)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return load_course(write_small_course(tmp_path_factory.mktemp("mutate") / "here")).lab("lab00_foundations")


def test_a_build_says_what_is_caught(lab, monkeypatch):
    found = next(scores(lab))
    for survivors, share, detail in (
        ([], "100%", ""),
        (found.survivors, "67%", "too few: mlsys mutate lab00_foundations times"),
    ):
        monkeypatch.setattr(
            "autograder.mutate.scores", lambda *_, kept=survivors, **__: [replace(found, survivors=kept)]
        )
        (line,) = mutant_lines(lab, None)
        assert line.ok and (line.subject, line.detail) == ("times: mutants", detail)
        assert line.proved == f"{share} of {found.tried} mutants caught"
    monkeypatch.setitem(sys.modules, "autograder.mutate", None)
    (line,) = mutant_lines(lab, None)
    assert line.ok and "not tried" in line.proved


def test_the_table_is_written(small_course, tmp_path, monkeypatch):
    monkeypatch.chdir(small_course)
    with pytest.raises(typer.Exit):
        mutate("lab00", into=tmp_path / "mutants.md")
    head, rule, row = (tmp_path / "mutants.md").read_text().splitlines()[-3:]
    assert head == "| lab | exercise | mutants | caught | equivalent |" and rule.count("---") == 5
    assert row.startswith("| lab00_foundations | times | ") and row.endswith(" | 66.7% | 0 |")


def test_cases_catch_the_mutants_of_a_lab(lab):
    (found,) = scores(lab, "times")
    factor = lab.variants["factor"]  # large: one more or less is within the tolerance
    slip = [f"product = x * {factor + 1}", f"product = x * {factor - 1}"]
    assert found.tried > 4 and {mutant.now for mutant in found.survivors} <= set(slip)


def test_what_slips_past_is_shown_and_what_is_named_equivalent_is_not(lab, monkeypatch):
    (exercise,) = [one for one in lab.exercises if one.id == "times"]
    right = f"def times(x):\n    y = 3\n    return {lab.variants['factor']} * x\n"
    harmless, idle = Mutant(right, "was", "now"), Mutant(f"@_written(1, 'n')\n{right}", "", "")
    wrong = [
        "while True:\n        pass",
        "return x * len(bytearray(1 << 34))",
        "import os\n    os._exit(0)",
        "return 1 +",
    ]
    bad = [Mutant(f"def times(x):\n    {line}\n", "", "") for line in wrong]
    monkeypatch.setattr(judging, "mutants", lambda source: [harmless, *bad, idle])
    found = score(lab, exercise)
    assert [mutant.diff for mutant in found.survivors] == ["- was\n+ now"]
    assert (found.tried, found.caught, found.equivalent) == (1 + len(bad), pytest.approx(len(bad) / (1 + len(bad))), 0)
    (lab.source.parent / FILE).write_text('[[times]]\nwas = "was"\nnow = "now"\nbecause = "y is not used"\n')
    known = score(lab, exercise)
    assert (known.equivalent, known.caught, known.too_many_equivalent) == (1, 1.0, True)


def test_an_equivalent_one_needs_an_argument(tmp_path):
    assert equivalents(tmp_path) == {}
    (tmp_path / FILE).write_text('[[times]]\nwas = "a"\nnow = "b"\nbecause = " "\n')
    with pytest.raises(CourseError, match="needs was, now and because"):
        equivalents(tmp_path)
    assert is_equivalent(Mutant("", "a", "b"), [Equivalent("a", "b", "so")])


def test_what_could_not_act_is_no_mutant():
    import torch

    for x, acts in ((torch.ones(2), False), (torch.ones(2, requires_grad=True), True), (3, False)):
        helpers = Helpers()
        assert not getattr(helpers.detached(x), "requires_grad", False) and helpers.acted is acts
    helpers = Helpers()
    assert helpers.written(0, "x")(lambda x: x)(3) == 3 and not helpers.acted
    x = torch.zeros(2)
    helpers.written(0, "x")(lambda x: None)(x=x)
    assert x.tolist() == [1, 0] and helpers.acted


def test_an_unknown_exercise(lab):
    with pytest.raises(CourseError, match="no coded exercise 'tims'; it has times"):
        list(scores(lab, "tims"))
