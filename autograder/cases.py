"""Specifications with cases: the public ones ship, the sealed ones exist while grading."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from mlsys_course.check import Case, Outcome, Specification, encode, run_case
from mlsys_course.check.tree import decode
from mlsys_course.check.verdict import judge_case
from mlsys_course.errors import CourseProblem

from .course import Lab
from .exercise import Choice, Exercise, Given


class CaseError(CourseProblem):
    """A reference that fails on its own case."""


def public_specification(lab: Lab, item: Exercise | Choice) -> Specification:
    """What ships: public cases with expected outputs, and what each misconception comes to."""
    if isinstance(item, Choice):
        return choice_specification(item, sealed=False)
    given = [g for g in item.cases(lab.term.draw(lab.stem, item.id, "public")) if g.public]
    return specification(lab, item, given)


def sealed_specification(lab: Lab, item: Exercise | Choice) -> Specification:
    """What grades: every kind of case, drawn from the term's secret."""
    if isinstance(item, Choice):
        return choice_specification(item, sealed=True)
    return specification(lab, item, item.cases(lab.term.draw(lab.stem, item.id, "sealed")))


def choice_specification(item: Choice, *, sealed: bool) -> Specification:
    """A choice has one case, and its answer is sealed."""
    cases = [Case("answer", "answer", {}, {"answer": item.answer})] if sealed else []
    return Specification(item.id, "choice", {"answer": item.points}, cases, options=list(item.options))


def specification(lab: Lab, item: Exercise, given: Sequence[Given]) -> Specification:
    """Run the reference and every misconception on each case."""
    driver = lab.drivers[item.id]
    parts = {name: part.reference for name, part in item.parts.items()}
    cases = []
    for kind in given:
        if kind.aspect not in item.points:
            raise CaseError(f"{item.id}: case {kind.name!r} decides {kind.aspect!r}, which has no points")
        inputs = decode(encode(dict(kind.inputs)))  # exactly what a candidate will receive
        outcome = outcome_of(driver, item, item.reference, inputs, parts)
        if outcome.problem:
            raise CaseError(f"{item.id}: the reference {outcome.words} on case {kind.name!r}")
        mistaken = {m.name: outcome_of(driver, item, m.candidate, inputs, parts) for m in item.misconceptions}
        cases.append(Case(kind.name, kind.aspect, inputs, outcome.outputs, mistaken, dict(kind.limits)))
    hints = {m.name: m.hint for m in item.misconceptions}
    base = Specification(
        item.id,
        item.kind,
        dict(item.points),
        forbidden=list(item.forbidden),
        hints=hints,
        unchanged=item.unchanged,
        tolerance=dict(item.tolerance),
    )
    return replace(base, cases=[only_mistakes(base, case, driver) for case in cases])


def outcome_of(driver, item: Exercise, candidate, inputs, parts) -> Outcome:
    """One trusted candidate on a copy of the inputs."""
    return run_case(driver, candidate, decode(encode(inputs)), parts=parts, unchanged=item.unchanged)


def only_mistakes(specification: Specification, case: Case, driver) -> Case:
    """A misconception that is right on a case says nothing there."""
    wrong = {n: o for n, o in case.misconceptions.items() if not judge_case(specification, case, o, driver).ok}
    return replace(case, misconceptions=wrong)


def quiet_torch() -> None:
    """One thread, so that a built edition does not depend on the machine's cores."""
    torch.set_num_threads(1)
