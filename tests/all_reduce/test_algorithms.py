"""Every algorithm of all-reduce, one body of tests: sums, bits, traffic as the model says, and what does not fit."""

import functools
import math

import pytest
import torch

from mlsys_course import all_reduce as A
from mlsys_course.desk.check.compare import TOLERANCE
from mlsys_course.substrate.ranks import RankRaised, run_in_threads

from .gloo_ranks import given

OTHERS = {
    "plain ring": A.ring_all_reduce,
    "segmented ring": functools.partial(A.ring_all_reduce_, segment_bytes=16),
    "halving_doubling, not in place": A.halving_doubling_all_reduce,
}
KINDS = [*A.ALGORITHMS, *OTHERS]
WORLDS = [1, 2, 3, 4, 5, 6, 8]


def algorithm(name: str):
    return {**A.ALGORITHMS, **OTHERS}[name]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("world_size", WORLDS)
def test_every_rank_ends_with_the_same_bits_of_the_sum(name, world_size):
    for length in (0, 1, 5, 8, 67):
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.int64):
            inputs = [(given(rank, length, torch.float64) * 8).to(dtype) for rank in range(world_size)]
            found, _ = run_in_threads(lambda comm, x=inputs: algorithm(name)(x[comm.rank].clone(), comm), world_size)
            want = torch.stack([x.double() for x in inputs]).sum(0)
            tolerance = 8 * TOLERANCE.get(str(dtype).removeprefix("torch."), 0.0)
            assert torch.allclose(found[0].double(), want, rtol=tolerance, atol=tolerance)
            assert all(torch.equal(x, found[0]) and x.dtype == dtype for x in found)


