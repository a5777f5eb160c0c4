"""Push and pull: training on servers against one process on the full batch, what goes over the wire, and bad input."""

import itertools
import threading
import time

import pytest
import torch

from mlsys_course.accounting import Exchange, Link, exchange_seconds, loads_of
from mlsys_course.all_reduce import all_reduce_seconds
from mlsys_course.parameter_server import parameter_server_step, shard_keys, train_on_servers
from mlsys_course.substrate.errors import CourseProblem
from mlsys_course.substrate.ranks import Cluster, RankRaised, run, run_in_threads, simulate
from mlsys_course.substrate.ranks import Link as SimulatedLink

WIDTH = 4


def start():
    generator = torch.Generator().manual_seed(3)
    shapes = {"embed": (7, WIDTH), "w": (WIDTH, WIDTH), "empty": (0, 3), "scale": (), "head": (WIDTH, 2)}
    return {key: torch.randn(shape, generator=generator, dtype=torch.float64) for key, shape in shapes.items()}


def gradients(parameters, examples):
    """Of the mean loss over examples."""
    leaves = {key: x.detach().clone().requires_grad_() for key, x in parameters.items()}
    hidden = torch.tanh(leaves["embed"][examples] @ leaves["w"]) * leaves["scale"]
    loss = (hidden @ leaves["head"]).pow(2).sum(1).mean() + leaves["empty"].sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


class Momentum:
    def __init__(self):
        self.memory, self.calls = {}, 0

    def __call__(self, key, parameter, gradient):
        self.calls += 1
        self.memory[key] = 0.9 * self.memory.get(key, torch.zeros_like(gradient)) + gradient
        parameter -= 0.3 * self.memory[key]


BATCHES = torch.randint(0, 7, (5, 24), generator=torch.Generator().manual_seed(4))


def in_one_process():
    parameters, update = start(), Momentum()
    for batch in BATCHES:
        for key, gradient in gradients(parameters, batch).items():
            update(key, parameters[key], gradient)
    return parameters


def train(comm, n_servers):
    """What a rank has after five steps, and how often it has updated."""
    parameters = start()
    if comm.rank:
        parameters = {key: torch.full_like(x, float(comm.rank)) for key, x in parameters.items()}
    owners = shard_keys({key: x.nbytes for key, x in parameters.items()}, n_servers)
    if 0 < comm.rank < n_servers:
        parameters.update({key: x for key, x in start().items() if owners[key] == comm.rank})
    workers, update = comm.world_size - n_servers, Momentum()

    def gradient(step, parameters):
        return gradients(parameters, BATCHES[step].chunk(workers)[comm.rank - n_servers])

    train_on_servers(parameters, gradient, len(BATCHES), owners, n_servers, comm, update)
    return parameters, owners, update.calls


def check_equal_to_one_process(results, n_servers):
    expected = in_one_process()
    for rank, (parameters, owners, calls) in enumerate(results):
        mine = [key for key in parameters if rank >= n_servers or owners[key] == rank]
        for key in mine:
            torch.testing.assert_close(parameters[key], expected[key], rtol=1e-12, atol=1e-12)
        assert calls == (len(mine) * len(BATCHES) if rank < n_servers else 0)


@pytest.mark.parametrize("workers, n_servers", [(1, 1), (2, 1), (3, 2), (4, 3), (2, 7)])
def test_workers_train_as_one_process_on_the_full_batch(workers, n_servers):
    results, _ = run_in_threads(lambda comm: train(comm, n_servers), workers + n_servers)
    check_equal_to_one_process(results, n_servers)


@pytest.mark.parametrize("fair_share", [False, True])
def test_it_does_not_matter_who_comes_first(fair_share):
    found = []
    for seed in range(4):
        cluster = Cluster.flat(SimulatedLink("", 1e-3, 1e5), jitter=1.0, fair_share=fair_share)
        results, _, _ = simulate(slowly, 5, cluster, args=(2,), seed=seed)
        check_equal_to_one_process(results, 2)
        found.append(results[-1][0])
    for one, other in itertools.pairwise(found):
        assert all(torch.equal(one[key], other[key]) for key in one)


