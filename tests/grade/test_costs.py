"""Costs, end to end: measured outside the candidate, and a right answer that costs too much loses those points."""

import pytest

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.grade.session import Session
from mlsys_course.check.report import to_text

STEM = "lab00_foundations"
THRIFTY = "def times(x):\n    return x * {factor}"
WASTEFUL = (
    "import torch\ndef times(x):\n    ballast = torch.ones(100 << 18)  # 100 MiB\n    return x * {factor} * ballast[0]"
)
BOASTFUL = WASTEFUL + "\nimport mlsys_course.check.driver as d\nd.Outcome.costs = {{'peak_memory': 0.0}}"


@pytest.fixture
def session(small_course):
    path = small_course / "solutions" / STEM / "exercises.py"
    text = path.read_text()
    text = text.replace('points={"values": 4}', 'points={"values": 4, "memory": 2}')
    text = text.replace("    return [Given(", '    limits = {"peak_memory": 30 << 20}\n    large = Given("large", "memory", {"x": draw.normal(9)}, True, limits)\n    return [large] + [Given(')  # fmt: skip  # noqa: E501
    path.write_text(text)
    course = load_course(small_course)
    built = build(course.lab(STEM), small_course / "labs" / STEM)
    with Session(course, STEM) as session:
        yield lambda source: session.grade(
            Student(built.student, built.solution)
            .write("times", source.format(factor=built.lab.variants["factor"]))
            .notebook,
            {},
        ).verdicts["times"]


def test_peak_memory_is_judged_from_outside(session):
    assert session(THRIFTY).score == 6
    for source in (WASTEFUL, BOASTFUL):
        verdict = session(source)
        assert (verdict.status, verdict.score) == ("wrong", 4)
        (large,) = [result for result in verdict.results if not result.ok]
        assert 90e6 < large.outcome.costs["peak_memory"] < 400e6
        assert "costs too much" in to_text(verdict, sealed=True)
