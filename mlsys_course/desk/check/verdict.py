"""From outcomes to a verdict: what passed, the score by aspect, and the hint. The same code for student and grader."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .compare import TOLERANCE, Leaf, case_dtype, compare, problems
from .driver import EACH, Driver, Outcome
from .tree import Tree

STATUSES = ("ok", "wrong", "error", "timeout", "memory", "crashed", "missing", "forbidden", "unreadable")

# By what factor the costs of one mistake may differ. Counts are exact, and another implementation of the same idea may
# count a little more. Its peak memory may be a copy more or less of the tensor that should not be there: below 2, so
# that one such tensor, two, and four are told apart. What the system's reading sees besides is small beside that.
COUNTED, LIKENESS = 1.1, {"peak_memory": 1.75}


@dataclass(frozen=True)
class Case:
    """Named inputs with the expected outputs; ``limits`` are the most that each measured cost may be."""

    name: str
    aspect: str
    inputs: Mapping[str, Tree]
    expected: Tree
    misconceptions: Mapping[str, Outcome] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Specification:
    """What a verdict needs to know of an exercise. ``points`` by aspect; an aspect is earned by all its cases."""

    id: str
    kind: str
    points: Mapping[str, float]
    cases: Sequence[Case] = ()
    hints: Mapping[str, str] = field(default_factory=dict)
    forbidden: Sequence[str] = ()
    allowed: Sequence[str] = ()  # families of operators; where there are none, all but the kinds of what is forbidden
    unchanged: bool = True
    tolerance: Mapping[str, float] = field(default_factory=dict)
    options: Sequence[str] = ()  # of a choice

    @property
    def max_score(self) -> float:
        return float(sum(self.points.values()))

    def tolerance_for(self, inputs: Tree) -> float:
        dtype = case_dtype(inputs)
        return self.tolerance.get(dtype, TOLERANCE[dtype])


@dataclass(frozen=True)
class Result:
    """One case's comparison. ``wrong`` says what is wrong, in a student's words."""

    case: str
    aspect: str
    outcome: Outcome
    leaves: Sequence[Leaf]
    wrong: Sequence[str]

    @property
    def ok(self) -> bool:
        return not self.wrong


@dataclass(frozen=True)
class Verdict:
    """An exercise's score, with the results behind it and the misconceptions recognised."""

    exercise: str
    kind: str
    status: str
    score: float
    max_score: float
    results: Sequence[Result] = ()
    misconceptions: Sequence[str] = ()
    hints: Sequence[str] = ()
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


def judge_case(specification: Specification, case: Case, outcome: Outcome, driver: Driver | None) -> Result:
    """Compare one outcome: problem first, then values, then properties, then costs."""
    if outcome.problem:
        return Result(case.name, case.aspect, outcome, (), (outcome.words,))
    if specification.kind == "choice" and isinstance(outcome.outputs, dict):
        meant = {name: option(specification, answer) for name, answer in outcome.outputs.items()}
        outcome = replace(outcome, outputs=meant)
    leaves = compare(outcome.outputs, case.expected, specification.tolerance_for(case.inputs))
    wrong = list(problems(leaves))
    if not wrong and driver:
        wrong += violated(driver, case.inputs, outcome.outputs)
    wrong += [
        f"costs too much ({cost.replace('_', ' ')}): {amount(cost, found)}, at most {amount(cost, case.limits[cost])}"
        for cost, found in over_limit(case, outcome).items()
    ]
    return Result(case.name, case.aspect, outcome, leaves, wrong)


def violated(driver: Driver, inputs: Tree, outputs: Tree) -> list[str]:
    """Which properties do not hold, of the case or of any of its calls."""
    calls = zip(inputs[EACH], outputs.values(), strict=True) if EACH in inputs else [(inputs, outputs)]
    found = [(name, holds(*call)) for call in calls for name, holds in driver.properties.items()]
    return [f"{name}: {said}" for name, said in found if said]


def option(specification: Specification, answer: Tree) -> Tree:
    """The option of a choice that an answer means: "A", "(a)" and " a " are "a"; the answer itself where it is none."""
    bare = {one.strip(" ().").lower(): one for one in specification.options}
    return bare.get(answer.strip(" ().").lower(), answer) if isinstance(answer, str) else answer


def over_limit(case: Case, outcome: Outcome) -> dict[str, float]:
    """The costs of an outcome that are more than its case allows."""
    return {cost: outcome.costs[cost] for cost, most in case.limits.items() if not outcome.costs.get(cost, 0) <= most}


def amount(cost: str, value: float) -> str:
    """A cost as a person reads it."""
    if not math.isfinite(value):
        return "nobody knows how much"
    return f"{value / (1 << 20):.1f} MiB" if cost == "peak_memory" else f"{value:,.0f}"