def slowly(comm, n_servers):
    comm.compute(0.01)
    return train(comm, n_servers)


def test_processes_do_as_threads_do():
    results = run(train, 3, backend="gloo", args=(1,)).results
    check_equal_to_one_process(results, 1)


def test_only_what_is_needed_goes_over_the_wire():
    sizes = {key: x.nbytes for key, x in start().items()}
    owners = shard_keys(sizes, 2)

    def step(comm):
        own = start()
        grads = {} if comm.rank < 2 else {key: torch.ones_like(x) for key, x in own.items()}
        parameter_server_step(own, grads, owners, 2, comm, lambda key, x, grad: x.sub_(grad))

    _, traffic = run_in_threads(step, 5)
    for rank in (2, 3, 4):
        assert sum(m.bytes for m in traffic.sent_by(rank)) - 8 == sum(sizes.values())  # an empty one says its shape
    for server in (0, 1):
        held = [key for key, owner in owners.items() if owner == server]
        assert [(m.receiver, m.bytes) for m in traffic.sent_by(server)] == [
            (worker, sizes[key] or 8) for key in owners if key in held for worker in (2, 3, 4)
        ]


def test_gradients_of_any_strides():
    def step(comm):
        x = {"w": torch.zeros(3, 4, dtype=torch.float64).t()}
        grad = {"w": torch.arange(12.0, dtype=torch.float64).view(3, 4).t() * comm.rank} if comm.rank else {}
        parameter_server_step(x, grad, {"w": 0}, 1, comm, lambda key, x, grad: x.add_(grad))
        return x["w"]

    for x in run_in_threads(step, 3)[0]:
        assert torch.equal(x, torch.arange(12.0, dtype=torch.float64).view(3, 4).t() * 1.5)


# ---- servers with balanced bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_shards_are_near_the_best_split(seed):
    draw = torch.Generator().manual_seed(seed)
    sizes = {f"k{n}": int(torch.randint(0, 50, (), generator=draw)) for n in range(7)}
    servers = 2 + seed % 3
    owners = shard_keys(sizes, servers)
    assert list(owners) == list(sizes)

    def fullest(split):
        return max(sum(size for size, owner in zip(sizes.values(), split, strict=True) if owner == s)
                   for s in range(servers))  # fmt: skip

    best = min(fullest(split) for split in itertools.product(range(servers), repeat=len(sizes)))
    assert best <= fullest(owners.values()) <= best * (4 / 3 - 1 / (3 * servers)) + 1e-9


# ---- time: the same in the simulator, in lab 7's accounting and in lab 9's model -------------------------------------


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_push_then_pull_take_the_same_time_by_simulator_accounting_and_cost_model(workers):
    entries, bandwidth = 4000, 1e6

    def step(comm):
        x = torch.zeros(entries)
        grad = {"w": x.clone()} if comm.rank else {}
        parameter_server_step({"w": x}, grad, {"w": 0}, 1, comm, lambda key, x, grad: None)

    exchange = Exchange(entries, workers, gradient_itemsize=4, weight_itemsize=4)
    accounted = exchange_seconds(loads_of("parameter-server", exchange), Link("", "", bandwidth, "", 2026))
    modelled = all_reduce_seconds("naive", 4 * entries, workers + 1, 0.0, 1 / bandwidth)
    assert accounted == pytest.approx(modelled) == 2 * workers * 4 * entries / bandwidth
    for fair_share in (False, True):
        cluster = Cluster.flat(SimulatedLink("", 0.0, bandwidth), fair_share=fair_share)
        assert simulate(step, workers + 1, cluster).timeline.seconds == pytest.approx(accounted)


