"""What hostile ranks try: forged messages, lies about themselves, floods, and ways past the relay."""

import itertools
import json
import os
import threading
import time
from pathlib import Path

import pytest
import torch

from autograder.sandbox import Cell
from autograder.sandbox.inside import processes

from .conftest import MARK, Teacher, graded
from .ranked import RING, outcome_of, ring_call

FORGE = """
import json, os, struct
def forge(head, blob=b'', lengths=None):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    data = struct.pack('<II', *(lengths or (len(text), len(blob)))) + text + blob
    while data:
        data = data[os.write(201, data):]
def message(to=1, dtype='float32', shape=[1], **more):
    return {'kind': 'send', 'to': to, 'dtype': dtype, 'shape': shape, **more}
"""


@pytest.mark.parametrize(
    "forged",
    [
        "forge(message(to=0), bytes(4))",
        "forge(message(to=99), bytes(4))",
        "forge(message(to=-1), bytes(4))",
        "forge(message(to=True), bytes(4))",
        "forge(message(to=[1]), bytes(4))",
        "forge({'kind': 'recv', 'from': 0})",
        "forge({'kind': 'recv', 'from': 3})",
        "forge({'kind': 'recv'}, b'more')",
        "forge(message(), bytes(4), lengths=(60, 1 << 30))",
        "forge(message(), b'', lengths=(1 << 30, 0))",
        "forge(message(shape=[2]), bytes(4))",
        "forge(message(shape=[-1, -1]), bytes(4))",
        "forge(message(shape=[0, 10 ** 30]))",
        "forge(message(shape=[1] * 200), bytes(4))",
        "forge(message(shape=[True]), bytes(4))",
        "forge(message(shape='1'), bytes(4))",
        "forge(message(dtype='object'), bytes(8))",
        "forge(message(dtype=['float32']), bytes(4))",
        "forge({'kind': 'message'}, bytes(4))",
        "forge({'kind': 'released'})",
        "forge(b'[[[[')",
        "forge(b'[1]')",
        "[forge(message(), bytes(4)) for _ in range(100_000)]",
        "forge({'kind': 'outcome', 'problem': '', 'detail': ''}, b'no tree')",
    ],
)
def test_forged_frames(ranked, forged):
    source = f"{FORGE}\ndef ring(x, comm):\n    if comm.rank == 0: {forged}\n    return x"
    start = time.monotonic()
    _, outcome = outcome_of(ranked, source, seconds=20.0)
    assert outcome.problem == "crashed"
    assert outcome.detail in ("rank 0 sent what is no message", "rank 0 ended")
    assert time.monotonic() - start < 15


def test_endless_calls_of_a_part(ranked):
    source = (
        f"{FORGE}\ndef ring(x, comm):\n    while comm.rank == 0: forge({{'kind': 'part', 'name': 'x'}})\n    return x"
    )
    _, outcome = outcome_of(ranked, source, seconds=2.0)
    assert outcome.problem in ("timeout", "crashed")  # its answers are not read, or there were too many of them
    assert outcome.detail.startswith("rank 0 ")


def test_a_forged_outcome_ends_only_the_one_who_forged_it(ranked):
    """A second outcome is read in place of the next call's, and is no more right than the first."""
    source = (
        FORGE
        + """
def ring(x, comm):
    for _ in range(20): forge({'kind': 'outcome', 'problem': 'raised', 'detail': 'KeyError', 'line': None})
    return x
"""
    )
    run = ranked.run([Cell(source), graded("ring")], Teacher({"ring": [ring_call(f"{n}", 2) for n in range(3)]}))
    assert {o.problem for o in run.outcomes["ring"].values()} <= {"raised", "crashed"}


def test_mailboxes_are_bounded_and_so_is_the_memory_of_this_side(ranked):
    source = """
import torch
def ring(x, comm):
    piece = torch.zeros(4 << 20)
    while True:
        comm.send(piece, (comm.rank + 1) % comm.world_size)
"""
    Path("/proc/self/clear_refs").write_text("5")
    own = os.getpid()
    before = processes.status_bytes(own, "VmRSS")
    _, outcome = outcome_of(ranked, source, world_size=4, seconds=20.0)
    grown = processes.status_bytes(own, "VmHWM") - before
    assert outcome.problem == "crashed"
    assert grown < 400 << 20


def test_a_rank_cannot_lie_about_who_it_is(ranked):
    source = """
import torch
def ring(x, comm):
    real = comm.rank
    if real == 0:
        comm.rank, comm.world_size = 2, 77
        comm.send(x, 1)
    if real == 1:
        return comm.recv(torch.empty_like(x), 0)
    return x
"""
    _, outcome = outcome_of(ranked, source)
    assert not outcome.problem
    assert torch.equal(outcome.outputs["rank 1"]["y"], torch.full((5,), MARK))
    assert outcome.costs["total_bytes"] == 20


def test_a_rank_cannot_lie_about_what_it_sends(ranked):
    source = (
        RING
        + """
from mlsys_course.substrate.ranks.shared import switchboard, traffic
traffic.message_bytes = traffic.bytes_of = lambda *a: 0
switchboard.Switchboard.post = lambda *a: None
"""
    )
    honest, lying = (outcome_of(ranked, text, length=8)[1] for text in (RING, source))
    assert lying.costs == honest.costs and honest.costs["total_bytes"] == 4 * 8 * 4


