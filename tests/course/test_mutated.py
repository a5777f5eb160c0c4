"""Wrong versions made from a right one by changing its text."""

import importlib
import inspect
import sys

import pytest
import torch

from autograder.errors import CourseError
from autograder.mutated import mutated, wrong
from mlsys_course.foundations import softmax

SOURCE = '''
"""A module with a twice() in its docstring."""

HALF = 0.5


def decorated(function):
    function.seen = True
    return function


def twice(x):
    """Not 3 * x."""
    # nor 4 * x
    return 2 * x  # 5 * x


@decorated
def shifted(x, by=1):
    """Says twice(x) + by."""
    return twice(x) + by


class Counter:
    """Counts."""

    def __init__(self, start=0):
        self.count = start

    def __call__(self, x):
        """Says self.count += 1."""
        self.count += 1
        return shifted(x) + self.count


class Louder(Counter):
    def __call__(self, x):
        return 10 * super().__call__(x)
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "right_ones.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("right_ones")
    del sys.modules["right_ones"]


def test_what_changes_is_a_copy(module):
    wrong = mutated(module.shifted, "+ by", "- by")
    assert (wrong(5), module.shifted(5)) == (9, 11)
    assert wrong.seen and "- by" in inspect.getsource(wrong)


def test_what_it_reaches_in_its_module_can_be_changed_for_it_alone(module):
    wrong = mutated(module.shifted, "2 * x", "3 * x")
    assert (wrong(5), module.shifted(5), module.twice(5)) == (16, 11, 10)


def test_several_changes_and_names(module):
    assert mutated(module.shifted, "2 * x", "3 * x", "by=1", "by=0")(5) == 15
    assert mutated(module.shifted, "by=1", "by=0", twice=lambda x: -x)(5) == -5


def test_classes(module):
    wrong = mutated(module.Louder, "+= 1", "+= 2", "by=1", "by=0")
    assert [wrong()(1), module.Louder()(1)] == [10 * (2 + 2), 10 * (3 + 1)]
    assert isinstance(mutated(module.Counter, "start=0", "start=7")(), object)


@pytest.mark.parametrize(
    ("edits", "names", "said"),
    [
        (("3 * x", "4 * x"), {}, r"'3 \* x' occurs 0 times"),  # which the docstring has
        (("4 * x", "3 * x"), {}, r"occurs 0 times"),  # and a comment
        (("x", "y"), {}, r"'x' occurs \d+ times and must once"),
        (("by=1",), {}, "pairs of texts"),
        ((), {}, "pairs of texts"),
        ((), {"thrice": None}, "replacing thrice changes nothing"),
    ],
)
def test_what_would_change_nothing_or_another_place_is_said(module, edits, names, said):
    with pytest.raises(CourseError, match=rf"mutated\(shifted, .*{said}"):
        mutated(module.shifted, *edits, **names)


def test_of_a_component():
    wrong = mutated(softmax, "exponentials / total", "2 * exponentials / total")
    assert torch.equal(wrong(torch.zeros(2)), torch.ones(2)) and torch.equal(softmax(torch.zeros(2)), torch.ones(2) / 2)


def test_wrong_makes_misconceptions_of_one_reference():
    mistake = wrong(softmax)
    made = [mistake("halved", "What do they add up to?", "exponentials / total", "exponentials / total / 2"),
            mistake("all of it", "Which axis?", _shifted=lambda x, dim: (x.exp(), x.exp().sum(), x))]  # fmt: skip
    assert [(one.name, one.hint) for one in made] == [
        ("halved", "What do they add up to?"),
        ("all of it", "Which axis?"),
    ]
    x = torch.zeros(2, 2)
    assert [one.candidate(x).sum().item() for one in made] == [1.0, 1.0] and softmax(x).sum() == 2
    with pytest.raises(CourseError, match="must once"):
        mistake("nothing", "?", "no such text", "")
