"""An exercise is its component's function: name and parameters are one, so that either takes the other's place."""

import ast
import importlib
import inspect
import itertools
from collections.abc import Callable

import pytest

from autograder.course import load_course
from autograder.exercise import Exercise
from tests.conftest import ROOT
from tests.labs import SampleLab

STEMS = ("lab02_attention", "lab05_autodiff", "lab10_memory")
LABS = {stem: SampleLab(load_course(ROOT, term="sample").lab(stem)) for stem in STEMS}
PLACES = [
    f"{stem}/{id}" for stem, lab in LABS.items() for id, item in lab.exercises.items() if isinstance(item, Exercise)
]


def written(source: str, name: str) -> dict[str, list[str]]:
    """The parameters that a student writes: of a function under "", of a class by method, ``self`` left out."""
    node = next(node for node in ast.parse(source).body if getattr(node, "name", "") == name)
    if isinstance(node, ast.FunctionDef):
        return {"": named(node)}
    assert isinstance(node, ast.ClassDef)
    return {method.name: named(method)[1:] for method in node.body if isinstance(method, ast.FunctionDef)}


def named(node: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]


def differences(mine: list[str], theirs: Callable) -> list[str]:
    """The component's first parameters that are called otherwise, and those that it takes beyond, without defaults."""
    parameters = list(inspect.signature(theirs).parameters.values())
    parameters = parameters[1:] if parameters and parameters[0].name == "self" else parameters
    names = [parameter.name for parameter in parameters]
    missing = [name for name, here in itertools.zip_longest(mine, names[: len(mine)]) if name != here]
    return missing + [p.name for p in parameters[len(mine) :] if p.default is p.empty]


@pytest.mark.parametrize("place", PLACES)
def test_what_a_student_writes_is_what_the_component_has(place):
    stem, name = place.split("/")
    item = LABS[stem].exercises[name]
    component = getattr(importlib.import_module(".".join(item.component.split(".")[:2])), name)
    assert item.reference is component
    for method, mine in written(LABS[stem].solution[name], name).items():
        assert not differences(mine, getattr(component, method) if method else component)


def test_a_difference_is_seen():
    def theirs(x, y, *, z=1):
        return x + y + z

    assert not differences(["x", "y"], theirs)
    assert differences(["x"], theirs) == ["y"]
    assert differences(["f", "y"], theirs) == ["f"]
    assert differences(["x", "y", "z", "w"], theirs) == ["w"]
    assert written("class C:\n    def step(self, x, *, u):\n        pass", "C") == {"step": ["x", "u"]}
