"""Ranks with a card each."""

import time

import pytest
import torch
import torch.distributed as dist

from mlsys_course.all_reduce import DistributedDataParallel, ring_all_reduce
from mlsys_course.substrate.ranks import Mismatch, RankDied, RankRaised, RanksLate, run

pytestmark = pytest.mark.gpu(2)


def sums(comm, lengths, dtypes):
    """Our ring's sum and NCCL's, for each length and dtype."""
    found = []
    for dtype in dtypes:
        for length in lengths:
            x = torch.arange(length, device=comm.device).add(comm.rank).to(dtype)
            total = x.clone()
            dist.all_reduce(total)
            found.append((ring_all_reduce(x, comm).cpu(), total.cpu()))
    return found


def test_a_ring_over_point_to_point_sums_what_nccl_sums():
    dtypes = (torch.float32, torch.float64, torch.bfloat16, torch.int64)
    results, traffic, timeline = run(sums, 2, args=((0, 1, 2, 7, 100_000), dtypes))
    for ours, theirs in results[0] + results[1]:
        torch.testing.assert_close(ours, theirs)
    assert traffic.messages_sent == [2 * 5 * 4] * 2 and timeline.seconds > 0


def everybody_sends_first(comm):
    x = torch.full((1 << 24,), float(comm.rank), device=comm.device)
    comm.send(x, 1 - comm.rank)
    x.zero_()  # what was sent is a copy
    first = comm.recv(torch.empty_like(x), 1 - comm.rank)
    handles = [comm.isend(first, 1 - comm.rank), comm.irecv(torch.empty_like(x), 1 - comm.rank)]
    return [handle.wait()[-1].item() for handle in handles[1:]] + [first[0].item()]


def test_sending_first_on_both_sides_is_no_deadlock():
    assert run(everybody_sends_first, 2).results == [[0.0, 1.0], [1.0, 0.0]]


def strided_and_odd_dtypes(comm):
    other, found = 1 - comm.rank, []
    for dtype in (torch.bool, torch.complex64, torch.float16, torch.int8):
        buffer = torch.zeros(6, 4, dtype=dtype, device=comm.device).T
        sending = comm.isend(torch.ones(6, 4, dtype=dtype, device=comm.device).T, other)
        comm.recv(buffer, other)
        sending.wait()
        found.append(bool((buffer == 1).all()))
    return found


def test_views_and_other_dtypes_travel():
    assert run(strided_and_odd_dtypes, 2).results == [[True] * 4] * 2


def averages_between(comm, steps):
    """One weight, whose gradient is 5 (r + 1); the mean loss is asked for between backward and ``finish``."""
    model = torch.nn.Linear(1, 1, bias=False).to(comm.device)
    torch.nn.init.ones_(model.weight)
    replica, found = DistributedDataParallel(model, comm), []
    for _ in range(steps):
        model.zero_grad()
        loss = (replica(torch.full((1, 1), comm.rank + 1.0, device=comm.device)) * 5).sum()
        loss.backward()
        mean = ring_all_reduce(loss.detach()[None], comm) / comm.world_size
        replica.finish()
        found.append((float(mean), model.weight.grad.item()))
    return found


def test_the_caller_may_communicate_between_backward_and_finish():
    assert run(averages_between, 2, args=(200,)).results == [[(7.5, 7.5)] * 200] * 2


def test_tensors_of_the_wrong_device_are_named():
    with pytest.raises(RankRaised, match=r"a tensor on cpu: its messages are on cuda:[01].*device=comm\.device"):
        run(lambda comm: comm.send(torch.ones(1), 1 - comm.rank), 2)


@pytest.mark.parametrize(
    "ends, problem",
    [
        (lambda comm: comm.recv(torch.ones(3 + comm.rank, device=comm.device), 1 - comm.rank).sum().item()
         if comm.send(torch.ones(3, device=comm.device), 1 - comm.rank) is None else 0, Mismatch),
        (lambda comm: comm.recv(torch.ones(1, device=comm.device), 1 - comm.rank).item(), RanksLate),
        (lambda comm: 1 // comm.rank or comm.recv(torch.ones(1, device=comm.device), 0).item(), RankRaised),
    ],
)  # fmt: skip
def test_what_cannot_end_well_ends_soon(ends, problem):
    start = time.monotonic()
    with pytest.raises(problem):
        run(ends, 2, timeout=20)
    assert time.monotonic() - start < 60


def dies(comm):
    import os

    if comm.rank:
        os._exit(3)
    return comm.recv(torch.ones(1, device=comm.device), 1).item()


def test_a_rank_that_dies_ends_the_run():
    with pytest.raises(RankDied, match=r"rank 1 died \(exit code 3\)"):
        run(dies, 2)


def test_with_more_ranks_than_cards_gloo_is_taken():
    ranks = torch.cuda.device_count() + 1
    assert run(lambda comm: str(comm.device), ranks).results == ["cpu"] * ranks