# ---- bad input: a clear error on every rank, soon --------------------------------------------------------------------


def other_shape(comm, own, owners):
    if comm.rank == 2:
        own["w"] = torch.zeros(3, dtype=torch.float64)


def other_dtype(comm, own, owners):
    if comm.rank == 1:
        own["w"] = own["w"].float()


def other_order(comm, own, owners):
    if comm.rank == 2:
        owners["embed"] = owners.pop("embed")


def unknown_key(comm, own, owners):
    if comm.rank == 1:
        owners["extra"] = 0


def no_server(comm, own, owners):
    owners["w"] = 1


def missing_rank(comm, own, owners):
    if comm.rank == 2:
        raise SystemExit("gone")


WRONG = [
    (other_shape, "other keys, shapes"),
    (other_dtype, "shapes, dtypes"),
    (other_order, "in another order"),
    (unknown_key, "unknown key 'extra'|cannot begin"),
    (no_server, "is no server"),
    (missing_rank, "rank 2"),
]


def wrongly(comm, spoil, told):
    """One step with a rank whose input is spoiled; what each rank is told goes into ``told`` where threads share it."""
    own = {key: x for key, x in start().items() if key in ("embed", "w")}
    owners = dict.fromkeys(own, 0)
    try:
        spoil(comm, own, owners)
        train_on_servers(own, lambda step, x: {k: torch.zeros_like(v) for k, v in x.items()}, 1, owners, 1, comm,
                         lambda key, x, grad: None)  # fmt: skip
    except BaseException as error:
        told[comm.rank] = error
        raise


@pytest.mark.parametrize("spoil, words", WRONG)
def test_bad_input_is_told_on_every_rank_and_nobody_hangs(spoil, words):
    told, begun, before = {}, time.perf_counter(), threading.active_count()
    with pytest.raises(CourseProblem, match=words):
        run_in_threads(lambda comm: wrongly(comm, spoil, told), 3, 20)
    assert sorted(told) == [0, 1, 2] and time.perf_counter() - begun < 10
    assert threading.active_count() <= before


@pytest.mark.parametrize("spoil, words", [WRONG[0], WRONG[3]])
def test_bad_input_ends_processes_too(spoil, words):
    begun = time.perf_counter()
    with pytest.raises(CourseProblem, match=words):
        run(wrongly, 3, backend="gloo", args=(spoil, {}), timeout=30)
    assert time.perf_counter() - begun < 25


@pytest.mark.parametrize("gradient, words", [
    (lambda x: {**x, "w": x["w"][:2]}, r"a gradient of shape \(2, 4\)"),
    (lambda x: {**x, "w": x["w"].float()}, "torch.float32"),
    (lambda x: {"embed": x["embed"]}, "no gradient for 'w'"),
    (lambda x: 1 / 0, "ZeroDivisionError"),
])  # fmt: skip
def test_a_gradient_that_does_not_fit_is_told_and_the_others_are_released(gradient, words):
    def work(comm):
        own = {key: x for key, x in start().items() if key in ("embed", "w")}
        spoilt = lambda step, x: gradient(x) if comm.rank == 2 else x  # noqa: E731
        train_on_servers(own, spoilt, 2, dict.fromkeys(own, 0), 1, comm, lambda key, x, grad: None)

    begun = time.perf_counter()
    with pytest.raises(RankRaised, match=words):
        run_in_threads(work, 4, 20)
    assert time.perf_counter() - begun < 10


@pytest.mark.parametrize("world_size, n_servers", [(1, 1), (2, 2), (2, 0)])
def test_a_world_without_workers_or_servers_is_told(world_size, n_servers):
    with pytest.raises(CourseProblem, match="at least one server and leave one worker"):
        run_in_threads(lambda comm: train_on_servers({}, lambda *_: {}, 1, {}, n_servers, comm, lambda *_: None),
                       world_size)  # fmt: skip
