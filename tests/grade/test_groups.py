"""Sealed numbers differ between groups of students, and nothing else does."""

from collections import Counter

import pytest
import torch

from autograder.build.pipeline import build
from autograder.cases import GROUPS, sealed_cases
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.draw import group_of
from autograder.grade.repair import repair
from autograder.grade.run import solution_notebook
from autograder.grade.session import Session
from mlsys_course.desk.check.tree import leaves

STEM, SECRET = "lab00_foundations", b"a term's secret"
PARROT = """
KNOWN = {known}

def times(x):
    "Answers what it has heard, and nothing else."
    return torch.tensor(KNOWN.get(repr(x.tolist()), [0.0])).reshape(-1)[: x.numel()].reshape(x.shape)
"""


def shape_of(inputs) -> list:
    """Everything about a case's inputs but the numbers that its tensors hold."""

    def kind(x):
        return (x.shape, x.dtype) if isinstance(x, torch.Tensor) else float if isinstance(x, float) else x

    return [(path, kind(x)) for path, x in leaves(dict(inputs))]


def tensors_of(inputs) -> list[torch.Tensor]:
    return [x for _, x in leaves(dict(inputs)) if isinstance(x, torch.Tensor) and x.is_floating_point()]


@pytest.mark.parametrize("stem", load_course(term="sample").stems())
def test_groups_share_kinds_and_sizes_and_no_numbers(course, stem):
    lab = course.lab(stem)
    for item in lab.exercises:
        first, *others = [sealed_cases(lab, item, group) for group in range(GROUPS)]
        assert any(tensors_of(given.inputs) for given in first) == any(
            not torch.equal(a, b)
            for given, other in zip(first, others[0], strict=True)
            for a, b in zip(tensors_of(given.inputs), tensors_of(other.inputs), strict=True)
        ), item.id
        for cases in others:
            for given, other in zip(first, cases, strict=True):
                told = (given.name, given.aspect, given.public, dict(given.limits))
                assert told == (other.name, other.aspect, other.public, dict(other.limits)), item.id
                assert shape_of(given.inputs) == shape_of(other.inputs), f"{item.id}: {given.name}"


def test_students_fall_into_all_groups_and_nobody_can_tell_into_which_without_the_secret():
    students = [f"student{n}" for n in range(400)]
    groups = [group_of(student, SECRET, GROUPS) for student in students]
    assert groups == [group_of(student, SECRET, GROUPS) for student in students]
    assert sorted(Counter(groups)) == list(range(GROUPS)) and min(Counter(groups).values()) > 70
    elsewhere = [group_of(student, b"another", GROUPS) for student in students]
    assert 60 < sum(a == b for a, b in zip(groups, elsewhere, strict=True)) < 140


def test_what_was_heard_of_one_students_sealed_cases_is_worth_nothing_to_another(small_course):
    course = load_course(small_course, term="sample")
    lab = course.lab(STEM)
    build(lab, course.built(STEM))
    with Session(course, STEM, jobs=1) as session:
        by_group = {group_of(name, lab.term.secret, GROUPS): name for name in map("student{}".format, range(40))}
        assert len(by_group) == GROUPS
        listener, *others = by_group.values()
        cases = session.scorer_for(listener).specifications["times"].cases
        known = {repr(case.inputs["x"].tolist()): case.expected["y"].flatten().tolist() for case in cases}
        student = Student(session.released, solution_notebook(lab)).solve()
        student.write("times", "import torch" + PARROT.replace("{known}", repr(known)))
        notebook = repair(student.hand_in(), session.released).to_notebook()
        scores = {name: session.grade(notebook, {}, name).score for name in by_group.values()}
    assert scores == {listener: 4.0, **dict.fromkeys(others, 0.0)}