SAID_BY_KINDS = """
import torch
KINDS = {kinds}
def ring(x, comm):
    if comm.rank == 0:
        number = int(x[0])
        for n in range(8):
            comm.send(torch.empty(0, dtype=KINDS[number >> 3 * n & 7]), 1)
    if comm.rank == 1:
        number = sum(KINDS.index(comm._take(0, x).dtype) << 3 * n for n in range(8))
        return torch.tensor([float(number)])
    return x
"""
EIGHT = [f"torch.{name}" for name in ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8"]]


def test_messages_that_are_empty_say_nothing_for_nothing(ranked):
    """Of eight dtypes each could say three bits. A rank that sends empty messages of one dtype pays nothing."""
    source = SAID_BY_KINDS.replace("{kinds}", f"[{', '.join(EIGHT)}]")
    _, outcome = outcome_of(ranked, source)
    assert not outcome.problem and outcome.outputs["rank 1"]["y"].item() == MARK
    digits = [int(MARK) >> 3 * n & 7 for n in range(8)]
    changes = sum(a != b for a, b in itertools.pairwise(digits))
    assert outcome.costs["total_bytes"] == 8 * changes > 0
    _, honest = outcome_of(ranked, source.replace("KINDS[number >> 3 * n & 7]", "x.dtype"))
    assert honest.costs["total_bytes"] == 0


PAST = """
import ctypes, mmap, os, socket, threading, time, torch
mark = os.urandom(8).hex().encode()
for name in ('/dev/shm/past', '/tmp/past', '/home/student/past'):
    open(name, 'wb').write(mark)
shared = mmap.mmap(os.open('/dev/shm/past', os.O_RDWR), 16)
SOCKETS = [(socket.AF_INET, ('127.0.0.1', 45671)), (socket.AF_INET6, ('::1', 45672)),
           (socket.AF_UNIX, '\\0past'), (socket.AF_UNIX, '/tmp/past.sock')]
def serve(family, address):
    server = socket.socket(family)
    server.bind(address)
    server.listen()
    while True:
        server.accept()[0].send(mark)
def look():
    found = []
    for name in ('/dev/shm/past', '/tmp/past', '/home/student/past'):
        try: found.append(open(name, 'rb').read())
        except OSError: pass
    found.append(bytes(shared))
    for family, address in SOCKETS:
        try:
            with socket.socket(family) as client:
                client.settimeout(1)
                client.connect(address)
                found.append(client.recv(16))
        except OSError: pass
    return found
def ring(x, comm):
    if comm.rank == 0:
        os.path.exists('/tmp/past.sock') and os.unlink('/tmp/past.sock')
        for family, address in SOCKETS:
            threading.Thread(target=serve, args=(family, address), daemon=True).start()
    time.sleep(0.3)
    found = look()
    time.sleep(0.7)
    pids = [int(p) for p in os.listdir('/proc') if p.isdigit()]
    killed = 0
    for pid in range(3, 200):
        if pid != os.getpid():
            try: os.kill(pid, 0); killed += 1
            except OSError: pass
    own, others = found.count(mark), sum(f not in (mark, b'') for f in found)
    return torch.tensor([own, others, killed, sum(p > 3 and p != os.getpid() for p in pids)])
"""


def test_there_is_no_way_past_the_relay(ranked):
    _, outcome = outcome_of(ranked, PAST, seconds=10.0)
    assert not outcome.problem, outcome.words
    seen = [by_rank["y"].tolist() for by_rank in outcome.outputs.values()]
    # Rank 0 finds its own marks: four places and its two servers; none of another kind. The others find none.
    assert seen[0][0] == 6
    assert [row[0] for row in seen[1:]] == [4, 4]
    assert [row[1] for row in seen] == [0, 0, 0]
    assert [row[2:] for row in seen[1:]] == [[0, 0], [0, 0]]


def test_sealed_inputs_of_ranks_reach_no_output(ranked):
    tell = """
import mmap, os, threading, time
open('/dev/shm/seen', 'wb').write(bytes(4096))
shared = mmap.mmap(os.open('/dev/shm/seen', os.O_RDWR), 4096)
def ring(x, comm):
    text = b'seen %d' % x[0].item()
    shared[:len(text)] = text
    os.write(1, text)
    return x
def watch():
    while True:
        print(bytes(shared[:40]).strip(b'\\0').decode())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
"""
    look = Cell("time.sleep(0.2)\nprint('end', bytes(shared[:40]).strip(b'\\0'))")
    run = ranked.run([Cell(tell), graded("ring"), look], Teacher({"ring": [ring_call("one", 3)]}))
    text = json.dumps([cell.outputs for cell in run.cells])
    assert not run.outcomes["ring"]["one"].problem
    assert str(int(MARK)) not in text and "end b''" in text


def test_nothing_is_left_behind(ranked):
    before = threading.active_count(), _all_below(ranked.warm.process.pid)
    outcome_of(ranked, "import os, time\nif os.fork() == 0: time.sleep(60)\n" + RING)
    outcome_of(ranked, "import os, time\ndef ring(x, comm):\n    os.fork()\n    time.sleep(60)", seconds=0.5)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (threading.active_count(), _all_below(ranked.warm.process.pid)) != before:
        time.sleep(0.05)
    assert (threading.active_count(), _all_below(ranked.warm.process.pid)) == before


def _all_below(pid: int) -> set[int]:
    return set(processes.descendants(pid))
