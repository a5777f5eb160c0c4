"""Peak memory of calls to ranks: of each rank by itself, from outside, over a bare process with the same inputs."""

import math
from dataclasses import replace

import pytest
import torch

from autograder.sandbox import AGAIN, ALONE, Cell

from .conftest import RIGHT, Teacher, graded, is_right
from .ranked import RING, ring_call

MIB = 1 << 20
HOLDS = """
import torch
def ring(x, comm):
    kept = torch.ones({mib} << 18) if {who} else None
    total = x.clone()
    for rank in range(comm.world_size):
        if rank != comm.rank: comm.send(x, rank)
    for rank in range(comm.world_size):
        if rank != comm.rank: total += comm.recv(torch.empty_like(x), rank)
    return total
"""
BEFORE = "import torch\nballast = torch.ones(40 << 18)\n"
USES_IT = """
def ring(x, comm):
    comm.send(x, 1 - comm.rank)
    return x + comm.recv(torch.empty_like(x), 1 - comm.rank) + 0 * ballast[0]
"""
OTHER_BYTES = """
import time, torch
def ring(x, comm):
    comm.send(torch.tensor([time.time_ns()]), 1 - comm.rank)
    comm.recv(torch.tensor([0]), 1 - comm.rank)
    comm.send(x, 1 - comm.rank)
    return x + comm.recv(torch.empty_like(x), 1 - comm.rank)
"""
OTHERWISE = """
import torch
calls = []
def ring(x, comm):
    calls.append(1)
    if len(calls) > 1: comm.send(x, 1 - comm.rank); return x + comm.recv(torch.empty_like(x), 1 - comm.rank)
    comm.send(x[:2], 1 - comm.rank)
    comm.recv(x[:2].clone(), 1 - comm.rank)
    return x
"""


def is_about(outcome, mib: float) -> bool:
    """Less the code that a bare process touches and a ring does not."""
    return (mib - 12) * MIB < outcome.costs["peak_memory"] < (mib + 3) * MIB


def measured(engine, source: str, world_size: int = 2, others: int = 0):
    """The run, and the costs of one call to ranks whose memory counts, ``others`` before or after it."""
    one = replace(ring_call("one", world_size), measure_memory=True)
    calls = [one, *(ring_call(f"other {n}", world_size) for n in range(others))]
    run = engine.run([Cell(source), graded("ring"), Cell(RIGHT["double"]), graded("double")], Teacher({"ring": calls}))
    assert is_right(run.outcomes["double"], 2)
    return run, run.outcomes["ring"]


def test_what_a_rank_holds_is_read_from_outside(ranked):
    _, outcomes = measured(ranked, RING, 3)
    assert is_about(outcomes["one"], 0)
    assert outcomes["one"].costs["rank_bytes"] > 0 and not outcomes["one" + ALONE].problem
    _, outcomes = measured(ranked, HOLDS.format(mib=40, who=True))
    assert is_about(outcomes["one"], 40)
    key = "one" + AGAIN
    assert is_about(outcomes[key], 40) if key in outcomes else True


@pytest.mark.parametrize("who", ["comm.rank == 0", "comm.rank == comm.world_size - 1"])
def test_the_rank_that_holds_the_most_counts(ranked, who):
    _, outcomes = measured(ranked, HOLDS.format(mib=40, who=who), 3, others=1)
    assert is_about(outcomes["one"], 40)
    assert "peak_memory" not in outcomes["other 0"].costs


def test_what_was_there_before_the_call_counts(ranked):
    _, outcomes = measured(ranked, BEFORE + USES_IT)
    assert is_about(outcomes["one"], 40)


def test_what_other_cells_keep_does_not_count(ranked):
    keeps = Cell("import torch\nunused = torch.ones(60 << 18)")
    one = replace(ring_call("one", 2), measure_memory=True)
    run = ranked.run([keeps, Cell(RING), graded("ring")], Teacher({"ring": [one]}))
    assert is_about(run.outcomes["ring"]["one"], 0)


def test_who_does_otherwise_alone_has_no_known_peak(ranked):
    """It is right from its second call on, and the fresh process sees only one."""
    run, outcomes = measured(ranked, OTHERWISE, others=2)
    right = [key for key, o in outcomes.items() if key.startswith("one") and ALONE not in key and not o.problem]
    peaks = [outcomes[key].costs["peak_memory"] for key in right if torch.equal(*_sums(outcomes[key]))]
    assert all(map(math.isinf, peaks))
    assert not peaks or any("where its memory is measured" in line for line in run.log)


def _sums(outcome):
    return outcome.outputs["rank 0"]["y"], outcome.outputs["rank 1"]["y"]


def test_who_sends_other_bytes_alone_has_no_known_peak(ranked):
    """What the others were told is all that shows whether the work was done."""
    _, outcomes = measured(ranked, OTHER_BYTES)
    assert not outcomes["one"].problem and math.isinf(outcomes["one"].costs["peak_memory"])


def test_a_call_that_raises_is_not_measured(ranked):
    _, outcomes = measured(ranked, "def ring(x, comm):\n    raise ValueError")
    assert outcomes["one"].problem == "raised" and "peak_memory" not in outcomes["one"].costs
