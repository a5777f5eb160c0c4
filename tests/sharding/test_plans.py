"""Partition, traffic, prefetch, resharding: by properties and by models that say it themselves."""

import itertools

import pytest
import torch

from mlsys_course.sharding import (
    ShardError,
    flat_padded,
    partition,
    pieces_of,
    prefetch_order,
    reshard,
    shard_size,
    sharded_timeline,
    write_back,
    zero_traffic,
)

SIZES = [[], [0], [5], [3, 1, 4], [1, 0, 9, 2, 6], [2] * 7, [100, 1]]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("sizes", SIZES)
def test_pieces_are_what_a_padded_tensor_is_cut_into(sizes, world_size):
    if not sum(sizes):
        assert partition(sizes, world_size) == [[]] * world_size
        return
    tensors = [torch.full((size,), float(k + 1)) for k, size in enumerate(sizes)]
    for k, tensor in enumerate(tensors):
        tensor += torch.arange(len(tensor)) / 1000
        assert k < len(sizes)
    parts = flat_padded(tensors, world_size).chunk(world_size)
    found = partition(sizes, world_size)
    assert len(found) == world_size
    for rank, pieces in enumerate(found):
        held = torch.cat([torch.zeros(0), *(tensors[k][start:stop] for k, start, stop in pieces)])
        assert torch.equal(parts[rank][: len(held)], held) and not parts[rank][len(held) :].any()
        assert all(start < stop for _, start, stop in pieces)


@pytest.mark.parametrize(("sizes", "world_size"), [([1], 0), ([3, -1], 2)])
def test_what_cannot_be_cut_is_told(sizes, world_size):
    with pytest.raises(ShardError, match=r"world_size=0|no negative"):
        partition(sizes, world_size)


def test_what_was_cut_is_written_back():
    tensors = [torch.randn(2, 3), torch.randn(()), torch.randn(4)]
    target = [torch.empty_like(x) for x in tensors]
    write_back(flat_padded(tensors, 4), target)
    assert all(map(torch.equal, tensors, target))
    assert [p.shape for p in pieces_of(torch.ones(12), [(2, 3), (), (4,)])] == [x.shape for x in tensors]


@pytest.mark.parametrize(("n_layers", "most"), list(itertools.product([0, 1, 2, 3, 7], [1, 2, 3, 9])))
def test_events_keep_the_rules(n_layers, most):
    held, gathers, uses = set(), 0, []
    for kind, layer in prefetch_order(n_layers, most):
        if kind == "gather":
            assert layer not in held
            held.add(layer)
            gathers += 1
        elif kind == "free":
            held.remove(layer)
        else:
            assert layer in held
            uses.append((kind, layer))
        assert len(held) <= most
    assert not held
    forward, backward = [("forward", k) for k in range(n_layers)], []
    for k in reversed(range(n_layers)):
        backward += [("backward", k), ("scatter", k)]
    assert uses == forward + backward
    assert gathers == max(n_layers, 2 * n_layers - most)


def test_two_layers_as_written_on_the_board():
    assert prefetch_order(2, 1) == [
        ("gather", 0), ("forward", 0), ("free", 0), ("gather", 1), ("forward", 1),
        ("backward", 1), ("scatter", 1), ("free", 1), ("gather", 0), ("backward", 0), ("scatter", 0), ("free", 0),
    ]  # fmt: skip
    with pytest.raises(ShardError, match="most=0"):
        prefetch_order(3, 0)


def test_prefetching_hides_sending_behind_computing():
    seconds = {"forward": 2.0, "backward": 4.0, "gather": 1.0, "scatter": 1.0}
    ends = [max(t.end for t in sharded_timeline(prefetch_order(6, most), seconds)) for most in (1, 2, 6)]
    computing = 6 * (2.0 + 4.0)
    assert ends[0] > ends[1] >= ends[2] >= computing + 1
    assert ends[0] >= computing + 11 * 1.0  # nothing is hidden but scatters
    for most in (1, 2, 3):
        timed = sharded_timeline(prefetch_order(6, most), seconds)
        for lane in (("forward", "backward"), ("gather", "scatter")):
            spans = [(t.start, t.end) for t in timed if t.event[0] in lane]
            assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_stages_cost_two_two_and_three_passes(micro_batches):
    n, P = 12_000, 8
    one = (P - 1) / P * n
    found = [zero_traffic(stage, n, P, micro_batches) / one for stage in range(4)]
    assert found == [2, 2, 1 + micro_batches, 3 * micro_batches]
    assert zero_traffic(3, n, 1) == 0 and zero_traffic(1, 7, 4) == 2 * 3 * 2
    for wrong in ({"stage": 4}, {"micro_batches": 0}, {"world_size": 0}):
        with pytest.raises(ShardError):
            zero_traffic(**{"stage": 1, "n": 5, "world_size": 2, **wrong})


@pytest.mark.parametrize("n", [0, 1, 6, 7, 23])
def test_shards_of_every_world_come_from_those_of_every_other(n):
    whole = torch.arange(1.0, n + 1)
    for old, new in itertools.product([1, 2, 3, 5, 30], repeat=2):
        saved = torch.cat([whole, torch.zeros(shard_size(n, old) * old - n)]).view(old, -1)
        wanted = torch.cat([whole, torch.zeros(shard_size(n, new) * new - n)]).view(new, -1)
        for rank in range(new):
            asked: list[int] = []
            found = reshard(lambda k, saved=saved, asked=asked: asked.append(k) or saved[k], n, old, new, rank)
            assert torch.equal(found, wanted[rank])
            assert asked == sorted(set(asked)) and len(asked) <= -(-shard_size(n, new) // (shard_size(n, old) or 1)) + 1


@pytest.mark.parametrize("saved", [torch.ones(3), torch.ones(2, dtype=torch.float64), torch.ones(1, 2)])
def test_another_models_shards_are_told(saved):
    with pytest.raises(ShardError, match="another model's checkpoint"):
        reshard(lambda _: saved, 4, 2, 1, 0)
    with pytest.raises(ShardError, match="rank=3 is none"):
        reshard(lambda _: torch.ones(2), 4, 2, 3, 3)
