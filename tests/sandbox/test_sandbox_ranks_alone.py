"""Ranks run once more, each alone: what came by another way than messages earns nothing, and nothing honest pays."""

import random
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch

from autograder.sandbox import AGAIN, ALONE, Call, Cell, alone
from mlsys_course.desk.check import Outcome, encode

from .conftest import Teacher, graded
from .holes import LOCKS, NETWORK, WATCHES, leaky
from .ranked import RING

NAMES = "import os, random, time, numpy as np, torch\n"


def drawn(world_size: int, length: int = 5) -> list[torch.Tensor]:
    """What no rank can know of another: whole numbers from 1 to 15."""
    return [torch.full((length,), float(random.randint(1, 15))) for _ in range(world_size)]


def call_of(key: str, inputs: Sequence[torch.Tensor], seconds: float = 4.0) -> Call:
    return Call(key, seconds=seconds, inputs=b"", ranks=[encode({"x": x}) for x in inputs])


def asked(engine, source: str, inputs: Mapping[str, Sequence[torch.Tensor]], teacher: type[Teacher] = Teacher):
    """The run, and by call the outcomes among the others and alone."""
    given = {"ring": [call_of(key, own) for key, own in inputs.items()]}
    run = engine.run([Cell(NAMES + source), graded("ring")], teacher(given))
    outcomes = run.outcomes["ring"]
    return run, {key: (outcome, outcomes.get(key + ALONE)) for key, outcome in outcomes.items() if ALONE not in key}


def is_sum(outcome: Outcome, inputs: Sequence[torch.Tensor]) -> bool:
    return not outcome.problem and all(torch.equal(by["y"], sum(inputs)) for by in outcome.outputs.values())


def assert_all_pass(engine, source: str, sizes: Sequence[int] = (3, 2, 4)) -> None:
    inputs = {f"{size} ranks": drawn(size) for size in sizes}
    run, found = asked(engine, source, inputs)
    assert len(found) == len(sizes) + 1
    for key, (among, by_itself) in found.items():
        own = inputs[key.removesuffix(AGAIN)]
        assert is_sum(among, own), (key, among)
        assert by_itself and is_sum(by_itself, own) and not by_itself.detail, (key, by_itself, run.log)
    assert not run.log and not run.problems


