"""What the course has now: what each exercise asks and tells apart. If the labs' machinery moves, this file follows."""

from collections.abc import Iterator, Mapping

import torch

from autograder.build.proof import outcomes_of
from autograder.cases import public_specification, sealed_specification
from autograder.course import Course, Lab
from autograder.exercise import Choice, Exercise, Item, max_score
from mlsys_course.desk.check import Specification, judge
from mlsys_course.desk.check.driver import Driver


class Present(Mapping):
    """Facts by "lab/exercise", found when asked for; without ``verdicts`` only names and points, which cost nothing."""

    def __init__(self, course: Course, *, verdicts: bool):
        labs = [course.lab(stem) for stem in course.stems()]
        self.placed = {f"{lab.stem}/{item.id}": (lab, item) for lab in labs for item in lab.items}
        self.verdicts, self.found = verdicts, {}

    def __getitem__(self, path: str) -> dict:
        if path not in self.found:
            self.found[path] = facts_of(*self.placed[path], verdicts=self.verdicts)
        return self.found[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.placed)

    def __len__(self) -> int:
        return len(self.placed)


def facts_of(lab: Lab, item: Item, *, verdicts: bool) -> dict:
    """What is frozen of one exercise, choice or question; no number in it varies from machine to machine."""
    facts = {"kind": item.kind, "max_score": max_score(item), "public": {}, "sealed": {}, "misconceptions": {}}
    if not isinstance(item, Exercise):
        sealed = {"answer": "answer"} if isinstance(item, Choice) else {}
        return facts | {"points": {"answer" if sealed else "rubric": max_score(item)}, "sealed": sealed}
    given = item.cases(lab.term.draw(lab.stem, item.id, "sealed"))
    return facts | {
        "points": {aspect: float(points) for aspect, points in item.points.items()},
        "public": {case.name: case.aspect for case in given if case.public},
        "sealed": {case.name: case.aspect for case in given},
        "misconceptions": verdicts_of(lab, item) if verdicts else {m.name: {} for m in item.misconceptions},
    }


def verdicts_of(lab: Lab, item: Exercise) -> dict:
    """What the public and the sealed cases say of each misconception."""
    torch.set_num_threads(1)  # the same sums on every machine
    public, sealed, driver = public_specification(lab, item), sealed_specification(lab, item), lab.drivers[item.id]
    return {
        m.name: {"public": verdict_of(public, m.name, driver), "sealed": verdict_of(sealed, m.name, driver)}
        for m in item.misconceptions
    }


def verdict_of(specification: Specification, mistake: str, driver: Driver) -> dict:
    """Its score, of how much, what it is recognised as, and the cases that it fails."""
    verdict = judge(specification, outcomes_of(specification, mistake), driver)
    fails = sorted(result.case for result in verdict.results if not result.ok)
    return {"score": verdict.score, "of": verdict.max_score, "named": list(verdict.misconceptions), "fails": fails}