@pytest.mark.parametrize("name", [*A.ALGORITHMS, "plain ring"])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 8])
def test_bytes_and_messages_are_the_models(name, world_size):
    length = 48  # all these worlds divide it
    _, traffic = run_in_threads(lambda comm: algorithm(name)(torch.ones(length), comm), world_size)
    cost, n_bytes = A.cost(name.removeprefix("plain "), world_size), 4 * length
    busiest, most = max(traffic.bytes_sent), max(traffic.messages_sent)
    if name in ("ring", "plain ring"):
        assert (busiest, most) == (cost.volume * n_bytes, cost.steps)
    elif name == "naive":  # half of the steps the root receives in
        assert (busiest, most) == (cost.volume * n_bytes / 2 if world_size > 1 else 0, cost.steps // 2)
    elif name == "tree":
        assert sum(traffic.messages_sent) == 2 * (world_size - 1) and most <= cost.steps
    else:  # of the two steps that a fold adds, one is a receive
        fold = world_size not in (1, 2, 4, 8)
        assert (busiest, most) == ((cost.volume - fold) * n_bytes, cost.steps - fold)


@pytest.mark.parametrize("node_size, world_size", [(1, 3), (2, 4), (2, 6), (4, 8), (3, 3)])
def test_hierarchical_sums_and_spares_the_slow_link(node_size, world_size):
    length = 120
    inputs = [given(rank, length, torch.float64) for rank in range(world_size)]

    def work(comm):
        return A.hierarchical_all_reduce(inputs[comm.rank], comm, node_size)

    want = torch.stack(inputs).sum(0)
    found, traffic = run_in_threads(work, world_size)
    assert torch.equal(torch.stack(inputs).sum(0), want)  # what was given stays
    assert all(torch.allclose(x, want) and torch.equal(x, found[0]) for x in found)
    nodes = world_size // node_size
    for rank in range(world_size):
        off = sum(m.bytes for m in traffic.sent_by(rank) if m.receiver // node_size != rank // node_size)
        assert off == pytest.approx(2 * (nodes - 1) / nodes * length / node_size * 8)


def test_segments_bound_a_message_and_keep_the_bytes():
    inputs = [given(rank, 101, torch.float64) for rank in range(3)]

    def in_segments(comm, segment_bytes=80):
        return A.ring_all_reduce_(inputs[comm.rank].clone(), comm, segment_bytes)

    whole, plain = run_in_threads(lambda comm: A.ring_all_reduce(inputs[comm.rank], comm), 3)
    found, traffic = run_in_threads(in_segments, 3)
    assert all(map(torch.equal, whole, found))
    assert max(m.bytes for m in traffic.messages) == 80 < max(m.bytes for m in plain.messages)
    assert traffic.bytes_sent == plain.bytes_sent
    with pytest.raises(RankRaised, match="segment_bytes=4 is less than one entry of 8 bytes"):
        run_in_threads(lambda comm: in_segments(comm, 4), 3)


@pytest.mark.parametrize("name", A.ALGORITHMS)
def test_any_shape_and_strides_in_place_or_not_sum_or_mean(name):
    inputs = [given(rank, 24, torch.float64).view(4, 6).t() for rank in range(3)]
    assert not inputs[0].is_contiguous()

    def work(comm):
        x = inputs[comm.rank].clone(memory_format=torch.preserve_format)
        kept = x.clone()
        total, mean = A.all_reduce(x, comm, "sum", name), A.all_reduce(x, comm, "mean", name)
        assert torch.equal(x, kept)
        assert A.all_reduce_(x, comm, "sum", name) is x
        return total, mean, x

    found, _ = run_in_threads(work, 3)
    want = torch.stack(inputs).sum(0)
    for total, mean, written in found:
        assert torch.allclose(total, want) and torch.allclose(mean, want / 3) and torch.equal(written, total)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda comm: A.all_reduce(torch.ones(2), comm, "sum", "star"), "no algorithm 'star'; there are naive, ring"),
        (lambda comm: A.all_reduce(torch.ones(2), comm, "max"), "op='max'; it is 'sum' or 'mean'"),  # pyright: ignore
        (lambda comm: A.all_reduce(torch.ones(2).int(), comm, "mean"), "no mean of torch.int32"),
        (lambda comm: A.hierarchical_all_reduce_(torch.ones(2), comm, 2), "node_size=2 does not divide 3 ranks"),
        (lambda comm: A.all_reduce(torch.ones(6 + comm.rank // 2), comm), r"of shape \(\d,\)"),
    ],
)
def test_what_does_not_fit_is_an_error(call, words):
    with pytest.raises(RankRaised, match=words):
        run_in_threads(call, 3)


# ---- the model of what it costs --------------------------------------------------------------------------------------


def test_costs_of_a_world_of_one_are_nothing_and_bad_names_are_told():
    assert all(A.all_reduce_seconds(name, 1e6, 1, 1e-5, 1e-9) == 0 for name in A.ALGORITHMS)
    with pytest.raises(A.CollectiveError, match="no cost of 'star'"):
        A.cost("star", 2)
    with pytest.raises(A.CollectiveError, match="world_size=0"):
        A.cost("ring", 0)


@pytest.mark.parametrize("world_size", [4, 5, 8, 17, 64])
def test_at_the_crossover_both_take_equally_long(world_size):
    alpha, beta = 2e-5, 1e-9
    n = A.crossover_bytes("tree", "ring", world_size, alpha, beta)
    tree, ring = (A.all_reduce_seconds(name, n, world_size, alpha, beta) for name in ("tree", "ring"))
    assert tree == pytest.approx(ring) and 0 < n < math.inf
    ring_twice = A.all_reduce_seconds("ring", 2 * n, world_size, alpha, beta)
    assert ring_twice < A.all_reduce_seconds("tree", 2 * n, world_size, alpha, beta)


def test_where_one_is_always_better_there_is_no_crossover():
    assert A.crossover_bytes("tree", "halving_doubling", 8, 1e-5, 1e-9) == 0.0
    assert A.crossover_bytes("ring", "naive", 8, 1e-5, 1e-9) == math.inf
    assert A.crossover_bytes("halving_doubling", "ring", 8, 1e-5, 1e-9) == math.inf


def test_the_fit_finds_the_link_that_made_the_times():
    sizes = [float(2**k) for k in range(8, 24)]
    alpha, beta = A.fitted(sizes, [3e-5 + 4e-10 * n for n in sizes])
    assert (alpha, beta) == pytest.approx((3e-5, 4e-10))
    with pytest.raises(A.CollectiveError, match="two sizes"):
        A.fitted([1.0, 1.0], [1.0, 1.0])


# ---- the schedule ----------------------------------------------------------------------------------------------------


def test_three_layers_by_hand():
    """Backward of layers 3, 2, 1 takes 2, 3, 1; their all-reduces 4, 1, 2."""
    found = A.overlap_schedule([1, 3, 2], [4, 1, 2], [[2], [1], [0]])
    assert A.backward_spans([1, 3, 2]) == [(5, 6), (2, 5), (0, 2)]
    assert found.spans == [(2, 6), (6, 7), (7, 9)] and found.end == 9 and found.utilisation == pytest.approx(6 / 9)
    waits = A.overlap_schedule([1, 3, 2], [4, 1, 2], [[2], [1], [0]], overlap=False)
    assert waits.spans == [(6, 10), (10, 11), (11, 13)] and waits.utilisation == pytest.approx(6 / 13)
    assert A.overlap_schedule([1, 3, 2], [5], [[2, 1, 0]]).spans == [(6, 11)]
    assert A.overlap_schedule([], [], []).utilisation == 1.0


@pytest.mark.parametrize(("sizes", "seconds", "want"), [
    ([1.0, 10.0, 100.0], [3.0, 12.0, 102.0], (2.0, 1.0)),
    ([1.0, 1e6], [5.0, 1.0], (None, 0.0)),  # the larger was faster: bytes cost nothing
    ([1.0, 2.0], [1.0, 9.0], (0.0, None)),  # a line through these begins below zero
])  # fmt: skip
def test_a_fit_is_the_best_that_is_not_below_zero(sizes, seconds, want):
    """No other pair near it has smaller relative errors, and from it sizes of a crossover are found."""

    def error(alpha, beta):
        return sum(((alpha + beta * m) / s - 1) ** 2 for m, s in zip(sizes, seconds, strict=True))

    alpha, beta = A.fitted(sizes, seconds)
    assert min(alpha, beta) >= 0
    for found, wanted in zip((alpha, beta), want, strict=True):
        assert wanted is None or found == pytest.approx(wanted)
    for by in (0.999, 1.001):
        assert error(alpha * by, beta) >= error(alpha, beta) <= error(alpha, beta * by)
        assert error(alpha, beta) <= min(error(alpha + 1e-6, beta), error(alpha, beta + 1e-9)) + 1e-12
    assert A.crossover_bytes("tree", "ring", 8, alpha, beta) >= 0


def test_a_crossover_where_something_is_free():
    assert A.crossover_bytes("tree", "ring", 8, 1e-6, 0.0) == math.inf  # only steps count
    assert A.crossover_bytes("tree", "ring", 8, 0.0, 1e-9) == 0  # only bytes count
    assert A.crossover_bytes("tree", "ring", 8, 0.0, 0.0) == 0  # both take no time