# Right, and each in a way of its own.
STAR = """
def ring(x, comm):
    {first}
    others = [rank for rank in range(comm.world_size) if rank != comm.rank]
    arriving = {{rank: comm.irecv(torch.empty_like(x), rank) for rank in {asked}(others)}}
    for rank in others: comm.isend(x, rank).wait()
    total = x.clone()
    for rank in {waited}(others): total += arriving[rank].wait()
    {last}
    return total
"""
TOKEN = "[comm.send({token}, rank) for rank in others]; [comm.recv({buffer}, rank) for rank in others]"
LEADER = """
def ring(x, comm):
    "Rank 0 draws the order in which entries go round, and tells it."
    order = torch.tensor({order})
    for rank in range(1, comm.world_size):
        if comm.rank == 0: comm.send(order, rank)
        elif comm.rank == rank: comm.recv(order, 0)
    total = x.clone()
    for place in order.tolist():
        for rank in range(comm.world_size):
            if rank != comm.rank: comm.send(x[place : place + 1], rank)
        for rank in range(comm.world_size):
            if rank != comm.rank: total[place] += comm.recv(x[:1].clone(), rank)[0]
    return total
"""
KEEPS = """
known, calls = {}, []
def ring(x, comm):
    "Neighbours are asked for their names in the first call only, and buffers are kept."
    left, right = (comm.rank - 1) % comm.world_size, (comm.rank + 1) % comm.world_size
    if comm.world_size not in known:
        comm.send(torch.tensor([comm.rank]), right)
        known[comm.world_size] = int(comm.recv(torch.tensor([0]), left)), torch.empty_like(x)
    source, buffer = known[comm.world_size]
    calls.append(comm.world_size)
    if calls.count(comm.world_size) == 2: comm.send(x.sum(), right), comm.recv(x.sum(), left)
    total, moving = x.clone(), x
    for _ in range(comm.world_size - 1):
        comm.send(moving, right)
        moving = comm.recv(buffer, source).clone()
        total += moving
    return total
"""
STAMPS = """
def ring(x, comm):
    "The ring of right sums, and beside it the latest time and the largest process number, which nobody uses."
    left, right = (comm.rank - 1) % comm.world_size, (comm.rank + 1) % comm.world_size
    stamp = torch.tensor([time.time(), os.getpid()], dtype=torch.float64)
    for _ in range(comm.world_size - 1):
        comm.send(stamp, right)
        stamp = torch.maximum(stamp, comm.recv(torch.empty_like(stamp), left))
    print("done at", stamp)
    total, moving = x.clone(), x
    for _ in range(comm.world_size - 1):
        comm.send(moving, right)
        moving = comm.recv(torch.empty_like(x), left)
        total += moving
    return total
"""
UNSEEN = (
    "exec('def helper(y): return y.clone()')\nglobals()['he' + 'lps'] = helper"  # which cells reach it, no text shows
)
HONEST = {
    "a ring": RING,
    "receives asked for before anything is sent": STAR.format(first="", asked="list", waited="reversed", last=""),
    "waits in another order": STAR.format(first="", asked="reversed", waited="sorted", last=""),
    "draws for nothing": STAR.format(
        first="torch.rand(3), random.random(), np.random.rand(2), os.urandom(4)", asked="list", waited="list", last=""
    ),
    "sleeps and looks at clocks": STAR.format(
        first="start = comm.now(); time.sleep(0.01 * random.random())", asked="list", waited="list",
        last="print(time.time() - start)",
    ),
    "a token of the time": STAR.format(
        first="", asked="list", waited="list",
        last=TOKEN.format(token="torch.tensor([time.time_ns()])", buffer="torch.tensor([0])"),
    ),
    "a token that nobody wrote to": STAR.format(
        first="torch.full((4096,), random.random()).tolist()", asked="list", waited="list",
        last=TOKEN.format(token="torch.empty(512)", buffer="torch.empty(512)"),
    ),
    "a token of noise": STAR.format(
        first="", asked="list", waited="list",
        last=TOKEN.format(token="torch.tensor(list(os.urandom(8)))", buffer="torch.zeros(8).long()"),
    ),
    "the latest time": STAMPS,
    "an order drawn by torch": LEADER.format(order="torch.randperm(len(x)).tolist()"),
    "an order drawn by Python": LEADER.format(order="random.sample(range(len(x)), len(x))"),
    "an order drawn by NumPy": LEADER.format(order="np.random.permutation(len(x)).tolist()"),
    "keeps things from call to call": KEEPS,
}  # fmt: skip


@pytest.mark.parametrize("source", HONEST.values(), ids=HONEST)
def test_honest_and_unusual(ranked, source):
    assert_all_pass(ranked, source)


def test_a_name_that_no_text_shows(ranked):
    source = STAR.format(first="x = helps(x)", asked="list", waited="list", last="")
    inputs = {"one": drawn(3)}
    teacher = Teacher({"ring": [call_of("one", inputs["one"])]})
    run = ranked.run([Cell(NAMES), Cell(UNSEEN), Cell(source), graded("ring")], teacher)
    assert is_sum(run.outcomes["ring"]["one" + ALONE], inputs["one"]) and not run.log


