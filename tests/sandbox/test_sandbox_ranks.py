"""Ranks in sandboxes of their own: right ones pass; those that hang, die or wait in vain are told so, and soon."""

import itertools
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autograder.sandbox import Cell, Limits

from .conftest import MARK, RIGHT, Teacher, graded, is_right
from .ranked import NEIGHBOURS, RING, outcome_of, ring_call


def test_a_right_ring(ranked):
    kinds = list(itertools.product((1, 2, 3, 4), (0, 2, 5, 8)))
    calls = [ring_call(f"{size} {length}", size, length, dtype=torch.float64) for size, length in kinds]
    run = ranked.run([Cell(RING), graded("ring"), Cell(RIGHT["double"]), graded("double")], Teacher({"ring": calls}))
    assert run.status == "ok" and not run.problems and not run.log
    assert is_right(run.outcomes["double"], 2)
    for size, length in kinds:
        outcome = run.outcomes["ring"][f"{size} {length}"]
        want = torch.full((length,), size * MARK + size * (size - 1) / 2, dtype=torch.float64)
        assert list(outcome.outputs) == [f"rank {rank}" for rank in range(size)]
        assert all(torch.equal(by_rank["y"], want) for by_rank in outcome.outputs.values())
        assert outcome.costs["rank_messages"] == 2 * (size - 1)
        assert outcome.costs["total_bytes"] == 2 * (size - 1) * length * 8
        assert outcome.costs["rank_bytes"] <= 2 * (size - 1) * -(-length // size) * 8
    assert sum(key.endswith("#again") for key in run.outcomes["ring"]) == 1


def test_cells_that_ended_the_first_attempt_stay_out_of_the_ranks_too(ranked):
    cells = [Cell("import os\nos._exit(1)"), Cell(RING), graded("ring"), Cell(RIGHT["double"]), graded("double")]
    run = ranked.run(cells, Teacher({"ring": [ring_call("one", 4)]}))
    assert run.status == "crashed"
    assert not run.outcomes["ring"]["one"].problem and is_right(run.outcomes["double"], 2)


def test_a_candidate_that_is_not_there(ranked):
    run = ranked.run([Cell("x = 1"), graded("ring")], Teacher({"ring": [ring_call("one", 2)]}))
    assert {o.words for o in run.outcomes["ring"].values()} == {"is not there: its name is not defined"}


def test_a_notebook_that_ends_only_in_the_ranks(ranked):
    """Which may start fewer processes."""
    gone = "import os, resource\nif resource.getrlimit(resource.RLIMIT_NPROC)[0] < {}: os._exit(0)\n"
    cells = [Cell(RING + RIGHT["double"]), graded("double"), Cell(gone.format(2)), graded("ring")]
    run = ranked.run(cells, Teacher({"ring": [ring_call("one", 3)]}))
    assert not run.outcomes["ring"]["one"].problem  # nobody may start so few
    cells[2] = Cell(gone.format(Limits().processes))
    run = ranked.run(cells, Teacher({"ring": [ring_call("one", 3)]}))
    assert run.problems["ring"] == "The notebook's process ended before this exercise's cell."
    assert run.outcomes["ring"]["one"].problem == "crashed" and is_right(run.outcomes["double"], 2)


HANG = "\ndef ring(x, comm):\n    if comm.rank == 2: {hang}\n    return comm.recv(x.clone(), (comm.rank + 1) % 3)"


@pytest.mark.parametrize("hang", ["time.sleep(60)", "\n        while True: pass", "return pow(7, 10**9) and x"])
def test_a_rank_that_hangs(ranked, hang):
    start = time.monotonic()
    run, outcome = outcome_of(ranked, NEIGHBOURS + HANG.format(hang=hang), seconds=1.0)
    assert outcome.problem == "timeout"
    assert outcome.words == "took too long: rank 2 did not finish; rank 1 waits in recv from 2"
    assert run.problems["ring"] == "A sealed case took longer than this exercise allows."
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("death", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.close(201)"])
def test_a_rank_that_dies(ranked, death):
    source = f"\ndef ring(x, comm):\n    if comm.rank == 0: {death}\n    return comm.recv(x.clone(), 0)"
    start = time.monotonic()
    _, outcome = outcome_of(ranked, NEIGHBOURS + source, seconds=30.0)
    assert (outcome.problem, outcome.words) == ("crashed", "ended the process: rank 0 ended")
    assert time.monotonic() - start < 4


def test_a_rank_that_dies_while_it_waits(ranked):
    source = """
import threading
def ring(x, comm):
    if comm.rank == 1:
        threading.Timer(0.3, os._exit, (0,)).start()
        comm.recv(x.clone(), 0)
    time.sleep(20)
"""
    start = time.monotonic()
    _, outcome = outcome_of(ranked, NEIGHBOURS + source, seconds=30.0)
    assert (outcome.problem, outcome.detail) == ("crashed", "rank 1 ended")
    assert time.monotonic() - start < 4


SWALLOW = """
    try: return comm.recv(x.clone(), (comm.rank + 1) % 3)
    except RuntimeError: return x
"""


@pytest.mark.parametrize(
    "source, words",
    [
        ("return comm.recv(x.clone(), (comm.rank + 1) % 3)", "rank 0 waits in recv from 1, which waits in recv from 2"),
        ("return comm.recv(x.clone(), 0) if comm.rank == 1 else x", "rank 1 waits in recv from 0, which has returned"),
        (SWALLOW, "rank 0 waits in recv from 1, which waits in recv from 2"),
    ],
)
def test_a_deadlock_is_told_at_once_and_costs_only_its_cases(ranked, source, words):
    source = "import torch\ndef ring(x, comm):\n    if comm.world_size == 1: return 2 * x\n    " + source
    teacher = Teacher({"ring": [ring_call(f"{n}", n % 2 * 2 + 1, seconds=20.0) for n in range(6)]})
    start = time.monotonic()
    run = ranked.run([Cell(source), graded("ring")], teacher)
    assert time.monotonic() - start < 6
    for key, outcome in run.outcomes["ring"].items():
        if key[0] in "135":
            assert (outcome.problem, outcome.words) == ("deadlock", f"waits forever: {words}")
        else:
            assert torch.equal(outcome.outputs["rank 0"]["y"], torch.full((5,), 2 * MARK))


def test_a_rank_that_swallows_its_release_and_goes_on_is_ended(ranked):
    source = """
def ring(x, comm):
    while True:
        try: comm.recv(x.clone(), (comm.rank + 1) % 3)
        except BaseException: pass
"""
    start = time.monotonic()
    _, outcome = outcome_of(ranked, source, seconds=60.0)
    assert outcome.problem in ("timeout", "crashed")
    assert time.monotonic() - start < 8


def test_an_exception_is_told_with_its_rank_and_the_others_are_released(ranked):
    source = """
def ring(x, comm):
    if comm.rank == 1:
        raise KeyError('secret %s' % x[0].item())
    return comm.recv(x.clone(), 1)
"""
    run, outcome = outcome_of(ranked, source, seconds=30.0)
    assert (outcome.problem, outcome.words) == ("raised", "raised KeyError on rank 1")
    assert outcome.line == ("<cell 0>", 4)
    assert str(int(MARK)) not in json.dumps([o.detail for o in run.outcomes["ring"].values()])


@pytest.mark.parametrize(
    "source, problem, words",
    [
        ("comm.send(x, 99)", "raised", "raised ValueError on rank 0"),
        ("comm.send(x, 0)", "raised", "raised ValueError on rank 0"),
        ("comm.send(torch.zeros(1 << 28, dtype=torch.int8), 1)", "raised", "raised ValueError on rank 0"),
        ("x.zero_()", "modified", "modified its input `x` on rank 0; work on a copy"),
        ("return object()", "type", "returned a result of a wrong type on rank 0"),
    ],
)
def test_honest_misuse(ranked, source, problem, words):
    _, outcome = outcome_of(ranked, f"import torch\ndef ring(x, comm):\n    if comm.rank == 0: {source}\n    return x")
    assert (outcome.problem, outcome.words) == (problem, words)


def test_cpu_seconds_are_summed_over_the_ranks(ranked, monkeypatch):
    monkeypatch.setattr(ranked, "limits", replace(ranked.limits, cpu_seconds=2.0))
    source = "def ring(x, comm):\n    while True: pass"
    start = time.monotonic()
    run = ranked.run([Cell(source), graded("ring")], Teacher({"ring": [ring_call("one", 4, seconds=30.0)]}))
    assert time.monotonic() - start < 10
    assert run.outcomes["ring"]["one"].problem == "timeout"
    assert 0.5 < run.cpu_seconds < 3


def test_memory_is_summed_over_the_ranks(ranked, monkeypatch):
    monkeypatch.setattr(ranked, "limits", replace(ranked.limits, memory_mib=2048))
    source = "import torch\ndef ring(x, comm):\n    return torch.ones(150 << 20)[: len(x)].clone()"
    assert [outcome_of(ranked, source, size)[1].problem for size in (1, 4)] == ["", "memory"]


def test_what_other_cells_keep_costs_no_rank_its_memory(ranked, monkeypatch):
    """It is there once in the notebook, and once more in each rank, which has a share of the memory only."""
    monkeypatch.setattr(ranked, "limits", replace(ranked.limits, memory_mib=2048))
    kept, teacher = "kept = torch.ones(150 << 20)", Teacher({"ring": [ring_call("one", 4), ring_call("two", 3)]})
    run = ranked.run([Cell("import torch"), Cell(kept), Cell(RING), graded("ring")], teacher)
    assert {o.problem for o in run.outcomes["ring"].values()} == {""} and "ring" not in run.problems
    hungry = RING.replace("y, size = x.clone()", "y, size = x + kept[: len(x)] - 1")
    run = ranked.run([Cell("import torch"), Cell(kept), Cell(hungry), graded("ring")], teacher)
    assert {o.problem for o in run.outcomes["ring"].values()} == {"memory"}, "who needs it has it once a rank"


AS_USER = """
import json, sys
from pathlib import Path
from autograder.sandbox import Cell, Engine
from tests.sandbox.conftest import Teacher, graded
from tests.sandbox.test_sandbox_ranks import RING, ring_call
with Engine(Path(sys.argv[1])) as engine:
    run = engine.run([Cell(RING), graded("ring")], Teacher({"ring": [ring_call("one", 3), ring_call("two", 4)]}))
told = {key: [o.problem, o.outputs and o.outputs["rank 0"]["y"].tolist()] for key, o in run.outcomes["ring"].items()}
print(json.dumps(told))
"""


def test_as_an_ordinary_user(ranked, run_as_ordinary_user):
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{AS_USER}", str(ranked.edition)]
    done = run_as_ordinary_user(command)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    for found in ("", "#alone"):
        assert told["one" + found] == ["", [3 * MARK + 3] * 5] and told["two" + found] == ["", [4 * MARK + 6] * 5]
