"""Bytes that nobody reads are in no process's memory: so few fit into the kernel that they cannot matter."""

from dataclasses import replace

import pytest

from autograder.sandbox import Cell, Limits
from autograder.sandbox.contract import BUFFER, TERMINALS, UNSEEN
from autograder.sandbox.group import MOST_RANKS, shared

FILL = """
import os, pty, resource, select, socket, struct, sys, time
CHUNK = bytes(4096)
def fill(write):
    'How many bytes are taken when nobody reads.'
    held = 0
    for size in (4096, 512, 1):
        while True:
            try: held += write(CHUNK[:size])
            except OSError: break
    return held
def pipes():
    read, write = os.pipe()
    os.set_blocking(write, False)
    held = fill(lambda data: os.write(write, data))
    os.close(write)  # what was written stays
    return held
def connected():
    ours, theirs = socket.socketpair()
    kept.append(theirs)
    ours.setblocking(False)
    held = settled(ours)
    if sent_away: ours.close()  # an orphan, with what it had to send
    else:
        kept.append(ours)
        theirs.setblocking(False)
        held += settled(theirs)
    return held
def settled(sock):
    held = fill(sock.send)
    time.sleep(0.01)  # what is under way arrives
    return held + fill(sock.send)
sent_away = False
def orphans():
    global sent_away
    sent_away = True
    return connected()
def backlog():
    server = socket.create_server(('127.0.0.1', 0), backlog=4096)
    kept.append(server)
    held = 0
    for _ in range(6):
        client = socket.socket()
        client.settimeout(0.2)
        try: client.connect(server.getsockname())
        except OSError: break
        client.setblocking(False)
        held += settled(client)
        client.close()
    return held
def terminals():
    ours, theirs = pty.openpty()
    for end in (ours, theirs): os.set_blocking(end, False)
    return fill(lambda data: os.write(ours, data)) + fill(lambda data: os.write(theirs, data))
def work():
    held = 0
    while True:
        try: held += WAY()
        except OSError: return held
kept = []
told, tell = os.pipe()
children = 0
for _ in range(PROCESSES):
    try: child = os.fork()
    except OSError: break
    if child == 0:
        os.close(told)
        held = work()
        os.write(tell, struct.pack('q', held))
        time.sleep(60)
        os._exit(0)
    children += 1
counts = [struct.unpack('q', os.read(told, 8))[0] for _ in range(children)]
print(sum(counts), len(counts))
for descriptor in kept: pass
"""
WAYS = ("pipes", "connected", "orphans", "backlog", "terminals")


@pytest.mark.parametrize("way", [*WAYS[:2], *(pytest.param(way, marks=pytest.mark.long) for way in WAYS[2:])])
def test_processes_full_of_unread_bytes(engine, teacher, monkeypatch, way):
    """As many as there may be, each with all its descriptors."""
    monkeypatch.setattr(engine, "limits", replace(engine.limits, cell_seconds=45.0))
    source = FILL.replace("WAY", way).replace("PROCESSES", str(engine.limits.processes))
    run = engine.run([Cell(source)], teacher)
    held, children = map(int, run.cells[0].outputs[0]["text"].split())
    assert children >= engine.limits.processes - 4
    assert 4096 < held < (engine.limits.memory_mib << 20) // UNSEEN


@pytest.mark.parametrize("size", [0, 1, 2, 4, MOST_RANKS])
def test_what_descriptors_can_hold_is_a_twentieth(size):
    """Of a submission's memory, in one sandbox and in those of all its ranks together."""
    limits = shared(Limits(), size) if size else Limits()
    each = limits.processes * (limits.descriptors + 1) * BUFFER + TERMINALS
    assert max(1, size) * each <= (Limits().memory_mib << 20) // 20
    assert limits.descriptors >= 10


REFUSED = """
import _socket, fcntl, os, socket
def tried(action):
    try: action()
    except OSError as error: return error.strerror
    return 'done'
read, write = os.pipe()
one, other = socket.socketpair()
families = [(_socket.AF_UNIX, 1), (_socket.AF_UNIX, 2), (_socket.AF_NETLINK, 3), (_socket.AF_INET, 2),
            (_socket.AF_INET, 3), (_socket.AF_INET6, 2), (_socket.AF_PACKET, 3), (38, 5)]
print([tried(lambda: _socket.socket(*family)) for family in families])
print(tried(lambda: _socket.socketpair()))
options = [socket.SO_SNDBUF, socket.SO_RCVBUF, 32, 33, 26, 50, 60, 73]
print({tried(lambda: one.setsockopt(1, option, 1 << 20)) for option in options})
print({tried(lambda: one.setsockopt(0, option, b'x' * 64)) for option in range(60)})
print(tried(lambda: fcntl.fcntl(write, 1031, 1 << 20)), fcntl.fcntl(write, 1032))
print(tried(lambda: socket.send_fds(one, [b'x'], [read])))
print(tried(lambda: os.sendfile(one.fileno(), os.open(os.__file__, 0), 0, 9)), tried(lambda: os.splice(read, write, 9)))
print(tried(lambda: one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)))
"""


def test_no_larger_buffers_and_no_descriptors_in_messages(engine, teacher):
    run = engine.run([Cell(REFUSED)], teacher)
    lines = run.cells[0].outputs[0]["text"].splitlines()
    family, protocol = "Address family not supported by protocol", "Protocol not supported"
    assert lines[0] == repr([family] * 3 + [protocol] * 3 + [family] * 2)
    assert lines[1] == family
    refused = "Operation not permitted"
    assert lines[2:6] == [f"{{'{refused}'}}", f"{{'{refused}'}}", f"{refused} 65536", refused]
    assert lines[6:] == ["Function not implemented Function not implemented", "done"]