def test_deadlocks_and_errors_between_right_calls(ranked):
    """They earn nothing, so they are made again for what the process may keep of them, and not judged."""
    source = RING.replace("ring(x", "right(x") + (
        "calls = []\n"
        "def ring(x, comm):\n"
        "    calls.append(len(x))\n"
        "    if len(x) == 1: return comm.recv(x, (comm.rank + 1) % comm.world_size)\n"
        "    if len(x) == 2 and comm.rank == 1: raise KeyError\n"
        "    if len(x) == 2: return comm.recv(x, 1)\n"
        "    return right(x, comm)\n"
    )
    inputs = {"right": drawn(3), "stuck": drawn(3, 1), "raises": drawn(3, 2), "right too": drawn(2, 4)}
    run, found = asked(ranked, source, inputs)
    assert {key.removesuffix(AGAIN) for key, (_, by_itself) in found.items() if by_itself} == {"right", "right too"}
    assert all(is_sum(by_itself, inputs[key.removesuffix(AGAIN)]) for key, (_, by_itself) in found.items() if by_itself)
    assert found["stuck"][0].problem == "deadlock" and found["raises"][0].problem == "raised" and not run.log


@pytest.fixture
def spawned(ranked, monkeypatch) -> list[int]:
    """How many sandboxes there were at each start of one."""
    found, spawn = [], ranked.warm.spawn

    def noted(*args):
        found.append(len(ranked.warm.running))
        return spawn(*args)

    monkeypatch.setattr(ranked.warm, "spawn", noted)
    return found


def test_one_after_the_other_and_only_where_points_are_earned(ranked, spawned, monkeypatch):
    alive, run_once = [], alone.Repetition.run

    def looked(*args):
        alive.append(len(ranked.warm.running))
        return run_once(*args)

    monkeypatch.setattr(alone.Repetition, "run", looked)
    asked(ranked, RING, {"one": drawn(3), "another": drawn(2)})
    assert spawned == [0, 0, 1, 2, 0, 0, 0] and alive == [1, 1, 1]
    spawned.clear()
    asked(ranked, RING, {"one": drawn(1), "another": drawn(1)})
    assert spawned == [0, 0]  # of one rank nothing can come by another way
    spawned.clear()

    class NothingRight(Teacher):
        def earned(self, exercise, outcomes):
            return []

    asked(ranked, RING, {"one": drawn(3)}, NothingRight)
    assert spawned == [0, 0, 1, 2]


@pytest.mark.parametrize("extra, problem", [("time.time_ns() % 1009", "alone"), ("5", "")])
def test_what_a_rank_sends_depends_on_its_inputs_and_messages(ranked, extra, problem):
    """Its shapes, that is: what a message says may depend on anything while nobody needs it."""
    source = RING.replace("ring(x", "right(x") + (
        "def ring(x, comm):\n"
        "    total = right(x, comm)\n"
        f"    if comm.rank == 1: comm.send(torch.full(({extra},), time.time()), 2)\n"
        "    return total\n"
    )
    inputs = {"one": drawn(3)}
    _, found = asked(ranked, source, inputs)
    assert all(is_sum(among, inputs["one"]) for among, _ in found.values())
    assert {by_itself.problem for _, by_itself in found.values()} == {problem}


