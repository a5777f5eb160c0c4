"""Kernels, end to end in the sandbox: what moves is counted outside, whatever the candidate's own machine says."""

import pytest

from autograder.demo.student import Student
from autograder.grade.run import solution_notebook
from autograder.grade.session import Session

pytestmark = pytest.mark.long
LAB, EXERCISE = "lab12_kernels", "tiled_matmul"
ONE_BY_ONE = """
def tiled_matmul(memory, a, b, side=2):
    if len(a.shape) not in (2, 3) or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ValueError
    side = min(side, math.isqrt(memory.capacity // 3))
    c = memory.new(*a.shape[:-1], b.shape[-1])
    for at in itertools.product(*map(range, a.shape[:-2])):
        for i, j in itertools.product(range(0, a.shape[-2], side), range(0, b.shape[-1], side)):
            corner = c[*at, i : i + side, j : j + side]
            total = memory.full(*corner.shape)
            for p in range(0, a.shape[-1], side):
                x, y = memory.load(a[*at, i : i + side, p : p + side]), memory.load(b[*at, p : p + side, j : j + side])
                memory.matmul_add(total, x, y)
                memory.free(x, y)
            memory.store(total, corner)
            memory.free(total)
    return c
"""
COUNTS_NOTHING = """
FastMemory.moved = property(lambda self: 0)
import mlsys_course.desk.check.verdict
mlsys_course.desk.check.verdict.over_limit = lambda case, outcome: {}
"""
ALL_AT_ONCE = """
def tiled_matmul(memory, a, b):
    memory.capacity = 10**9
    total, c = memory.full(a.shape[-2], b.shape[-1]), memory.new(*a.shape[:-1], b.shape[-1])
    memory.matmul_add(total, memory.load(a), memory.load(b))
    memory.store(total, c)
    return c
"""
NO_PROGRAM = """
def tiled_matmul(memory, a, b):
    memory.listing.append("import os")
    return memory.new(*a.shape[:-1], b.shape[-1])
"""
LOOKS = """
def tiled_matmul(memory, a, b):
    import gc, torch
    large = [x for x in gc.get_objects() if type(x) is torch.Tensor and tuple(x.shape) == a.shape]
    memory.array(large[0]) if large else None
    return memory.new(*a.shape[:-1], b.shape[-1])
"""


@pytest.fixture(scope="module")
def session(course):
    with Session(course, LAB) as session:
        yield session


def verdict(session, source):
    """On the exercise, of a student whose cell is replaced and who has solved the rest."""
    student = Student(session.released, solution_notebook(session.lab)).solve()
    found = session.grade(student.write(EXERCISE, source).notebook, {}).verdicts
    assert found["im2col"].ok and found["conv2d"].ok
    return found[EXERCISE]


def test_the_solution_has_all_points_in_little_time(session):
    student = Student(session.released, solution_notebook(session.lab)).solve()
    found = session.grade(student.notebook, {})
    assert {v.status for v in found.verdicts.values()} == {"ok"} and found.run.cpu_seconds < 10


@pytest.mark.parametrize("lies", ["", COUNTS_NOTHING], ids=["honest", "counts nothing itself"])
def test_small_tiles_are_right_and_lose_exactly_the_points_for_traffic(session, lies):
    found = verdict(session, lies + ONE_BY_ONE)
    assert (found.status, found.score) == ("wrong", 10)
    assert {result.aspect for result in found.results if not result.ok} == {"traffic"}
    counted = [r.outcome.costs["entries_moved"] for r in found.results if "entries_moved" in r.outcome.costs]
    assert len(counted) > 10 and max(counted) > 10_000  # kernels of too many instructions are not carried out


@pytest.mark.parametrize("source", [ALL_AT_ONCE, NO_PROGRAM, LOOKS], ids=["all at once", "no program", "looks"])
def test_what_the_machine_does_not_do_earns_nothing(session, source):
    found = verdict(session, source)
    assert found.score == 0 and "traffic" not in [result.aspect for result in found.results if result.ok]
