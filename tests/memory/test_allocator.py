"""``CachingAllocator``: its rules by hand, invariants over random traffic, and PyTorch's allocator on a card."""

import itertools
import multiprocessing
import random

import pytest
import torch

from mlsys_course.memory import CachingAllocator

KB = 1024


def holes(allocator):
    return [segment["largest_hole"] for segment in allocator.segments()]


def test_rounding_splitting_and_a_segment_of_its_own():
    a = CachingAllocator(64 * KB, 8 * KB)
    assert [a.allocate(1), a.allocate(513), a.allocate(512)] == [0, 512, 1536]
    assert (a.in_use, a.reserved, holes(a)) == (2048, 8 * KB, [6 * KB])
    assert a.allocate(9 * KB + 1) == 8 * KB
    assert a.segments()[1] == {"size": 9 * KB + 512, "in_use": 9 * KB + 512, "largest_hole": 0}


def test_the_smallest_hole_that_fits_and_of_equal_ones_the_lowest():
    a = CachingAllocator(64 * KB, 16 * KB)
    sizes = [4, 1, 2, 1, 3, 1, 2, 1, 1]
    places = [a.allocate(size * KB) for size in sizes]
    for n in (0, 2, 4, 6):
        a.free(places[n])
    assert a.allocate(2 * KB) == places[2]
    assert a.allocate(2 * KB) == places[6]
    assert a.allocate(2 * KB) == places[4]
    assert a.allocate(KB) == places[4] + 2 * KB


def test_free_neighbours_become_one_within_a_segment_only():
    a = CachingAllocator(64 * KB, 2 * KB)
    places = [a.allocate(KB) for _ in range(4)]  # two segments, side by side
    for n in (0, 2, 1, 3):
        a.free(places[n])
    assert holes(a) == [2 * KB, 2 * KB] and a.in_use == 0
    assert a.allocate(3 * KB) == 4 * KB


def test_what_is_empty_goes_back_before_the_device_is_full():
    a = CachingAllocator(10 * KB, 4 * KB)
    first, second = a.allocate(4 * KB), a.allocate(KB)
    a.free(first)
    assert a.reserved == 8 * KB
    assert a.allocate(5 * KB) == 8 * KB and a.reserved == 9 * KB
    with pytest.raises(MemoryError, match="4,096 bytes is wanted and the device has 1,024 left"):
        a.allocate(4 * KB)
    assert a.in_use == 6 * KB
    a.free(second)
    assert a.allocate(4 * KB) == 4 * KB


def test_bad_input_changes_nothing():
    a = CachingAllocator(8 * KB, 2 * KB)
    place = a.allocate(600)
    for size in (0, -5):
        with pytest.raises(ValueError, match=f"size={size} bytes"):
            a.allocate(size)
    for address in (place + 1, 1024, 99999):
        with pytest.raises(ValueError, match=f"at address {address}"):
            a.free(address)
    a.free(place)
    with pytest.raises(ValueError, match="freed before"):
        a.free(place)
    assert holes(a) == [2 * KB]


@pytest.mark.parametrize("seed", range(5))
def test_blocks_never_overlap_and_bytes_add_up(seed):
    chance, a, live = random.Random(seed), CachingAllocator(200 * KB, 16 * KB), {}
    for _ in range(400):
        if live and chance.random() < 0.45:
            place = chance.choice(sorted(live))
            a.free(place)
            del live[place]
        else:
            size = chance.randint(1, 20 * KB)
            try:
                live[a.allocate(size)] = -(-size // 512) * 512
            except MemoryError:
                assert a.reserved > 150 * KB
        spans = sorted(live.items())
        assert all(start + size <= after for (start, size), (after, _) in itertools.pairwise(spans))
        assert a.in_use == sum(live.values()) == sum(s["in_use"] for s in a.segments()) <= a.reserved <= 200 * KB
        assert all(s["largest_hole"] <= s["size"] - s["in_use"] for s in a.segments())
    for place in live:
        a.free(place)
    assert all(s["largest_hole"] == s["size"] for s in a.segments())


ASKED = [("a", 8), ("b", 6), ("c", 6), ("-b", 0), ("d", 4), ("-a", 0), ("e", 8), ("-c", 0), ("f", 6)]  # MiB


def in_pytorchs_pool() -> tuple[int, int]:
    """What PyTorch's allocator of large tensors has reserved and handed out, in a process that did nothing else."""
    live: dict[str, torch.Tensor] = {}
    for name, size in ASKED:
        if name.startswith("-"):
            del live[name[1:]]
        else:
            live[name] = torch.empty(size << 20, dtype=torch.uint8, device="cuda")
    stats = torch.cuda.memory_stats()
    return stats["reserved_bytes.large_pool.current"], stats["allocated_bytes.large_pool.current"]


@pytest.mark.gpu
def test_a_cards_own_allocator_splits_and_joins_alike():
    """Large tensors: PyTorch asks for 20 MiB at a time where less than 10 are wanted."""
    MB = 1 << 20
    ours, live = CachingAllocator(1 << 30, 20 * MB, 2 * MB), {}
    for name, size in ASKED:
        if name.startswith("-"):
            ours.free(live.pop(name[1:]))
        else:
            live[name] = ours.allocate(size * MB)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(in_pytorchs_pool) == (ours.reserved, ours.in_use)
