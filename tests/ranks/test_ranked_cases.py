"""Cases of several ranks in a check: one outcome of all ranks', with what the traffic was."""

import threading
import time
from dataclasses import replace

import pytest
import torch

from autograder.cases import CaseError, specification
from autograder.course import load_course
from autograder.exercise import Given
from mlsys_course.desk.check import Outcome, allowed, driver, run_case
from mlsys_course.desk.check.ranked import combined, is_ranked, rank_inputs, run_ranks

INPUTS = {"ranks": [{"x": torch.tensor([float(rank)])} for rank in range(3)], "scale": 10}


@driver(ranks=True)
def pass_on(candidate, case, comm):
    return {"y": candidate(case["x"] * case["scale"], comm), "rank": comm.rank}


def to_the_right(x, comm):
    comm.send(x, (comm.rank + 1) % comm.world_size)
    return comm.recv(torch.empty_like(x), (comm.rank - 1) % comm.world_size)


def test_each_rank_sees_its_own_inputs_and_what_is_common():
    outcome = run_case(pass_on, to_the_right, INPUTS)
    assert [(rank, o["rank"], o["y"].item()) for rank, o in outcome.outputs.items()] == [
        ("rank 0", 0, 20.0), ("rank 1", 1, 0.0), ("rank 2", 2, 10.0)
    ]  # fmt: skip
    assert outcome.costs == {"rank_bytes": 4, "rank_messages": 1, "total_bytes": 12, "off_ring_bytes": 0}
    assert [own["scale"] for own in rank_inputs(INPUTS)] == [10, 10, 10]


def test_forbidden_calls_are_refused_on_every_rank_though_they_run_at_once():
    def candidate(x, comm):
        to_the_right(x, comm)
        time.sleep(0.05 * comm.rank)
        return torch.softmax(x, 0) if comm.rank == 2 else x

    outcome = run_case(pass_on, candidate, INPUTS, forbidden=["torch.softmax"])
    assert (outcome.problem, outcome.detail) == ("forbidden", "torch.softmax")
    assert not run_case(pass_on, candidate, INPUTS).problem


@driver(ranks=True, parts={"squash": lambda x: torch.softmax(x, 0)})
def compose(candidate, case, comm, squash):
    return {"y": candidate(case["x"], comm, squash)}


def test_a_part_may_call_what_the_candidate_may_not_until_the_last_rank_has_ended():
    def squash(x):
        with allowed():
            return torch.softmax(x, 0)

    def candidate(x, comm, squash):
        to_the_right(x, comm)
        time.sleep(0.05 * comm.rank)  # so that they end in the order in which they began
        return squash(x)

    public = replace(compose, parts={"squash": squash})
    assert not run_case(public, candidate, INPUTS, forbidden=["torch.softmax"]).problem
    assert run_case(compose, candidate, INPUTS, forbidden=["torch.softmax"]).problem == "forbidden"


@pytest.mark.parametrize(
    "problem, words",
    [
        (lambda x, comm: 1 // comm.rank, "raised ZeroDivisionError on rank 0: integer division or modulo by zero"),
        (lambda x, comm: comm.recv(x, 3 - comm.rank) if comm.rank else x,
         "waits forever: rank 1 waits in recv from 2, which waits in recv from 1"),
        (lambda x, comm: object() if comm.rank == 1 else x, "returned y: a object, which is no tensor"),
    ],
)  # fmt: skip
def test_problems_are_told_with_their_rank(problem, words):
    assert run_case(pass_on, problem, INPUTS).words.startswith(words)


def test_a_hint_needs_no_more_than_the_class_of_an_exception():
    detail = run_case(pass_on, lambda x, comm: 1 // comm.rank, INPUTS).detail
    quiet = run_case(pass_on, lambda x, comm: 1 // comm.rank, INPUTS, messages=False).detail
    assert detail.split(":")[0] == quiet == "ZeroDivisionError on rank 0"


def test_what_follows_a_release_is_no_problem_of_its_own():
    fine, wrong = Outcome({"y": 1}), Outcome(problem="raised", detail="RuntimeError")
    assert combined([wrong, wrong, fine], {0}, "").detail == "RuntimeError on rank 1"
    assert combined([wrong, fine], {0}, "rank 0 waits") == Outcome(problem="deadlock", detail="rank 0 waits")
    assert combined([fine, fine], (), "") == Outcome({"rank 0": {"y": 1}, "rank 1": {"y": 1}})


def test_a_rank_that_hangs_is_told_of_in_the_notebook_too():
    gate = threading.Event()

    def call(own, comm):
        gate.wait() if comm.rank == 1 else comm.recv(own["x"], 1)
        return Outcome()

    outcome = run_ranks(call, INPUTS, seconds=0.3)
    gate.set()
    assert outcome.words == "took too long: rank 1 did not finish; rank 0 waits in recv from 1"


@pytest.mark.parametrize("inputs, ranked", [(INPUTS, True), ({"x": 1}, False), ({"ranks": []}, False), (
    {"ranks": 3}, False), ({"ranks": [1, 2]}, False), (None, False)])  # fmt: skip
def test_which_inputs_are_by_rank(inputs, ranked):
    assert is_ranked(inputs) is ranked


def test_an_author_who_forgets_the_ranks_is_told_so():
    lab = load_course().lab("lab09")
    exercise = next(one for one in lab.exercises if one.id == "ring_all_reduce")
    with pytest.raises(CaseError, match="ranks=True"):
        specification(lab, exercise, [Given("plain", "sum", {"x": torch.ones(2)})])
    by_rank = next(given for given in exercise.cases(lab.term.draw("x")) if len(given.inputs.get("ranks", [])) > 1)
    limited = replace(by_rank, limits={"rank_bytes": 1})
    with pytest.raises(CaseError, match="allows 1 of rank_bytes"):
        specification(lab, exercise, [limited])
