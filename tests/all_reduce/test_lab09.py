"""Lab 9 through real grading: each rank in a sandbox, traffic counted outside, mistakes named."""

import inspect
import time
from collections.abc import Callable, Iterator

import pytest

from autograder.build.pipeline import build
from autograder.course import Course
from autograder.demo.student import Student
from autograder.grade.session import Graded, Session
from mlsys_course.desk.check.cell import verdict_on
from mlsys_course.desk.check.verdict_table import to_text
from tests.left_out import long_but

ID = "ring_all_reduce"
PATCHES = """
import mlsys_course.desk.check as patched, mlsys_course.substrate.ranks as ranks
from mlsys_course.substrate.ranks.shared import switchboard, traffic
traffic.bytes_of = traffic.message_bytes = lambda *a: 0
patched.Outcome.costs = {"rank_bytes": 0.0, "rank_messages": 0.0, "total_bytes": 0.0, "off_ring_bytes": 0.0}
switchboard.Switchboard.post = lambda *a: None
"""


@pytest.fixture(scope="module")
def lab(course: Course):
    return course.lab("lab09")


@pytest.fixture(scope="module")
def mistakes(lab) -> dict[str, Callable]:
    return {m.name: m for m in ring_of(lab).misconceptions}


@pytest.fixture(scope="module")
def grade(course: Course, lab, tmp_path_factory) -> Iterator[Callable[[str], Graded]]:
    built = build(lab, tmp_path_factory.mktemp("built") / lab.stem)
    with Session(course, lab.stem) as session:

        def grade(source: str = "") -> Graded:
            student = Student(built.student, built.solution).solve()
            return session.grade((student.write(ID, source) if source else student).notebook, {})

        yield grade


def ring_of(lab):
    return next(exercise for exercise in lab.exercises if exercise.id == ID)


RIGHT_RING = """
import torch
def ring_reduce_scatter(chunks, comm):
    for step in range(comm.world_size - 1):
        comm.send(chunks[(comm.rank - step) % comm.world_size], (comm.rank + 1) % comm.world_size)
        chunk = chunks[(comm.rank - step - 1) % comm.world_size]
        chunk += comm.recv(torch.empty_like(chunk), (comm.rank - 1) % comm.world_size)

def ring_all_gather(chunks, comm):
    for step in range(comm.world_size - 1):
        comm.send(chunks[(comm.rank + 1 - step) % comm.world_size], (comm.rank + 1) % comm.world_size)
        comm.recv(chunks[(comm.rank - step) % comm.world_size], (comm.rank - 1) % comm.world_size)

def a_right_ring(x, comm):
    total = x.clone()
    ring_reduce_scatter(total.tensor_split(comm.world_size), comm)
    ring_all_gather(total.tensor_split(comm.world_size), comm)
    return total
"""


def source_of(function: Callable) -> str:
    """A mistake's text as a student's cell, which has a right ring too."""
    source = inspect.getsource(function).replace(ID, "a_right_ring")
    return f"{RIGHT_RING}\n{source}\n{ID} = {function.__name__}"


@pytest.mark.long
def test_the_solution_scores_full_marks_soon(grade, lab):
    graded = grade()
    for exercise in lab.exercises:
        verdict = graded.verdicts[exercise.id]
        assert verdict.ok and verdict.score == sum(exercise.points.values()), to_text(verdict)
    assert {len(r.outcome.outputs) for r in graded.verdicts[ID].results} == {1, 2, 3, 4, 5, 7}
    assert graded.run.cpu_seconds < 10


