"""Candidates of a committed lab, judged on the cases that ship and on those that grade."""

import functools
from typing import Any

from autograder.cases import public_specification, sealed_specification, specification
from autograder.course import Lab, load_package
from autograder.draw import Draw
from autograder.exercise import Exercise
from mlsys_course.desk.check import Driver, Specification, Verdict, judge
from mlsys_course.desk.check.cell import run_cases
from mlsys_course.desk.check.edition import load_drivers
from mlsys_course.desk.check.meter import run_measured

from .conftest import ROOT


def as_graded(driver: Driver, item: Exercise, candidate: Any, cases: Specification) -> Verdict:
    """The verdict on some cases of an exercise, parts answered by the reference."""
    watch = {"parts": {name: part.reference for name, part in item.parts.items()}, "forbidden": cases.forbidden}
    watch["allowed"] = cases.allowed
    run = functools.partial(run_measured, driver, candidate, unchanged=cases.unchanged, **watch)
    return judge(cases, {case.name: run(case.inputs, case.limits) for case in cases.cases}, driver)


class TermLab:
    """A lab as some term draws it, without the course around: what ``specification`` asks of a lab."""

    def __init__(self, stem: str):
        self.stem, self.folder = stem, ROOT / "solutions" / stem
        self.package, self.drivers = load_package(self.folder), load_drivers(self.folder)
        self.items = {
            item.id: item for item in self.package.exercises(self.package.variants(Draw(b"a term", "variants")))
        }

    @functools.cache  # noqa: B019 (labs live as long as the tests)
    def sealed(self, exercise: str, secret: bytes = b"a term's", public: bool = False) -> Specification:
        """What grades in the term of ``secret``; or with ``public`` the kinds of cases that ship, of the same draw."""
        item = self.items[exercise]
        given = item.cases(Draw(secret, self.stem, exercise, "sealed"))
        return specification(self, item, [g for g in given if g.public or not public])  # pyright: ignore

    def verdict(self, exercise: str, candidate: Any, public: bool = False) -> Verdict:
        """As graded, parts answered by the reference, ranks as threads."""
        return self.judged(exercise, candidate, self.sealed(exercise, public=public))

    def judged(self, exercise: str, candidate: Any, cases: Specification) -> Verdict:
        """The verdict on some cases of an exercise."""
        return as_graded(self.drivers[exercise], self.items[exercise], candidate, cases)


class SampleLab:
    """A lab in the sample term, and its solution's text to break."""

    def __init__(self, lab: Lab):
        self.lab, self.exercises = lab, {exercise.id: exercise for exercise in lab.exercises}

    @functools.cache  # noqa: B019
    def specifications(self, name: str) -> list[Specification]:
        """What ships, and what grades."""
        return [make(self.lab, self.exercises[name]) for make in (public_specification, sealed_specification)]

    def verdicts(self, name: str, candidate: Any) -> list[Verdict]:
        """On the public cases and on the sealed ones."""
        driver, (public, sealed) = self.lab.drivers[name], self.specifications(name)
        ours = judge(public, run_cases(public, driver, candidate), driver)
        return [ours, as_graded(driver, self.exercises[name], candidate, sealed)]

    @functools.cached_property
    def solution(self) -> dict[str, str]:
        """The solution's cells by exercise; the imports under ""."""
        from autograder.build.source import read_source  # here, since it wants Jupyter and the rest does not

        cells = read_source(self.lab.source)
        return {cell.id: cell.source for cell in cells if cell.kind == "exercise"} | {"": cells[1].source}

    def mutated(self, name: str, old: str, new: str) -> str:
        """The solution's text with one thing changed."""
        source = self.solution[name]
        assert old in source
        return source.replace(old, new)
