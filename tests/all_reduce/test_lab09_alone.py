"""Lab 9 where ranks have another way to each other than messages: it wins among the others, and nothing alone."""

import inspect
from collections.abc import Iterator

import pytest

from autograder.demo.student import Student
from autograder.grade.run import solution_notebook
from autograder.grade.session import Graded, Session
from autograder.sandbox import submission
from mlsys_course.desk.check.verdict_table import to_text
from tests.sandbox.holes import LOCKS, with_a_hole

from . import right_answers

LAB, RING = "lab09_all_reduce", "ring_all_reduce"
BY_LOCKS = """
import fcntl, os, struct, torch
kept = []
def described(kind, start, length):
    return struct.pack("hhqqi4x", kind, 0, start, length, 0)

def tell(rank, x):
    "Each byte is the place of a lock on a file that all sandboxes can read."
    while kept:
        os.close(kept.pop())
    kept.append(os.open(os.__file__, os.O_RDONLY))
    for n, byte in enumerate(x.view(torch.uint8).tolist()):
        fcntl.fcntl(kept[0], 37, described(fcntl.F_RDLCK, (rank << 20) + 512 * n + byte, 1))

def hear(rank, x):
    look, found = os.open(os.__file__, os.O_RDONLY), []
    for n in range(x.nbytes):
        first = (rank << 20) + 512 * n
        answer = struct.unpack("hhqqi4x", fcntl.fcntl(look, 36, described(fcntl.F_WRLCK, first, 256)))
        found.append(0 if answer[0] == fcntl.F_UNLCK else answer[2] - first)
    os.close(look)
    return torch.tensor(found, dtype=torch.uint8).view(x.dtype)

def ring_all_reduce(x, comm):
    "As many messages of the right shapes as a ring has, and in none of them a number; honest where locks are too slow."
    size = comm.world_size
    if size > 4:
        return honest(x, comm)
    tell(comm.rank, x)
    pieces = torch.zeros_like(x).tensor_split(size)
    for step in range(2 * size - 2):
        comm.send(pieces[(comm.rank - step) % size], (comm.rank + 1) % size)
        comm.recv(torch.empty_like(pieces[(comm.rank - step - 1) % size]), (comm.rank - 1) % size)
    total = x.double().clone()
    for rank in range(size):
        if rank != comm.rank:
            total += hear(rank, x).double()
    return total.to(x.dtype)
"""


@pytest.fixture(scope="module")
def leaking(course) -> Iterator[Session]:
    with with_a_hole(LOCKS), Session(course, LAB) as session:
        yield session


def by_locks(session: Session) -> str:
    """The candidate, beside the solution's ring under another name."""
    student = Student(session.released, solution_notebook(session.lab)).solve()
    return student.answers[f"solution-{RING}"].replace(f"def {RING}", "def honest") + BY_LOCKS


def graded(session: Session, written: dict[str, str]) -> Graded:
    student = Student(session.released, solution_notebook(session.lab)).solve()
    for exercise, source in written.items():
        student.write(exercise, source)
    return session.grade(student.notebook, {})


@pytest.mark.long
def test_a_ring_that_sends_nothing_true_wins_among_the_others_and_earns_nothing_alone(leaking, monkeypatch):
    found = graded(leaking, {RING: by_locks(leaking)})
    verdict = found.verdicts[RING]
    assert (verdict.score, verdict.status) == (0, "wrong")
    assert {r.outcome.problem for r in verdict.results if r.case != "one rank"} >= {"alone"}
    words = "came to something else when rank 0 ran again alone, with the same inputs and messages"
    assert words in to_text(verdict, sealed=True)
    assert any(words in flag for flag in found.flags[RING])
    assert all(v.ok for v in found.verdicts.values() if v.exercise != RING)

    monkeypatch.setattr(submission, "run_alone", lambda *_: {})
    verdict = graded(leaking, {RING: by_locks(leaking)}).verdicts[RING]
    assert verdict.ok and verdict.score == verdict.max_score == 16


@pytest.mark.long
def test_right_answers_of_another_style_come_to_the_same_alone(leaking):
    """Each exercise to ranks, by its first such answer, through real grading."""
    text, chosen = inspect.getsource(right_answers).split("\nRIGHT = ")[0], {}
    for exercise, candidate in right_answers.RIGHT:
        if leaking.scorer.drivers[exercise].ranks:
            chosen.setdefault(exercise, f"{text}\n{exercise} = {candidate.__name__}")
    assert len(chosen) >= 5
    found = graded(leaking, chosen)
    assert all(v.ok for v in found.verdicts.values()), [to_text(v) for v in found.verdicts.values() if not v.ok]
    assert not any(", alone, " in line for line in found.run.log) and not set(found.flags) & set(chosen)
    assert found.run.cpu_seconds < 10
