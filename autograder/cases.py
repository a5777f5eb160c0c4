"""Specifications with cases: the public ones ship, the sealed ones exist while grading."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from mlsys_course.desk.check import Case, Outcome, Specification, encode
from mlsys_course.desk.check.driver import EACH
from mlsys_course.desk.check.meter import run_measured
from mlsys_course.desk.check.ranked import is_ranked
from mlsys_course.desk.check.tree import decode
from mlsys_course.desk.check.verdict import amount, judge_case
from mlsys_course.substrate.errors import CourseProblem

from .course import Lab
from .exercise import Choice, Exercise, Given

GROUPS = 4  # of students: what a sealed case holds differs between them, so one's numbers are worth little to another
ROOM = {"peak_memory": 2.0}  # how many times what the reference takes a limit must be; counts are exact
ROOM_OF_RANKS = {"peak_memory": 1.5}  # where a rank holds a P-th, and who shares nothing little more than P times that


class CaseError(CourseProblem):
    """A reference that fails on its own case."""


def public_specification(lab: Lab, item: Exercise | Choice) -> Specification:
    """What ships: public cases with expected outputs, and what each misconception comes to."""
    if isinstance(item, Choice):
        return choice_specification(item, sealed=False)
    given = [g for g in item.cases(lab.term.draw(lab.stem, item.id, "public")) if g.public]
    return specification(lab, item, given, public=True)


def sealed_specification(lab: Lab, item: Exercise | Choice, group: int = 0) -> Specification:
    """What grades a group of students: every kind of case, drawn from the term's secret."""
    if isinstance(item, Choice):
        return choice_specification(item, sealed=True)
    quiet_torch()
    return specification(lab, item, sealed_cases(lab, item, group))


def sealed_cases(lab: Lab, item: Exercise, group: int) -> Sequence[Given]:
    """Every kind of case, with a group's own numbers."""
    return item.cases(lab.term.draw(lab.stem, item.id, "sealed", group=group))


def choice_specification(item: Choice, *, sealed: bool) -> Specification:
    """A choice has one case, and its answer is sealed."""
    cases = [Case("answer", "answer", {}, {"answer": item.answer})] if sealed else []
    return Specification(item.id, "choice", {"answer": item.points}, cases, options=list(item.options))


def specification(lab: Lab, item: Exercise, given: Sequence[Given], *, public: bool = False) -> Specification:
    """Run the reference and every misconception on each case; of ``public`` ones, with parts as students have them."""
    driver = lab.drivers[item.id]
    parts = {name: p.reference for name, p in item.parts.items() if not (p.secret and public)}
    cases = []
    for name, count in Counter(kind.name for kind in given).items():
        if count > 1:
            raise CaseError(f"{item.id}: {count} cases are named {name!r}; give each a name of its own")
    for kind in given:
        if kind.aspect not in item.points:
            known = ", ".join(map(repr, item.points))
            raise CaseError(
                f"{item.id}: case {kind.name!r} decides {kind.aspect!r}, which has no points; choose one of "
                f"{known}, or give it points"
            )
        if driver.ranks != is_ranked(kind.inputs):
            raise CaseError(
                f'{item.id}: case {kind.name!r} needs {{"ranks": [inputs of rank 0, ...]}} exactly if its driver has '
                "ranks=True"
            )
        if EACH in kind.inputs and (driver.ranks or driver.judged):
            raise CaseError(f"{item.id}: case {kind.name!r} is several calls; a driver with ranks or judged= takes one")
        inputs = decode(encode(dict(kind.inputs)))  # exactly what a candidate will receive
        outcome = outcome_of(driver, item, item.reference, inputs, parts, kind.limits)
        if outcome.problem:
            raise CaseError(f"{item.id}: the reference {outcome.words} on case {kind.name!r}")
        check_limits(item.id, kind, outcome)
        mistaken = {
            m.name: outcome_of(driver, item, m.candidate, inputs, parts, kind.limits) for m in item.misconceptions
        }
        cases.append(Case(kind.name, kind.aspect, inputs, outcome.outputs, mistaken, dict(kind.limits)))
    hints = {m.name: m.hint for m in item.misconceptions}
    base = Specification(
        item.id,
        item.kind,
        dict(item.points),
        forbidden=list(item.forbidden),
        allowed=list(item.allowed),
        hints=hints,
        unchanged=item.unchanged,
        tolerance=dict(item.tolerance),
    )
    return replace(base, cases=[only_mistakes(base, case, driver) for case in cases])


def outcome_of(driver, item: Exercise, candidate, inputs, parts, limits) -> Outcome:
    """One trusted candidate on a copy of the inputs, with the costs that ``limits`` bounds."""
    return run_measured(driver, candidate, decode(encode(inputs)), limits, parts=parts, unchanged=item.unchanged)


def check_limits(exercise: str, given: Given, reference: Outcome) -> None:
    """A limit must leave room for another right way, and for what the system's reading of memory sees besides."""
    rooms = ROOM_OF_RANKS if is_ranked(given.inputs) else ROOM
    for cost, limit in given.limits.items():
        found, room = reference.costs.get(cost), rooms.get(cost, 1.0)
        if found is None:
            raise CaseError(f"{exercise}: case {given.name!r} limits {cost!r}, which nothing measures")
        if found * room > limit:
            raise CaseError(
                f"{exercise}: case {given.name!r} allows {amount(cost, limit)} of {cost}; the reference takes "
                f"{amount(cost, found)}, and the limit must be at least {room:g} times that"
            )


def only_mistakes(specification: Specification, case: Case, driver) -> Case:
    """A misconception that is right on a case says nothing there."""
    wrong = {n: o for n, o in case.misconceptions.items() if not judge_case(specification, case, o, driver).ok}
    return replace(case, misconceptions=wrong)


def quiet_torch() -> None:
    """One thread, so that expected outputs do not depend on the machine's cores; and small tensors are faster so."""
    torch.set_num_threads(1)
