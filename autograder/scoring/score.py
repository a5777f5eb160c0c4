"""The trusted side of a run: holds the references and sealed cases, answers parts, decides the score."""

import functools
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlsys_course.desk.check import Driver, Outcome, Specification, Verdict, encode, judge
from mlsys_course.desk.check.compare import compare
from mlsys_course.desk.check.driver import judged
from mlsys_course.desk.check.guard import forbidden_in
from mlsys_course.desk.check.ranked import rank_inputs
from mlsys_course.desk.check.reach import reach, used_names_of
from mlsys_course.desk.check.seen import candidates_own
from mlsys_course.desk.check.verdict import judge_case

from ..cases import sealed_specification
from ..course import Lab
from ..exercise import Choice, Exercise
from ..parts import Answers
from ..sandbox import AGAIN, ALONE, Call, Cell, Run, case_of


@dataclass(frozen=True)
class Scorer:
    """Everything that decides a lab's scores for a group of students; the references run once each."""

    exercises: Mapping[str, Exercise | Choice]
    specifications: Mapping[str, Specification]
    drivers: Mapping[str, Driver]
    calls_by_exercise: dict[str, list[Call]] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    latest: threading.local = field(default_factory=threading.local)  # by exercise: outcomes, and what they came to

    @classmethod
    def for_lab(
        cls, lab: Lab, group: int = 0, specification: Callable[[Exercise | Choice], Specification] | None = None
    ) -> "Scorer":
        """Of a group; ``specification`` may know an exercise's sealed specification already."""
        made = specification or functools.partial(sealed_specification, lab, group=group)
        items = {item.id: item for item in lab.items if isinstance(item, Exercise | Choice)}
        return cls(items, {name: made(item) for name, item in items.items()}, lab.drivers)

    def calls(self, exercise: str) -> Sequence[Call]:
        """The sealed calls of an exercise: inputs only."""
        if exercise not in self.calls_by_exercise:
            item, specification = self.exercises[exercise], self.specifications[exercise]
            seconds = item.seconds if isinstance(item, Exercise) else 6.0
            ranked = exercise in self.drivers and self.drivers[exercise].ranks
            self.calls_by_exercise[exercise] = [
                Call(
                    case.name,
                    b"" if ranked else encode(candidates_own(case.inputs)),
                    seconds,
                    measure_memory="peak_memory" in case.limits,
                    ranks=[encode(own) for own in rank_inputs(case.inputs)] if ranked else (),
                )
                for case in specification.cases
            ]
        return self.calls_by_exercise[exercise]

    def part(self, exercise: str, name: str, request: bytes) -> bytes:
        """A call of a composite's part, by the trusted stand-in."""
        item = self.exercises[exercise]
        if not isinstance(item, Exercise) or name not in item.parts:
            raise ValueError(f"{exercise} has no part {name!r}")
        return self.answers.of(item.parts[name], exercise, request)

    def parts(self, exercise: str) -> Collection[str]:
        """The parts of a composite: exercises that ``part`` could solve for whoever may ask it."""
        item = self.exercises[exercise]
        return item.parts if isinstance(item, Exercise) else ()

    def settled(self, exercise: str, outcomes: Mapping[str, Outcome]) -> bool:
        """Full marks, any answer to a choice, and what is not written at all; the rest could be another's doing."""
        problems = {outcome.problem for outcome in outcomes.values()}
        if problems == {"missing"} or (self.specifications[exercise].kind == "choice" and problems == {""}):
            return True
        verdict = self._judged(exercise, outcomes)
        return verdict.score == verdict.max_score

    def earned(self, exercise: str, outcomes: Mapping[str, Outcome]) -> Collection[str]:
        """The cases of those aspects that have all their cases right."""
        results = self._judged(exercise, outcomes).results
        failed = {result.aspect for result in results if not result.ok}
        return [result.case for result in results if result.aspect not in failed]

    def verdicts(self, run: Run, cells: Sequence[Cell] = ()) -> dict[str, Verdict]:
        """One verdict for each graded exercise of the lab, in order, whatever the run came to."""
        return {name: self._verdict(name, run, cells) for name in self.specifications}

    def _verdict(self, name: str, run: Run, cells: Sequence[Cell]) -> Verdict:
        specification = self.specifications[name]
        outcomes = dict(run.outcomes.get(name, {}))
        note = run.problems.get(name, "")
        if not outcomes:
            problem = run.status if run.status in ("timeout", "memory", "crashed") else "missing"
            detail = note if problem == "missing" else ""
            outcomes = {case.name: Outcome(problem=problem, detail=detail) for case in specification.cases}
        if found := self._forbidden(name, cells):
            outcomes = {key: Outcome(problem="forbidden", detail=found) for key in outcomes}
        return self._judged(name, outcomes, note)

    def _judged(self, name: str, outcomes: Mapping[str, Outcome], note: str = "") -> Verdict:
        """Whoever asks whether an exercise is settled asks for its verdict soon after: both are of one comparison."""
        latest: dict[str, tuple[Mapping[str, Outcome], Verdict]] = self.latest.__dict__
        of, verdict = latest.get(name, ({}, None))
        if verdict is None or of.keys() != outcomes.keys() or any(of[key] is not o for key, o in outcomes.items()):
            verdict = self._compared(name, outcomes)
            latest[name] = dict(outcomes), verdict
        return replace(verdict, note=note)

    def _compared(self, name: str, outcomes: Mapping[str, Outcome]) -> Verdict:
        specification = self.specifications[name]
        inputs = {case.name: case.inputs for case in specification.cases}
        driver = self.drivers.get(name)
        outcomes = {key: judged(driver, inputs.get(case_of(key), {}), o) for key, o in outcomes.items()}
        first = {
            key: self._alone(specification, key, self._steady(specification, key, outcome, outcomes), outcomes)
            for key, outcome in outcomes.items()
            if case_of(key) == key
        }
        return judge(specification, first, driver)

    def _steady(self, specification: Specification, key: str, outcome: Outcome, all_outcomes: Mapping) -> Outcome:
        """The same input must come to the same output twice: hidden state shows here."""
        again = all_outcomes.get(key + AGAIN)
        if again is None or outcome.problem:
            return outcome
        if again.problem:
            return again
        inputs = next(case.inputs for case in specification.cases if case.name == key)
        same = all(leaf.ok for leaf in compare(again.outputs, outcome.outputs, specification.tolerance_for(inputs)))
        costs = {cost: max(found, again.costs.get(cost, found)) for cost, found in outcome.costs.items()}
        outcome = replace(outcome, costs=costs)  # of either call: nobody knows which is the one
        return outcome if same else replace(outcome, problem="type", detail="another result for the same input")

    def _alone(self, specification: Specification, key: str, outcome: Outcome, all_outcomes: Mapping) -> Outcome:
        """Of a call to ranks: right only if it is right where every rank runs by itself, too."""
        case = next((case for case in specification.cases if case.name == key), None)
        for alone in filter(None, (all_outcomes.get(key + ALONE), all_outcomes.get(key + AGAIN + ALONE))):
            right = case is None or judge_case(specification, case, alone, self.drivers.get(specification.id)).ok
            if not right and not outcome.problem:
                return replace(outcome, problem="alone", detail=alone.detail or "a rank")
        return outcome

    def _forbidden(self, name: str, cells: Sequence[Cell]) -> str:
        """What the candidate's text reaches of the forbidden calls."""
        specification = self.specifications[name]
        if not (specification.forbidden or specification.allowed) or not cells:
            return ""
        expression = next((cell.candidate for cell in cells if cell.exercise == name), "")
        sources = [cell.source for cell in cells if not cell.exercise and not cell.skip]
        reached = reach(sources, used_names_of(expression), self.drivers[name].parts)
        return forbidden_in(reached, specification.forbidden, specification.allowed)

    @property
    def max_score(self) -> float:
        return sum(s.max_score for s in self.specifications.values())
