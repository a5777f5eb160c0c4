"""An exercise is its component's function: one name, the same leading parameters, and the reference is that function.

So comparing, carrying and ``take`` mean one thing. What differs on purpose says why in its exercise's ``differs``.
"""

import ast
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from autograder.course import Course
from autograder.exercise import Exercise
from tests.labs import SampleLab

STEMS = [
    "lab00",
    "lab01",
    "lab02",
    "lab03",
    "lab04",
    "lab05",
    "lab06",
    "lab07",
    "lab08",
    "lab09",
    "lab10",
    "lab11",
    "lab12",
]


def parameters_of(name: str, source: str) -> list[str]:
    """What the solution's cell takes under that name; of a class, what its ``__init__`` or its fields say."""
    made = next(node for node in ast.parse(source).body if getattr(node, "name", "") == name)
    if isinstance(made, ast.ClassDef):
        fields = [node.target.id for node in made.body
                  if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]  # fmt: skip
        init = [node for node in made.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        return names_in(init[0])[1:] if init else fields
    assert isinstance(made, ast.FunctionDef)
    return names_in(made)


def names_in(function: ast.FunctionDef) -> list[str]:
    given = function.args
    starred = [one.arg for one in (given.vararg, given.kwarg) if one]
    return [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)] + starred


def difference(taken: list[str], component: Callable[..., Any] | None, reference: Any) -> str:
    """In what the three are not one, in words; nothing where they are."""
    if not callable(component):
        return "the component has nothing of that name"
    theirs = inspect.signature(component).parameters
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    plain = [name for name in taken if name not in theirs or theirs[name].kind not in stars]
    ours = [name for name, parameter in theirs.items() if parameter.kind not in stars]
    if ours[: len(plain)] != plain:
        return f"the component takes {', '.join(ours)}, the solution {', '.join(plain)}"
    further = [n for n in ours[len(plain) :] if theirs[n].default is inspect.Parameter.empty]
    if further:
        return f"the component wants {', '.join(further)} besides; give defaults"
    if inspect.unwrap(reference) is not inspect.unwrap(component):
        return "the reference is another function than the component's"
    return ""


def differing(lab: SampleLab, *, stated: bool) -> dict[str, str]:
    """By exercise, of those that state a reason or of those that do not."""
    found = {}
    for name, exercise in lab.exercises.items():
        if isinstance(exercise, Exercise) and bool(exercise.differs) == stated:
            package = importlib.import_module(".".join(exercise.component.split(".")[:2]))
            taken = parameters_of(name, lab.solution[name])
            found[name] = difference(taken, getattr(package, name, None), exercise.reference)
    return found


@pytest.mark.parametrize("stem", STEMS)
def test_what_a_student_writes_is_what_the_component_has(course: Course, stem):
    found = differing(SampleLab(course.lab(stem)), stated=False)
    wrong = [f"{name}: {words}" for name, words in found.items() if words]
    assert not wrong, "\n".join([*wrong, "Mend the component, or say why in the exercise's `differs`."])


@pytest.mark.parametrize("stem", STEMS)
def test_what_says_that_it_differs_does(course: Course, stem):
    found = differing(SampleLab(course.lab(stem)), stated=True)
    same = [name for name, words in found.items() if not words]
    assert not same, f"{', '.join(same)} of {stem}: what a student writes is the component's; take `differs` out"


def test_every_lab_is_looked_at(course: Course):
    assert [stem.split("_")[0] for stem in course.stems()] == STEMS


def total(x, comm, times=1):
    return x * times


def another(x, comm, times=1):
    return x * times


class Kept:
    def __init__(self, model, comm, *, rate=1.0):
        pass


@pytest.mark.parametrize(
    ("taken", "component", "reference", "words"),
    [
        (["x", "comm"], total, total, ""),
        (["x", "comm", "times"], total, total, ""),
        (["model", "comm"], Kept, Kept, ""),
        (["y", "comm"], total, total, "the component takes x, comm, times, the solution y, comm"),
        (["comm", "x"], total, total, "the solution comm, x"),
        (["x", "comm", "root"], total, total, "the solution x, comm, root"),
        (["x"], total, total, "the component wants comm besides"),
        (["x", "comm"], None, total, "nothing of that name"),
        (["x", "comm"], total, another, "the reference is another function"),
    ],
)
def test_what_differs_is_said(taken, component, reference, words):
    found = difference(taken, component, reference)
    assert words in found if words else not found


def test_parameters_are_read_from_the_solutions_text():
    assert parameters_of("f", "import math\n\ndef f(a, b=None, *rest, c): ...") == ["a", "b", "c", "rest"]
    assert parameters_of("K", "class K:\n    def __init__(self, a, *, b): ...\n    def g(self): ...") == ["a", "b"]
    assert parameters_of("K", "@dataclass\nclass K:\n    a: int\n    b: int = 1") == ["a", "b"]