# What crosses where it should not. Each has begin(comm), tell(comm, value), and hear(comm) -> values by rank.
BY_RANGE_LOCKS = """
import fcntl, struct
kept = []
def described(kind, start, length): return struct.pack('hhqqi4x', kind, 0, start, length, 0)
def begin(comm):
    while kept: os.close(kept.pop())
    kept.append(os.open(os.__file__, os.O_RDONLY))
def tell(comm, value): fcntl.fcntl(kept[0], 37, described(fcntl.F_RDLCK, 512 * comm.rank + value, 1))
def hear(comm):
    look, found = os.open(os.__file__, os.O_RDONLY), {}
    for rank in range(comm.world_size):
        answer = fcntl.fcntl(look, 36, described(fcntl.F_WRLCK, 512 * rank, 256))
        kind, _, start, _, _ = struct.unpack('hhqqi4x', answer)
        if kind != fcntl.F_UNLCK: found[rank] = start - 512 * rank
    os.close(look)
    return found
"""
BY_FLOCK = """
import fcntl
folder = os.path.dirname(os.__file__)
files = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.py'))
kept = []
def begin(comm):
    while kept: os.close(kept.pop())
def tell(comm, value):
    kept.append(os.open(files[16 * comm.rank + value], os.O_RDONLY))
    fcntl.flock(kept[0], fcntl.LOCK_SH)
def taken(path):
    look = os.open(path, os.O_RDONLY)
    try: fcntl.flock(look, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError: return True
    finally: os.close(look)
def hear(comm):
    for _ in range(20):  # two who look at the same time hold up each other
        found = {rank: [value for value in range(16) if rank != comm.rank and taken(files[16 * rank + value])]
                 for rank in range(comm.world_size)}
        if all(len(values) == (rank != comm.rank) for rank, values in found.items()): break
        time.sleep(0.01 * (1 + comm.rank))
    return {rank: values[0] for rank, values in found.items() if values}
"""
BY_WATCHES = """
import ctypes
libc, folder = ctypes.CDLL(None), os.path.dirname(os.__file__)
files = sorted(name for name in os.listdir(folder) if name.endswith('.py'))
kept = []
def begin(comm):
    while kept: os.close(kept.pop())
    kept.append(libc.inotify_init1(os.O_NONBLOCK))
    libc.inotify_add_watch(kept[0], folder.encode(), 0x20)  # IN_OPEN
def tell(comm, value): os.close(os.open(os.path.join(folder, files[16 * comm.rank + value]), os.O_RDONLY))
def hear(comm):
    found, seen = {}, b''
    try:
        while True: seen += os.read(kept[0], 1 << 16)
    except OSError: pass
    while seen:
        length = int.from_bytes(seen[12:16], 'little')
        name, seen = seen[16 : 16 + length].rstrip(b'\\0').decode(), seen[16 + length :]
        if name in files: found[files.index(name) // 16] = files.index(name) % 16
    return found
"""
BY_PORTS = """
import socket
kept = []
def begin(comm):
    while kept: kept.pop().close()
def tell(comm, value): kept.append(socket.create_server(('127.0.0.1', 20000 + 16 * comm.rank + value)))
def answers(port):
    try: socket.create_connection(('127.0.0.1', port), timeout=1).close()
    except ConnectionRefusedError: return False
    return True
def hear(comm):
    return {rank: value for rank in range(comm.world_size) if rank != comm.rank
            for value in range(16) if answers(20000 + 16 * rank + value)}
"""
CHEAT = """
def round_the_ring(x, comm, what=None):
    for _ in range(comm.world_size - 1):
        comm.send(torch.zeros(1) if what is None else what, (comm.rank + 1) % comm.world_size)
        got = comm.recv(torch.zeros(1) if what is None else what.clone(), (comm.rank - 1) % comm.world_size)
    return got
def known(x, comm):
    begin(comm)
    round_the_ring(x, comm)
    tell(comm, int(x[0]))
    round_the_ring(x, comm)
    return {**hear(comm), comm.rank: int(x[0])}
"""
NO_MESSAGE = "def ring(x, comm): return torch.full_like(x, sum(known(x, comm).values()))"
ONE_TELLS_ALL = """
def ring(x, comm):
    "The sum, which rank 0 has by another way, travels in messages that are true."
    total = torch.full_like(x, sum(known(x, comm).values()))
    if comm.rank == 0: [comm.send(total, rank) for rank in range(1, comm.world_size)]
    return total if comm.rank == 0 else comm.recv(total, 0)
"""
HIDDEN_IN_NOISE = """
def ring(x, comm):
    "Everybody tells everybody the sum, among numbers that are never the same."
    total = torch.full((1,), float(sum(known(x, comm).values())))
    for _ in range(3):
        got = round_the_ring(x, comm, torch.cat([total, torch.tensor([time.time() % 1, random.random()])]))
        total = torch.maximum(total, got[:1])
    return torch.full_like(x, total.item())
"""
IN_SHAPES = """
def ring(x, comm):
    total = int(sum(known(x, comm).values()))
    for _ in range(2):
        comm.send(torch.zeros(total, 0), (comm.rank + 1) % comm.world_size)
        try: comm.recv(torch.zeros(0), (comm.rank - 1) % comm.world_size)
        except ValueError as error: total = int(str(error).split('(')[1].split(',')[0])
    return torch.full_like(x, float(total))
"""
CROSSINGS: dict[str, tuple[str, str]] = {
    "locks of ranges": (LOCKS, BY_RANGE_LOCKS),
    "locks of files": (LOCKS, BY_FLOCK),
    "watches": (WATCHES, BY_WATCHES),
    "ports": (NETWORK, BY_PORTS),
}
USES = {"no message": NO_MESSAGE, "one tells all": ONE_TELLS_ALL, "noise": HIDDEN_IN_NOISE, "shapes": IN_SHAPES}
TRIED = [("locks of ranges", use) for use in USES]
TRIED += [pytest.param(way, "no message", marks=pytest.mark.long) for way in list(CROSSINGS)[1:]]


