"""Each collective against what it must come to, computed in one process; and its messages against theory."""

import math

import pytest
import torch

from mlsys_course import all_reduce as A
from mlsys_course.substrate.ranks import RankRaised, Traffic, run_in_threads

from .gloo_ranks import given

WORLDS = [1, 2, 3, 4, 5, 7, 8]


def levels(world_size: int) -> int:
    return math.ceil(math.log2(world_size))


@pytest.mark.parametrize("world_size", WORLDS)
def test_broadcast_and_reduce_are_trees_from_and_to_any_root(world_size):
    inputs = [given(rank, 6, torch.float64) for rank in range(world_size)]
    for root in {0, world_size // 2, world_size - 1}:

        def both(comm, root=root):
            return A.broadcast(inputs[comm.rank].clone(), comm, root), A.reduce(inputs[comm.rank], comm, root)

        found, traffic = run_in_threads(both, world_size)
        for rank, (copy, total) in enumerate(found):
            assert torch.equal(copy, inputs[root])
            if rank == root:
                assert torch.allclose(total, torch.stack(inputs).sum(0))
            else:
                assert total is None
        assert len(traffic.messages) == 2 * (world_size - 1)
        assert max(traffic.messages_sent) == levels(world_size)  # nobody waits for more than that many


@pytest.mark.parametrize("world_size", WORLDS)
def test_scatter_gather_and_all_gather(world_size):
    inputs = [given(rank, 4, torch.float32) for rank in range(world_size)]
    root = world_size - 1

    def work(comm):
        mine = inputs[comm.rank]
        piece = A.scatter([x * 2 for x in inputs] if comm.rank == root else None, torch.empty(4), comm, root)
        return piece, A.gather(mine, comm, root), A.all_gather(mine, comm)

    found, traffic = run_in_threads(work, world_size)
    for rank, (piece, gathered, everywhere) in enumerate(found):
        assert torch.equal(piece, inputs[rank] * 2)
        assert torch.equal(torch.stack(everywhere), torch.stack(inputs))
        assert gathered is None if rank != root else torch.equal(torch.stack(gathered), torch.stack(inputs))
    others = world_size - 1
    assert traffic.messages_sent == [others + (others if rank == root else 1) for rank in range(world_size)]


@pytest.mark.parametrize("world_size", WORLDS)
@pytest.mark.parametrize("length", [0, 3, 16, 17])
def test_reduce_scatter_leaves_each_rank_its_own_chunk_for_half_a_rings_bytes(world_size, length):
    inputs = [given(rank, length, torch.float64) for rank in range(world_size)]
    found, traffic = run_in_threads(lambda comm: A.reduce_scatter(inputs[comm.rank], comm), world_size)
    for chunk, want in zip(found, torch.stack(inputs).sum(0).tensor_split(world_size), strict=True):
        assert torch.allclose(chunk, want)
    assert sum(traffic.bytes_sent) == (world_size - 1) * length * 8
    assert traffic.messages_sent == [world_size - 1] * world_size


@pytest.mark.parametrize("world_size", WORLDS)
def test_all_to_all_is_a_transpose_also_of_uneven_chunks(world_size):
    def work(comm):
        chunks = [torch.full((10 * comm.rank + to + 1,), 100.0 * comm.rank + to) for to in range(world_size)]
        buffers = [torch.empty(10 * source + comm.rank + 1) for source in range(world_size)]
        return A.all_to_all(chunks, comm, buffers)

    found, traffic = run_in_threads(work, world_size)
    for rank, arrived in enumerate(found):
        assert [x.tolist() for x in arrived] == [
            [100.0 * source + rank] * (10 * source + rank + 1) for source in range(world_size)
        ]
    assert traffic.messages_sent == [world_size - 1] * world_size


@pytest.mark.parametrize("world_size", WORLDS)
def test_nobody_leaves_a_barrier_before_the_last_has_come(world_size):
    for late in range(world_size):
        came, left = [], []

        def work(comm, late=late, came=came, left=left):
            if comm.rank == late and world_size > 1:
                while len(came) < world_size - 1:  # all others have come, and wait
                    pass
            came.append(comm.rank)
            A.barrier(comm)
            left.append(len(came))

        _, traffic = run_in_threads(work, world_size)
        assert left == [world_size] * world_size
        assert traffic.messages_sent == [levels(world_size)] * world_size


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda comm: A.broadcast(torch.ones(2), comm, 3), "root=3 is no rank; ranks are 0 to 1"),
        (lambda comm: A.reduce(torch.ones(2), comm, -1), "root=-1 is no rank"),
        (lambda comm: A.all_to_all([torch.ones(2)], comm), "1 chunks for 2 ranks; give one for each rank"),
        (lambda comm: A.scatter(None, torch.ones(2), comm) if comm.rank == 0 else None, "none chunks for 2 ranks"),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_do(call, words):
    with pytest.raises(RankRaised, match=words):
        run_in_threads(call, 2)


def test_a_shape_that_differs_between_ranks_is_named():
    with pytest.raises(RankRaised, match=r"of shape \(3,\)"):
        run_in_threads(lambda comm: A.broadcast(torch.ones(2 + comm.rank), comm), 2)


def sent(traffic: Traffic) -> list[tuple[int, int]]:
    return [(m.sender, m.receiver) for m in traffic.messages]


def test_the_tree_doubles_those_who_have_it_in_each_step():
    _, traffic = run_in_threads(lambda comm: A.broadcast(torch.ones(1), comm), 8)
    assert sent(traffic) == [(0, 4), (0, 2), (0, 1), (2, 3), (4, 6), (4, 5), (6, 7)]