@pytest.mark.parametrize(
    "name, status, lost",
    [
        ("gather_then_broadcast", "wrong", {"traffic"}),
        pytest.param("receives_first", "error", {"sum", "uneven", "traffic"}, marks=pytest.mark.long),
        pytest.param("whole_tensors_round_the_ring", "wrong", {"traffic"}, marks=pytest.mark.long),
        pytest.param("drops_the_remainder", "wrong", {"uneven"}, marks=pytest.mark.long),
    ],
)
def test_a_mistake_loses_its_points_and_gets_its_hint(grade, mistakes, name, status, lost):
    verdict = grade(source_of(mistakes[name].candidate)).verdicts[ID]
    assert verdict.status == status
    assert {result.aspect for result in verdict.results if not result.ok} == lost
    assert list(verdict.misconceptions) == [name] and list(verdict.hints) == [mistakes[name].hint]


@pytest.mark.long
def test_a_right_sum_by_too_many_bytes_is_told_so_and_cannot_be_lied_away(grade, mistakes):
    honest = grade(source_of(mistakes["gather_then_broadcast"].candidate)).verdicts[ID]
    lying = grade(PATCHES + source_of(mistakes["gather_then_broadcast"].candidate)).verdicts[ID]
    for verdict in (honest, lying):
        assert list(verdict.misconceptions) == ["gather_then_broadcast"]
        assert "costs too much (rank bytes)" in to_text(verdict, sealed=True)
    assert honest.score == 10 >= lying.score  # in a world of threads who patches the course hurts nobody else
    costs = [[result.outcome.costs for result in verdict.results] for verdict in (honest, lying)]
    assert costs[0] == costs[1]


@pytest.mark.long
def test_words_about_ranks_reach_the_student(grade, mistakes):
    text = to_text(grade(source_of(mistakes["receives_first"].candidate)).verdicts[ID], sealed=True)
    assert "waits forever: rank 0 waits in recv from" in text
    died = grade(f"import os\ndef {ID}(x, comm):\n    if comm.rank == 1: os._exit(0)\n    return x").verdicts[ID]
    assert died.status == "crashed" and "ended the process: rank 1 ended" in to_text(died, sealed=True)


@pytest.mark.long
def test_a_rank_that_hangs_ends_in_bounded_time(grade):
    start = time.monotonic()
    verdict = grade(f"def {ID}(x, comm):\n    while comm.rank == 1: pass\n    return x").verdicts[ID]
    assert verdict.status == "timeout" and "took too long: rank 1 did not finish" in to_text(verdict, sealed=True)
    assert time.monotonic() - start < 20


FORBIDDEN = ["import torch.distributed as dist", "from torch.distributed import all_reduce"]


@pytest.mark.parametrize("forbidden", long_but(1, FORBIDDEN))
def test_torchs_own_may_not_be_called(grade, forbidden):
    name = forbidden.split()[-1]
    call = f"{name}.all_reduce(x)" if name == "dist" else f"{name}(x)"
    source = f"{forbidden}\ndef {ID}(x, comm):\n    {call}\n    return x"
    assert grade(source).verdicts[ID].status == "forbidden"


def test_the_same_verdict_in_the_notebook_as_threads(course, lab, mistakes):
    folder = course.built(lab.stem)
    assert verdict_on(ID, ring_of(lab).reference, folder).ok
    for mistake in mistakes.values():
        verdict = verdict_on(ID, mistake.candidate, folder)
        assert verdict.score < verdict.max_score and list(verdict.misconceptions) == [mistake.name]


@pytest.mark.long
def test_in_the_notebook_a_rank_that_raises_or_deadlocks_is_named(course, lab):
    folder = course.built(lab.stem)

    def raises(x, comm):
        if comm.rank == 1:
            raise IndexError("too far")
        return comm.recv(x.clone(), 1)

    verdict = verdict_on(ID, raises, folder)
    assert "raised IndexError on rank 1: too far" in to_text(verdict) and verdict.status in ("error", "wrong")
    verdict = verdict_on(ID, lambda x, comm: comm.recv(x.clone(), (comm.rank + 1) % comm.world_size), folder)
    assert "waits forever: rank 0 waits in recv from 1, which waits in recv from 2" in to_text(verdict)
