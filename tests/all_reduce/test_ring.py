"""The ring against gloo's ``all_reduce`` in real processes, and its traffic against the formula."""

import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys

import pytest
import torch

from mlsys_course.all_reduce import (
    ring_all_reduce,
    ring_all_reduce_,
    ring_reduce_scatter,
    segmented_reduce_scatter,
    segmented_ring,
)
from mlsys_course.desk.check.compare import TOLERANCE
from mlsys_course.substrate.ranks import run_in_threads
from tests.conftest import ROOT

from .gloo_ranks import DTYPES, LENGTHS, given

KINDS = list(itertools.product(DTYPES, LENGTHS))


def segmented(x, comm, segment_bytes=None):
    return ring_all_reduce_(x.clone(), comm, segment_bytes)


RINGS = pytest.mark.parametrize("ring", [ring_all_reduce, segmented])


@RINGS
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_it_is_what_gloo_says_also_over_gloos_own_messages(ring, world_size, tmp_path):
    command = [sys.executable, "-m", "tests.all_reduce.gloo_ranks", str(world_size), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    ranks = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=pipe, text=True, start_new_session=True)
    try:
        _, said = ranks.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(ranks.pid, signal.SIGKILL)  # a rank that hangs must not stay
    assert ranks.returncode == 0, said[-2000:]
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(world_size)]
    for number, (dtype, length) in enumerate(KINDS):
        ours, _ = run_in_threads(lambda comm, n=length, d=dtype: ring(given(comm.rank, n, d), comm), world_size)
        tolerance = TOLERANCE[str(dtype).removeprefix("torch.")]
        for rank in range(world_size):
            gloo, ours_on_gloo = (torch.tensor(values, dtype=torch.float64) for values in told[rank][number])
            assert ours[rank].dtype == dtype and ours[rank].shape == (length,)
            assert torch.allclose(ours[rank].double(), gloo, rtol=tolerance, atol=tolerance)
            assert torch.equal(ours[rank].double(), ours_on_gloo)


@RINGS
@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("length", [0, 1, 5, 8, 1000])
def test_no_rank_sends_more_than_a_ring_must(ring, world_size, length):
    results, traffic = run_in_threads(lambda comm: ring(torch.full((length,), float(comm.rank)), comm), world_size)
    want = torch.full((length,), world_size * (world_size - 1) / 2)
    assert all(torch.equal(result, want) for result in results)
    steps = 2 * (world_size - 1)
    assert traffic.messages_sent == [steps] * world_size
    assert max(traffic.bytes_sent) <= steps * math.ceil(length / world_size) * 4
    assert sum(traffic.bytes_sent) == steps * length * 4  # the least that there is
    assert {(m.receiver - m.sender) % world_size for m in traffic.messages} <= {1}


@RINGS
def test_the_input_stays_and_all_ranks_end_with_the_same_bits(ring):
    inputs = [given(rank, 1001, torch.float32) for rank in range(4)]
    before = [x.clone() for x in inputs]
    results, _ = run_in_threads(lambda comm: ring(inputs[comm.rank], comm), 4)
    assert all(map(torch.equal, inputs, before))
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("reduce_scatter", [ring_reduce_scatter, segmented_reduce_scatter])
def test_after_the_first_half_each_rank_holds_the_sum_of_the_chunk_after_its_own(reduce_scatter):
    def half(comm):
        chunks = torch.full((8,), 10.0**comm.rank).tensor_split(4)
        reduce_scatter(chunks, comm)
        return chunks[(comm.rank + 1) % 4].tolist()

    assert run_in_threads(half, 4)[0] == [[1111.0, 1111.0]] * 4


CALLS = [
    (9, torch.uint8, None),
    (1000, torch.float32, None),
    (7, torch.float64, 16),
    (0, torch.float32, None),
    (999, torch.bfloat16, 64),
]


@pytest.mark.parametrize("world_size", [2, 3])
def test_memory_that_a_call_leaves_serves_the_next_of_any_dtype_and_size(world_size):
    def function(comm):
        with torch.inference_mode():  # what is left is written to outside of it
            segmented(torch.ones(1000), comm)
        (left,) = comm.spare
        for entries, dtype, segment_bytes in CALLS:
            total = segmented(torch.full((entries,), comm.rank + 1.0, dtype=dtype), comm, segment_bytes)
            assert torch.equal(total, torch.full_like(total, world_size * (world_size + 1) / 2))
            assert comm.spare[0] is left
        segmented(torch.ones(5000), comm)
        assert comm.spare[0].nbytes > left.nbytes

    run_in_threads(function, world_size)


def test_no_more_memory_is_left_than_is_said(monkeypatch):
    monkeypatch.setattr(segmented_ring, "MOST_KEPT", 1000)

    def function(comm):
        sizes = []
        for entries in (500, 502, 500):  # of which half lands, 4 bytes each
            segmented(torch.ones(entries), comm)
            sizes.append([room.nbytes for room in comm.spare])
        return sizes

    assert run_in_threads(function, 2)[0][0] == [[1000], [], [1000]]
    assert run_in_threads(lambda comm: (segmented(torch.ones(5), comm), comm.spare)[1], 1)[0] == [[]]
