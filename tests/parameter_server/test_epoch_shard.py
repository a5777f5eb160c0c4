"""Shares of an epoch: against PyTorch's sampler, and what must hold whatever the order is."""

import itertools

import pytest
import torch
from torch.utils.data import DistributedSampler, TensorDataset

from mlsys_course.parameter_server import DataError, epoch_shard


@pytest.mark.parametrize("n_examples, world_size", [(12, 3), (8, 1), (40, 8), (13, 4), (3, 5), (101, 7)])
def test_the_order_is_that_of_pytorchs_sampler(n_examples, world_size):
    for rank, epoch in itertools.product(range(world_size), (0, 1, 5)):
        sampler = DistributedSampler(TensorDataset(torch.zeros(n_examples)), world_size, rank, seed=11)
        sampler.set_epoch(epoch)
        theirs, ours = list(sampler), epoch_shard(n_examples, rank, world_size, epoch, 11).tolist()
        # Theirs repeats the first examples until all shares are alike: ours is theirs without the repeats.
        assert theirs[: len(ours)] == ours and len(theirs) - len(ours) in (0, 1)
        assert len(theirs) == len(ours) or n_examples % world_size


@pytest.mark.parametrize("n_examples, world_size, done", [(0, 3, 0), (10, 3, 0), (10, 3, 4), (10, 4, 10), (2, 5, 1)])
def test_ranks_share_what_is_left_without_overlap(n_examples, world_size, done):
    order = epoch_shard(n_examples, 0, 1, 2, 3)
    shares = [epoch_shard(n_examples, rank, world_size, 2, 3, done) for rank in range(world_size)]
    assert sorted(torch.cat(shares).tolist()) == sorted(order[done:].tolist())
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)
    assert all(share.dtype == torch.int64 for share in shares)


@pytest.mark.parametrize("before, after", [(4, 4), (4, 3), (2, 5), (1, 8)])
def test_an_epoch_that_goes_on_elsewhere_sees_every_example_once(before, after):
    n_examples, steps = 23, 3
    seen = [epoch_shard(n_examples, rank, before, 1, 7)[:steps] for rank in range(before)]
    done = sum(len(part) for part in seen)
    rest = [epoch_shard(n_examples, rank, after, 1, 7, done) for rank in range(after)]
    assert sorted(torch.cat([*seen, *rest]).tolist()) == list(range(n_examples))


def test_epochs_differ_and_can_be_had_again():
    epochs = [epoch_shard(50, 1, 2, epoch, 5).tolist() for epoch in range(4)]
    assert len({tuple(e) for e in epochs}) == 4 and len({frozenset(e) for e in epochs}) == 4
    torch.manual_seed(99)
    assert epochs[2] == epoch_shard(50, 1, 2, 2, 5).tolist()


def test_the_generator_of_everybody_else_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    epoch_shard(10, 0, 2)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("wrong", [{"rank": 2}, {"rank": -1}, {"world_size": 0}, {"done": 11}, {"done": -1}])
def test_what_cannot_be_is_told(wrong):
    with pytest.raises(DataError, match=r"rank=|done="):
        epoch_shard(**{"n_examples": 10, "rank": 0, "world_size": 2, **wrong})
