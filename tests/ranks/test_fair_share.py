"""Ports shared by the messages that cross them at once: closed forms, and a fluid poured in small steps."""

import random
import time

import pytest
import torch

from mlsys_course.all_reduce import ring_all_reduce
from mlsys_course.substrate.ranks import Cluster, Deadlock, Link, RankDied, run_in_threads, simulate

LINK = Link("a link", 1e-3, 1e6)
FAIR, IN_TURN = Cluster.flat(LINK, fair_share=True), Cluster.flat(LINK)


def sends(plan, asked=None):
    """Ranks send what ``plan`` says, (sender, receiver, begins at, bytes); when the one that is ``asked`` had left."""

    def function(comm):
        handle = None
        for sender, receiver, begin, size in plan:
            if sender == comm.rank:
                comm.compute(begin - comm.now())
                sent = comm.isend(torch.zeros(size, dtype=torch.uint8), receiver)
                handle = sent if (sender, receiver) == asked else handle
        if handle is not None:
            handle.wait()
        left = comm.now()
        for sender, receiver, _, size in plan:
            if receiver == comm.rank:
                comm.recv(torch.zeros(size, dtype=torch.uint8), sender)
        return left

    return function


def arrivals(plan, world_size, cluster=FAIR):
    """When each message of the plan left its last port, by (sender, receiver): a run for each asks."""
    plan = sorted(plan, key=lambda row: row[2])
    return {row[:2]: simulate(sends(plan, row[:2]), world_size, cluster).results[row[0]] for row in plan}


@pytest.mark.parametrize("workers", [1, 2, 5, 16])
def test_incast_ends_when_the_servers_port_has_served_all(workers):
    plan = [(rank, 0, 0.0, 1000) for rank in range(1, workers + 1)]
    fair, in_turn = (simulate(sends(plan), workers + 1, c) for c in (FAIR, IN_TURN))
    expected = LINK.latency + workers * 1000 / LINK.bandwidth
    assert fair.timeline.seconds == pytest.approx(expected) == in_turn.timeline.seconds
    assert fair.traffic.costs == in_turn.traffic.costs
    # Side by side all come last; one after the other they come one by one.
    assert {round(m.received, 9) for m in fair.traffic.messages} == {round(expected, 9)}


def test_a_small_message_overtakes_a_large_one_of_somebody_else():
    found = arrivals([(1, 0, 0.0, 4000), (2, 0, 1e-3, 500)], 3)
    # One alone for 1 ms, then two at half speed: the small one takes 1 ms, the large one 1 ms more than alone by 0.5.
    assert found == {(1, 0): pytest.approx(4.5e-3), (2, 0): pytest.approx(2e-3)}
    in_turn = arrivals([(1, 0, 0.0, 4000), (2, 0, 1e-3, 500)], 3, IN_TURN)
    assert in_turn[2, 0] == pytest.approx(4.5e-3)


def test_messages_of_one_connection_go_one_after_the_other_and_in_order():
    def function(comm):
        if comm.rank == 0:
            for size in (3000, 100):
                comm.send(torch.zeros(size, dtype=torch.uint8), 1)
            return None
        times = []
        for size in (3000, 100):
            comm.recv(torch.zeros(size, dtype=torch.uint8), 0)
            times.append(comm.now())
        return times

    assert simulate(function, 2, FAIR).results[1] == [pytest.approx(4e-3), pytest.approx(4.1e-3)]


def test_who_cannot_use_its_share_leaves_it_to_the_others():
    # Rank 0 sends to 3 and 4, rank 1 to 3. Rank 0's port and the port into 3 carry two each: all at half speed.
    found = arrivals([(0, 3, 0.0, 1000), (0, 4, 0.0, 1000), (1, 3, 0.0, 2000), (2, 3, 0.0, 1000)], 5)
    # Into 3: three flows at 1/3; rank 0's other one has 2/3. It ends at 1.5 ms; the thirds of 1000 at 3 ms.
    assert found[0, 4] == pytest.approx(1.5e-3) and found[0, 3] == found[2, 3] == pytest.approx(3e-3)
    assert found[1, 3] == pytest.approx(4e-3)


def poured(plan, world_size, step):
    """The same, in small steps of time: in each, rates grow together by a little until a port is full."""
    left = {row: float(row[3]) for row in plan}
    ended, now = {}, 0.0
    while left:
        under_way = [row for row in left if row[2] <= now + step / 2]
        rates = dict.fromkeys(under_way, 0.0)
        grows = set(under_way)
        while grows:
            use = {}
            for (sender, receiver, *_), rate in rates.items():
                for port in (("out", sender), ("in", receiver)):
                    use[port] = use.get(port, 0.0) + rate
            full = {port for port, rate in use.items() if rate >= LINK.bandwidth * 0.99}
            grows = {r for r in grows if ("out", r[0]) not in full and ("in", r[1]) not in full}
            for row in grows:
                rates[row] += LINK.bandwidth / 200
        now += step
        for row in under_way:
            left[row] -= rates[row] * step
            if left[row] <= 0:
                ended[row[:2]] = now
                del left[row]
    return ended


