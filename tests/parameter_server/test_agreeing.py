"""Consensus and averages: one order of additions, digests, gossip's matrix, masks that cancel, ADMM's limit."""

import functools
import itertools

import numpy as np
import pytest
import torch
from scipy import linalg

from mlsys_course import parameter_server as P
from mlsys_course.substrate.ranks import run, run_in_threads

INTEGERS = np.random.Generator(np.random.PCG64(8))


def test_the_mean_has_the_same_bits_in_every_order_of_arrival(normal):
    rows = {rank: (normal(100) * 10**rank).float() for rank in range(5)}
    found = [P.fixed_order_mean({rank: rows[rank] for rank in order}) for order in itertools.permutations(rows)]
    assert all(torch.equal(mean, found[0]) for mean in found)
    by_arrival = [functools.reduce(torch.add, [rows[rank] for rank in order]) for order in itertools.permutations(rows)]
    assert not all(torch.equal(mean, by_arrival[0]) for mean in by_arrival)  # which is not so of the order of arrival
    torch.testing.assert_close(found[0], torch.stack(list(rows.values())).double().mean(0).float())


def test_a_digest_tells_every_bit_name_dtype_and_shape():
    state = {"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    same = {"b": state["b"].clone(), "a": torch.zeros(3, 2).T}
    others = [
        {**state, "a": torch.zeros(3, 2)}, {**state, "a": torch.zeros(2, 3).double()}, {**state, "a": -state["a"]},
        {"c": state["a"], "b": state["b"]}, {"a": state["a"]}, {**state, "c": torch.zeros(0)},
        {**state, "b": state["b"] + 2**-7},
    ]  # fmt: skip
    assert P.state_digest(state) == P.state_digest(same)
    assert len({P.state_digest(other) for other in [state, *others]}) == 8


def held(values, comm):
    return P.agree_on_state({"w": torch.full((3,), float(values[comm.rank]))}, comm)


@pytest.mark.parametrize(
    ("values", "differing"),
    [([1, 1, 1], []), ([1, 2, 1, 1], [1]), ([1, 2, 2, 3, 2], [0, 3]), ([5, 4, 4, 5], [1, 2]),
     ([1, 2, 3], [1, 2]), ([7], [])],
)  # fmt: skip
def test_ranks_that_differ_are_named_on_all(values, differing):
    results, traffic = run_in_threads(lambda comm: held(values, comm), len(values))
    assert results == [differing] * len(values)
    assert set(traffic.bytes_sent) == {32 * (len(values) - 1)}


def held_over_gloo(comm):
    return held([3, 4], comm)


def test_over_gloo():
    assert list(run(held_over_gloo, 2, backend="gloo").results) == [[1], [1]]


def states(normal, count, dtype=torch.float32):
    return [{"w": normal(3, 2).to(dtype), "b": normal(2)} for _ in range(count)]


def test_federated_average_is_numpys_weighted_average(normal):
    clients, counts = states(normal, 4), [5, 0, 70, 25]
    found = P.federated_average(clients, counts)
    for name in clients[0]:
        rows = np.stack([client[name].double().numpy() for client in clients])
        np.testing.assert_allclose(found[name].double(), np.average(rows, axis=0, weights=counts), rtol=1e-6)
        assert found[name].dtype == clients[0][name].dtype


def test_one_step_of_full_batches_is_the_step_on_all_examples(normal):
    """McMahan et al.: with one local step FedAvg is FedSGD, whatever the sizes."""
    x, weight = normal(20, 3), normal(3)
    y = normal(20)

    def stepped(rows):
        return weight - 0.1 * x[rows].T @ (x[rows] @ weight - y[rows]) / len(x[rows])

    parts = [slice(0, 3), slice(3, 15), slice(15, 20)]
    found = P.federated_average([{"w": stepped(part)} for part in parts], [3, 12, 5])["w"]
    torch.testing.assert_close(found, stepped(slice(0, 20)))


def test_who_has_nothing_plays_no_part_and_somebody_must_have_something(normal):
    clients = states(normal, 2)
    clients[1]["w"].fill_(float("nan"))
    assert torch.equal(P.federated_average(clients, [3, 0])["w"], clients[0]["w"])
    for counts in ([0, 0], [1], [1, 2, 3]):
        with pytest.raises(ValueError, match="give each a count"):
            P.federated_average(clients, counts)


@pytest.mark.parametrize("node_size", [1, 2, 3, 7])
def test_by_nodes_it_is_the_same_average(normal, node_size):
    clients, counts = states(normal, 7, torch.float64), [3, 0, 9, 1, 0, 0, 4]
    flat, nodes = P.federated_average(clients, counts), P.hierarchical_average(clients, counts, node_size)
    for name in flat:
        torch.testing.assert_close(nodes[name], flat[name])


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_gossip_is_a_doubly_stochastic_matrix_and_goes_to_the_mean(normal, world_size):
    rows = normal(world_size, 4)
    near = linalg.circulant([1, 1, *[0] * (world_size - 3), 1][:world_size])  # of one and two ranks all ones
    matrix = torch.from_numpy(near / near.sum(0))

    def gossip(comm, steps):
        x = rows[comm.rank]
        for _ in range(steps):
            x = P.gossip_step(x, comm)
        return x

    once = torch.stack(run_in_threads(lambda comm: gossip(comm, 1), world_size)[0])
    torch.testing.assert_close(once, matrix @ rows)
    often = torch.stack(run_in_threads(lambda comm: gossip(comm, 80), world_size)[0])
    torch.testing.assert_close(often, rows.mean(0).expand(world_size, -1))


def test_masks_cancel_in_the_sum_and_hide_each_part():
    ranks, n = 4, 2000
    updates = [torch.from_numpy(INTEGERS.integers(-1000, 1000, n)) for _ in range(ranks)]
    pairs = itertools.combinations(range(ranks), 2)
    pair = {both: torch.from_numpy(INTEGERS.integers(0, 1 << 32, n)) for both in pairs}
    sent = []
    for rank in range(ranks):
        masks = {other: pair[min(rank, other), max(rank, other)] for other in range(ranks) if other != rank}
        before = updates[rank].clone()
        sent.append(P.mask_update(updates[rank], rank, masks))
        assert torch.equal(updates[rank], before)
    assert torch.equal(P.unmasked_sum(sent), torch.stack(updates).sum(0))
    for row in sent:
        assert row.min() >= 0 and row.max() < 1 << 32
        assert abs(float(row.double().mean()) / 2**31 - 1) < 0.05  # uniform, whatever the update was
    assert torch.equal(P.mask_update(updates[0], 0, {}), updates[0] % (1 << 32))


def test_admm_comes_to_the_least_squares_solution_of_all_data(normal):
    problems = [(normal(rows, 4), normal(rows)) for rows in (2, 9, 5)]
    x, z, duals = torch.zeros(3, 4).double(), torch.zeros(4).double(), torch.zeros(3, 4).double()
    for _ in range(500):
        x, z, duals = P.admm_step(problems, z, duals, 2.0)
    A, b = (np.concatenate(parts) for parts in zip(*problems, strict=True))
    np.testing.assert_allclose(z, np.linalg.lstsq(A, b)[0], atol=1e-8)
    torch.testing.assert_close(x, z.expand(3, 4), rtol=0, atol=1e-8)


def test_one_admm_step_minimises_what_it_says(normal):
    """The gradient of each rank's own objective is zero at its x."""
    problems = [(normal(rows, 4), normal(rows)) for rows in (3, 6)]
    z, duals = normal(4), normal(2, 4)
    x, new_z, new_duals = P.admm_step(problems, z, duals, 0.7)
    for (A, b), own, dual in zip(problems, x, duals, strict=True):
        own = own.requires_grad_(True)
        objective = 0.5 * (A @ own - b).square().sum() + 0.35 * (own - z + dual).square().sum()
        assert torch.autograd.grad(objective, own)[0].abs().max() < 1e-10
    torch.testing.assert_close(new_z, (x + duals).mean(0))
    torch.testing.assert_close(new_duals, duals + x - new_z)