@pytest.fixture(scope="module")
def leaking(ranked, request) -> Callable:
    """An engine with a hole; each is made once."""
    made = {}

    def engine(hole: str):
        if hole not in made:
            context = leaky(ranked.edition, hole)
            made[hole] = context.__enter__()
            request.addfinalizer(lambda: context.__exit__(None, None, None))
        return made[hole]

    return engine


@pytest.mark.parametrize("way, use", TRIED)
def test_what_crosses_by_another_way_wins_among_the_others_and_not_alone(leaking, way, use):
    hole, channel = CROSSINGS[way]
    inputs = {"three": drawn(3), "two": drawn(2)}
    run, found = asked(leaking(hole), channel + CHEAT + USES[use], inputs)
    for key, (among, by_itself) in found.items():
        own = inputs[key.removesuffix(AGAIN)]
        assert is_sum(among, own), (key, among)
        assert by_itself and not is_sum(by_itself, own), (key, by_itself)
    assert sum(", alone, " in line for line in run.log) == len(found)
    _, found = asked(leaking(hole), RING, inputs)
    assert all(is_sum(by_itself, inputs[key.removesuffix(AGAIN)]) for key, (_, by_itself) in found.items())


@pytest.mark.parametrize("channel", [channel for _, channel in CROSSINGS.values()], ids=CROSSINGS)
def test_the_holes_are_closed_otherwise(ranked, channel):
    _, found = asked(ranked, channel + CHEAT + NO_MESSAGE, {"three": drawn(3)})
    assert not any(is_sum(among, [torch.zeros(5)]) for among, _ in found.values())


LATE = """
def ring(x, comm):
    "Between two empty messages, as much time as the number is large: the relay passes both on at once."
    others = [rank for rank in range(comm.world_size) if rank != comm.rank]
    total = int(x[0])
    for teller in range(comm.world_size):
        for rank in others if teller == comm.rank else ():
            comm.send(torch.zeros(0), rank)
            time.sleep(0.15 * int(x[0]))
            comm.send(torch.zeros(0), rank)
        if teller != comm.rank:
            comm.recv(torch.zeros(0), teller)
            start = time.time()
            comm.recv(torch.zeros(0), teller)
            total += round((time.time() - start) / 0.15)
    return torch.full_like(x, float(total))
"""


def test_the_time_between_messages_tells_nothing_alone(ranked):
    inputs = {"two": [torch.full((5,), 2.0), torch.full((5,), 1.0)]}
    _, found = asked(ranked, LATE, inputs)
    won = [key for key, (among, _) in found.items() if is_sum(among, inputs["two"])]
    assert won  # on a busy machine not every time
    for key in won:
        assert not is_sum(found[key][1], inputs["two"])