@pytest.mark.parametrize("seed", range(8))
def test_random_plans_are_those_of_a_fluid_poured_in_small_steps(seed):
    draw = random.Random(seed)
    pairs = draw.sample([(a, b) for a in range(4) for b in range(4) if a != b], draw.randint(2, 6))
    plan = [(*pair, draw.randint(0, 20) * 1e-4, draw.randint(1, 10) * 400) for pair in pairs]
    expected, found = poured(plan, 4, 2e-5), arrivals(plan, 4)
    assert found.keys() == expected.keys()
    for pair, end in expected.items():
        end = max(end, *(row[2] for row in plan if row[0] == pair[0]), 0.0)  # it asks when it has sent everything
        assert found[pair] == pytest.approx(end, rel=0.03, abs=4e-5), pair


@pytest.mark.parametrize("world_size", [1, 2, 5, 8])
def test_a_ring_shares_nothing_and_takes_what_it_takes_in_turn(world_size):
    def ring(comm):
        return ring_all_reduce(torch.full((800,), float(comm.rank)), comm)

    fair, in_turn = (simulate(ring, world_size, c, seed=3) for c in (FAIR, IN_TURN))
    assert fair.timeline.seconds == pytest.approx(in_turn.timeline.seconds)
    for ours, theirs in zip(fair.results, run_in_threads(ring, world_size)[0], strict=True):
        assert torch.equal(ours, theirs)


def test_a_core_network_and_nics_are_shared_too():
    def function(comm):
        if comm.rank < 4:
            comm.send(torch.zeros(1000, dtype=torch.uint8), comm.rank + 4)
        else:
            comm.recv(torch.zeros(1000, dtype=torch.uint8), comm.rank - 4)

    for cluster, factor in (
        (Cluster(4, between=LINK, nics=4, fair_share=True), 1),
        (Cluster(4, between=LINK, nics=1, fair_share=True), 4),
        (Cluster(4, between=LINK, nics=4, core=5e5, fair_share=True), 8),
    ):
        assert simulate(function, 8, cluster).timeline.seconds == pytest.approx(1e-3 + factor * 1e-3)


def test_handles_wait_until_the_message_has_left():
    def function(comm):
        if comm.rank:
            handle = comm.isend(torch.zeros(1000, dtype=torch.uint8), 0)
            handle.wait()
            first = comm.now()
            handle.wait()
            return first, comm.now()
        for source in (1, 2):
            comm.recv(torch.zeros(1000, dtype=torch.uint8), source)
        return None

    run = simulate(function, 3, FAIR)
    assert run.results[1] == run.results[2] == (pytest.approx(2e-3), pytest.approx(2e-3))
    (wait,) = run.timeline.of(1, "wait")
    assert (wait.start, wait.end, wait.label) == (0.0, pytest.approx(2e-3), "send")


def test_the_same_seed_plays_the_same_run_and_problems_are_told():
    def function(comm):
        for _ in range(3):
            comm.compute(1e-3)
            ring_all_reduce(torch.ones(50), comm)

    cluster = Cluster.flat(LINK, jitter=0.3, fair_share=True)
    first, second = (simulate(function, 5, cluster, seed=4) for _ in range(2))
    assert list(first.timeline.events) == list(second.timeline.events)
    with pytest.raises(Deadlock, match="rank 0 waits in recv from 1"):
        simulate(lambda comm: comm.recv(torch.zeros(1), 1 - comm.rank), 2, FAIR)
    with pytest.raises(RankDied):
        simulate(function, 3, Cluster.flat(LINK, fair_share=True, fails={1: 1.5e-3}))


def test_a_thousand_workers_at_one_server_are_played_in_seconds():
    def step(comm):
        for _ in range(2):
            if comm.rank:
                comm.compute(1e-3)
                comm.send(torch.zeros(4), 0)
                comm.recv(torch.zeros(4), 0)
                continue
            for worker in range(1, comm.world_size):
                comm.recv(torch.zeros(4), worker)
            for worker in range(1, comm.world_size):
                comm.send(torch.zeros(4), worker)

    begun = time.perf_counter()
    run = simulate(step, 257, Cluster.flat(LINK, fair_share=True, jitter=0.1), scale=100)
    assert sum(run.traffic.bytes_sent) == 2 * 2 * 256 * 16 * 100
    assert time.perf_counter() - begun < 60
