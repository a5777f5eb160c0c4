"""Two sandboxes at once, one of which tries to tell the other something by a file that both can open.

As a program: the same for a user of one's own choice, with what each of them printed as JSON.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from autograder.sandbox import Cell, Engine

SETTLED_SECONDS = 4.0  # until the first has done its part
COMMON = """
import ctypes, fcntl, json, os, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return ctypes.get_errno() if result < 0 else 'done'
def reachable():
    'A sample of all that can be opened: each folder has its turn.'
    found = ['/dev/null', '/dev/urandom', '/dev/random', '/proc/self/exe', '/proc/version', '/proc/1/maps']
    for root in ('/etc', '/edition', '/sandbox', '/var', '/usr/bin', '/usr/lib', '/lib64', sys.prefix, *sys.path):
        names = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names[:3]]
        found += [root, *names[:: max(1, len(names) // 30)]]
    for descriptor in os.listdir('/proc/self/fd'):
        found.append('/proc/self/fd/' + descriptor)
    return [path for path in dict.fromkeys(found) if os.access(path, os.R_OK)]
def described(kind): return struct.pack('hhqqi4x', kind, 0, 0, 0, 0)  # struct flock: the whole file
def opened(path):
    number = path.removeprefix('/proc/self/fd/')
    if number != path: return os.dup(int(number))
    for mode in (os.O_RDWR, os.O_RDONLY):
        try: return os.open(path, mode | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError: pass
    return -1
def tried(action, *arguments):
    try: action(*arguments)
    except OSError as error: return os.strerror(error.errno)
    return ''
def locked(descriptor, exclusive):
    'What each kind of lock answers; nothing where it succeeds.'
    kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
    answers = {'flock': tried(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB),
               'lockf': tried(fcntl.lockf, descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)}
    for command in (fcntl.F_SETLK, 37):  # 37: of the open file description
        answers[str(command)] = tried(fcntl.fcntl, descriptor, command, described(kind))
    return {name: answer for name, answer in answers.items() if answer}
def seen(descriptor):
    'Who has a lock: F_UNLCK where nobody has one.'
    found = [struct.unpack('hhqqi4x', fcntl.fcntl(descriptor, command, described(fcntl.F_WRLCK)))[0]
             for command in (fcntl.F_GETLK, 36)]
    return found != [fcntl.F_UNLCK] * 2
"""
TAKES = """
paths = reachable()
told, tell = os.pipe()
for at in range(0, len(paths), 20):
    if os.fork() == 0:
        refused = {}
        for path in paths[at : at + 20]:
            descriptor = opened(path)
            if descriptor >= 0 and (answer := {**locked(descriptor, False), **locked(descriptor, True)}):
                refused[path] = answer
        os.write(tell, json.dumps(refused).encode() + b'\\n')
        time.sleep(max(0, END - time.time()))
        os._exit(0)
os.close(tell)
refused = {}
for line in os.fdopen(told): refused |= json.loads(line)
print(json.dumps({'paths': len(paths), 'refused': refused}))
"""
LOOKS = """
time.sleep(max(0, START - time.time()))
noticed, paths = {}, reachable()
for path in paths:
    descriptor = opened(path)
    if descriptor < 0: continue
    try:
        answer = locked(descriptor, True) | ({'seen': True} if seen(descriptor) else {})
        if answer: noticed[path] = answer
    except OSError as error: noticed[path] = str(error)  # F_GETLK on what has no locks
    os.close(descriptor)
print(json.dumps({'paths': len(paths), 'noticed': noticed, 'late': time.time() > END}))
"""
WAITS = """
long = ctypes.c_long
libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, long, *[ctypes.c_int] * 3, long]
descriptor = os.open(os.__file__, os.O_RDONLY)
address = libc.mmap(None, 4096, 1, 1, descriptor, 0)
word = ctypes.c_uint32.from_address(address).value
"""
SLEEPS = (
    WAITS
    + """
limit = struct.pack('qq', max(1, int(END - time.time())), 0)
answers = [call(202, ctypes.c_void_p(address), operation, word, limit, None, -1) for operation in (0, 9, 0x109)]
print(json.dumps(answers))
"""
)
WAKES = (
    WAITS
    + """
time.sleep(max(0, START - time.time()))
print(json.dumps(libc.syscall(202, ctypes.c_void_p(address), 1, 64, None, None, 0)))
"""
)


def side_by_side(engine: Engine, *sources: str) -> list:
    """What submissions print that run at the same time; START and END are moments of the clock."""
    start = time.time() + SETTLED_SECONDS
    head = f"{COMMON}\nSTART, END = {start}, {start + 2 * SETTLED_SECONDS}\n"
    with ThreadPoolExecutor(len(sources)) as pool:
        runs = list(pool.map(lambda source: engine.run([Cell(head + source)], NoExercises()), sources))
    return [_printed(run.cells[0].outputs) for run in runs]


def _printed(outputs: Sequence[dict]):
    assert [output["output_type"] for output in outputs] == ["stream"], outputs
    return json.loads(outputs[0]["text"])


class NoExercises:
    """A trusted side that nothing is asked of."""

    def calls(self, exercise):
        return []

    def parts(self, exercise):
        return ()

    def settled(self, exercise, outcomes):
        return True

    def part(self, exercise, name, request):
        raise ValueError("no parts")


if __name__ == "__main__":
    with Engine(Path(sys.argv[1])) as engine:
        told = {"uid": os.getuid(), "locks": side_by_side(engine, TAKES, LOOKS)}
        told["waiters"] = side_by_side(engine, SLEEPS, WAKES)
    print(json.dumps(told))