def explains(specification: Specification, case: Case, outcome: Outcome, name: str) -> bool:
    """Whether ``outcome`` is what misconception ``name`` comes to on ``case``: by outputs, or by costs if right."""
    mistaken = case.misconceptions.get(name)
    if mistaken is None or mistaken.problem != outcome.problem:
        return False
    if outcome.problem:
        return mistaken.detail.split(":")[0] == outcome.detail.split(":")[0]
    tolerance = specification.tolerance_for(case.inputs)
    if not all(leaf.ok for leaf in compare(outcome.outputs, mistaken.outputs, tolerance)):
        return False
    if not all(leaf.ok for leaf in compare(outcome.outputs, case.expected, tolerance)):
        return True  # whatever it costs besides: that may be a mistake of its own
    return alike(over_limit(case, outcome), over_limit(case, mistaken))


def _tells(cases: Mapping[str, Case], failed: set[str], wrong: Mapping[str, Outcome], name: str) -> bool:
    """Whether outcomes that fit a misconception tell anything. An exception, of whichever mistake, is often a
    RuntimeError: where all cases end in one, it must say the same but for numbers; of sealed cases it says nothing.
    """
    if failed != cases.keys():
        return True
    pairs = ((cases[c].misconceptions[name].detail, wrong[c].detail) for c in failed)
    return all(same_words(*pair) for pair in pairs)


def same_words(one: str, other: str) -> bool:
    """Whether two errors say the same but for numbers, which may count what a process has made so far."""
    return re.sub(r"\d+", "#", one) == re.sub(r"\d+", "#", other)


def alike(found: Mapping[str, float], mistaken: Mapping[str, float]) -> bool:
    """Whether two sets of costs over their limits are those of one mistake."""
    return found.keys() == mistaken.keys() and all(
        max(found[cost], mistaken[cost]) <= LIKENESS.get(cost, COUNTED) * min(found[cost], mistaken[cost])
        for cost in found
    )


def recognise(specification: Specification, results: Sequence[Result]) -> list[str]:
    """The fewest misconceptions that explain wrong outcomes, those that explain the most cases first.

    One is named only where the outcomes are its own wherever it fails, no other's as well, and in one of the parts that
    it spoils nothing else is wrong.
    """
    cases = {case.name: case for case in specification.cases}
    wrong = {r.case: r.outcome for r in results if not r.ok}
    fails = {name: {c for c, case in cases.items() if name in case.misconceptions} for name in specification.hints}
    fitting, exact = {}, set()
    for name, failed in fails.items():
        if failed <= wrong.keys():
            other = {c for c in failed if not explains(specification, cases[c], wrong[c], name)}
            # Another way to write a mistake may raise where this one does not, as long as something else tells.
            seen = {c for c in failed - other if wrong[c].problem != "raised"}
            if not other or (seen and all(wrong[c].problem == "raised" for c in other)):
                fitting |= {name: failed} if seen or _tells(cases, failed, wrong, name) else {}
                exact |= set() if other else {name}
    found: list[tuple[str, set[str]]] = []
    while fitting := {name: left for name, left in fitting.items() if left}:
        most = max(fitting.values(), key=len)
        names = [name for name, left in fitting.items() if left == most]
        names = [name for name in names if name in exact] or names
        if len({specification.hints[name] for name in names}) == 1:
            found.append((names[0], fails[names[0]]))
        fitting = {name: left - most for name, left in fitting.items()}
    unexplained = wrong.keys() - set().union(*(failed for _, failed in found))
    spoiled = {cases[c].aspect for c in unexplained if wrong[c].problem != "raised"}
    return [name for name, failed in found if not {cases[c].aspect for c in failed} <= spoiled]


def status_of(results: Sequence[Result]) -> str:
    """One word for a set of results."""
    failed = [r.outcome.problem for r in results if not r.ok]
    if not failed:
        return "ok"
    if len(failed) == len(results) and set(failed) == {"missing"}:
        return "missing"
    for problem in ("forbidden", "memory", "timeout", "crashed"):
        if problem in failed:
            return problem
    return "error" if all(problem in ("raised", "deadlock", "missing") for problem in failed) else "wrong"


def judge(
    specification: Specification, outcomes: Mapping[str, Outcome], driver: Driver | None = None, note: str = ""
) -> Verdict:
    """The verdict on an exercise. A case without an outcome counts as crashed, a forbidden call as nothing earned."""
    results = [
        judge_case(specification, case, outcomes.get(case.name, Outcome(problem="crashed")), driver)
        for case in specification.cases
    ]
    status = status_of(results)
    failed = {r.aspect for r in results if not r.ok}
    earned = sum(points for aspect, points in specification.points.items() if aspect not in failed)
    if status == "forbidden":
        earned = 0.0
    names = recognise(specification, results)
    hints = [specification.hints[name] for name in names]
    maximum = specification.max_score
    return Verdict(specification.id, specification.kind, status, float(earned), maximum, results, names, hints, note)
