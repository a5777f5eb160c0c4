"""Lab 11 through the real sandbox: who shares nothing, frees nothing or sends too much loses exactly those points."""

import pytest

from autograder.demo.student import Student
from autograder.grade.run import solution_notebook
from autograder.grade.session import Session
from tests.grade.test_costs_outside import GRADIENTS_WHOLE, NEVER_FREED, STATES_EVERYWHERE
from tests.left_out import long_but

LAB, MIB = "lab11_sharding", 1 << 20
QUIET = "import torch\ndef set_everything(): pass\n"
TWICE = (
    "shard.grad = reduce_scatter(flat, comm) / size",
    "shard.grad = reduce_scatter(all_reduce(flat, comm), comm) / size**2",
)
CUT = (TWICE[0], "shard.grad = all_reduce(flat, comm).chunk(size)[comm.rank].clone() / size")
WRONG = {
    "every rank keeps all states": ("zero1_step", STATES_EVERYWHERE, "memory", "peak memory", "how long are they"),
    "gradients whole to the end": ("zero2_step", GRADIENTS_WHOLE, "memory", "peak memory", "could the first bucket"),
    "never frees": ("zero3_layer", NEVER_FREED, "memory", "peak memory", "What does autograd save"),
    "reduced twice": ("zero1_step", TWICE, "traffic", "rank bytes", "How often is each gradient summed"),
    "all-reduced and cut": ("zero2_step", CUT, "traffic", "rank bytes", "Which of the two does a rank need"),
}


@pytest.fixture(scope="module")
def session(course):
    with Session(course, LAB) as made:
        yield made


def graded(session, exercise: str, change: str | tuple[str, str]):
    student = Student(session.released, solution_notebook(session.lab)).solve()
    if isinstance(change, str):
        student.write(exercise, QUIET + change)
    else:
        student.replace(exercise, *change)
    return session.grade(student.notebook, {})


@pytest.mark.parametrize("wrong", long_but(1, WRONG))
def test_what_costs_too_much_loses_those_points_and_gets_its_hint(session, wrong):
    exercise, change, aspect, cost, hint = WRONG[wrong]
    found = graded(session, exercise, change)
    verdict = found.verdicts[exercise]
    failed = [result for result in verdict.results if not result.ok]
    assert {result.aspect for result in failed} == {aspect}
    assert all(any(cost in words for words in result.wrong) for result in failed)
    assert len(verdict.hints) == 1 and hint in verdict.hints[0]
    assert all(v.ok for name, v in found.verdicts.items() if name != exercise)


@pytest.mark.long
def test_a_rank_of_the_solution_holds_about_what_the_meter_says(session):
    found = graded(session, "zero1_step", ("size = comm.world_size", "size = comm.world_size"))
    peaks = {
        (name, result.case): result.outcome.costs["peak_memory"] / case.limits["peak_memory"]
        for name, verdict in found.verdicts.items()
        for result, case in zip(verdict.results, session.scorer.specifications[name].cases, strict=True)
        if "peak_memory" in case.limits and case.limits["peak_memory"] > 2 * MIB
    }
    assert {name for name, _ in peaks} == {"zero1_step", "zero2_step", "zero3_layer"}
    assert max(peaks.values()) < 0.85, peaks
    assert found.run.cpu_seconds < 30
