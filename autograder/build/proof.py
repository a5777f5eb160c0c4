"""The last stage: proof that a built lab works. Runs the solution and the blank edition through the real engine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nbformat import NotebookNode

from mlsys_course.desk.check import Case, Outcome, Specification
from mlsys_course.desk.check.compare import compare, worst_error
from mlsys_course.desk.check.ranked import is_ranked
from mlsys_course.desk.check.verdict import judge, over_limit

from ..cases import GROUPS, public_specification
from ..course import Course, Lab
from ..exercise import Exercise
from ..fingerprint import fingerprint
from ..sandbox import Engine
from ..scoring.cells import cells_of, graded_cells
from ..scoring.kept import keep
from ..scoring.score import Scorer
from .leaks import files_below, leaks

FARTHEST = 10.0  # tolerances between a misconception and the expected output, on some sealed case
SURE = {"peak_memory": 2.0}  # or how many times a cost's limit it takes there; counts are exact, so any excess is sure
SURE_OF_RANKS = {"peak_memory": 1.25}


@dataclass(frozen=True)
class Line:
    """One row of the proof's table."""

    subject: str
    proved: str
    ok: bool
    detail: str = ""


def prove(
    course: Course,
    lab: Lab,
    solution: NotebookNode,
    blank: NotebookNode,
    edition: Path,
    unsafe: bool,
) -> list[Line]:
    """Everything that DESIGN asks of a built lab, one line each."""
    scorers = [Scorer.for_lab(lab, group) for group in range(GROUPS)]
    lines = [prove_stripped(course, lab, edition)]
    with Engine(edition, unsafe=unsafe) as engine:
        for group, scorer in enumerate(scorers):
            lines += _scores(engine, scorer, solution, _named("solution", group), lambda v: v.score == v.max_score)
        lines += _scores(engine, scorers[0], blank, "blank", lambda v: v.score == 0)
    lines += prove_exercises(lab, scorers[0])
    for group, scorer in enumerate(scorers[1:], 1):
        found = prove_exercises(lab, scorer)
        held = sum(line.ok for line in found)
        told = f"{held} of {len(found)} lines hold for these numbers too"
        lines += [replace(line, subject=_named(line.subject, group)) for line in found if not line.ok]
        lines.append(Line(_named("exercises", group), told, held == len(found)))
    made_of = fingerprint(course, lab.stem)
    for group, scorer in enumerate(scorers):
        keep(course, lab.stem, group, made_of, scorer)
    return lines


def _named(subject: str, group: int) -> str:
    return f"{subject}, group {group + 1} of {GROUPS}" if group else subject


def prove_exercises(lab: Lab, scorer: Scorer) -> list[Line]:
    """Each misconception caught and named, and enough cases; on the trusted side alone."""
    lines = []
    for exercise in lab.exercises:
        lines += _misconceptions(lab, exercise, scorer.specifications[exercise.id])
        lines.append(_counts(lab, exercise, scorer.specifications[exercise.id]))
    return lines


def prove_stripped(course: Course, lab: Lab, edition: Path) -> Line:
    """Nothing sealed is left in an edition."""
    left = leaks(course, lab.stem, files_below(edition))
    return Line("edition", "holds no answer", not left, "; ".join(left[:3]))


def _scores(engine: Engine, scorer: Scorer, notebook: NotebookNode, name: str, right) -> list[Line]:
    run = engine.run(cells_of(notebook, graded_cells(notebook)), scorer)
    verdicts = scorer.verdicts(run)
    share = sum(v.score for v in verdicts.values()) / sum(v.max_score for v in verdicts.values())
    wrong = [
        f"{v.exercise}: {v.status} {v.score:g}/{v.max_score:g} {_why(v)}" for v in verdicts.values() if not right(v)
    ]
    return [Line(name, f"scores {share:.0%} in {run.cpu_seconds:.1f} CPU-s", not wrong, "; ".join(wrong))]


def _why(verdict) -> str:
    return next((word for result in verdict.results for word in result.wrong), verdict.note)


def _misconceptions(lab: Lab, exercise: Exercise, sealed: Specification) -> list[Line]:
    public = public_specification(lab, exercise)
    lines = []
    for mistake in exercise.misconceptions:
        wrong = []
        distance = max((distance_of(sealed, case, mistake.name) for case in sealed.cases), default=0.0)
        excess = max((excess_of(case, mistake.name) for case in sealed.cases), default=0.0)
        if distance < FARTHEST and excess < 1:
            wrong.append(f"only {distance:.1f} tolerances away on sealed cases, and no cost")
        for where, specification in (("sealed", sealed), ("public", public)):
            outcomes = outcomes_of(specification, mistake.name)
            verdict = judge(specification, outcomes, lab.drivers[exercise.id])
            if verdict.score >= verdict.max_score:
                wrong.append(f"loses nothing on {where} cases")
            elif list(verdict.misconceptions[:1]) != [mistake.name]:
                wrong.append(f"{where} cases name {list(verdict.misconceptions) or 'nothing'} instead")
        far = "another kind" if math.isinf(distance) else f"{distance:.0f} tolerances"
        far = far if distance >= FARTHEST else f"told by cost, {excess:.1f} times what is needed"
        proved = far if wrong else f"caught and named, {far}"
        lines.append(Line(f"{exercise.id}: {mistake.name}", proved, not wrong, "; ".join(wrong)))
    return lines


def outcomes_of(specification: Specification, name: str) -> dict[str, Outcome]:
    """What a misconception comes to on every case; where it is right, that is the expected output."""
    return {c.name: c.misconceptions.get(name, Outcome(c.expected)) for c in specification.cases}


def distance_of(specification: Specification, case: Case, name: str) -> float:
    """How many tolerances a misconception is from the expected output on a case."""
    outcome = case.misconceptions.get(name)
    if outcome is None:
        return 0.0
    if outcome.problem:
        return math.inf
    return worst_error(compare(outcome.outputs, case.expected, specification.tolerance_for(case.inputs)))


def excess_of(case: Case, name: str) -> float:
    """How far over a limit a misconception is on a case: at 1 as far as it must be for the verdict to be sure."""
    outcome = case.misconceptions.get(name)
    if outcome is None or outcome.problem:
        return 0.0
    sure = SURE_OF_RANKS if is_ranked(case.inputs) else SURE
    over = over_limit(case, outcome)
    shares = [found / max(1.0, case.limits[cost] * sure.get(cost, 1.0)) for cost, found in over.items()]
    return max(shares, default=0.0)


def _counts(lab: Lab, exercise: Exercise, sealed: Specification) -> Line:
    public = public_specification(lab, exercise)
    wrong = []
    if len(public.cases) < 2 or len(sealed.cases) < 4:
        wrong.append("needs at least 2 public and 4 sealed cases")
    if len(exercise.misconceptions) < 3:
        wrong.append("needs at least 3 misconceptions")
    unearned = set(exercise.points) - {case.aspect for case in sealed.cases}
    if unearned:
        wrong.append(f"no sealed case decides {sorted(unearned)[0]!r}")
    said = f"{len(public.cases)} public, {len(sealed.cases)} sealed cases"
    return Line(exercise.id, said, not wrong, "; ".join(wrong))


def proven(lines: Sequence[Line]) -> bool:
    return all(line.ok for line in lines)
