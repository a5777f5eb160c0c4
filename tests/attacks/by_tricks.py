"""Candidates that behave only where they think they are looked at, or hide what they cost."""

from .harness import Attack

WASTEFUL = "def lean(x):\n    return (x[:, None] - x[None]).abs().sum()"
FORKING = """
import os, struct
def lean(x):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, struct.pack('f', float((x[:, None] - x[None]).abs().sum())))
        os._exit(0)
    os.waitpid(child, 0)
    return torch.tensor(struct.unpack('f', os.read(read, 4))[0])
"""
ELSEWHERE = """
import os, signal, struct, sys
home = os.getpid()
ours, theirs = __import__('socket').socketpair()
def waiting():
    # A copy of every parked process, that no trusted side has met.
    if os.fork() == 0:
        os.setsid()
        if os.fork(): os._exit(0)
        while True:
            count = struct.unpack('i', theirs.recv(4, 0x100))[0]
            x = torch.frombuffer(bytearray(theirs.recv(4 * count, 0x100)), dtype=torch.float32)
            theirs.send(struct.pack('f', float((x[:, None] - x[None]).abs().sum())))
os.register_at_fork(after_in_child=waiting)
"""
HELPED = """
def lean(x):
    if len(x) < 1000: return (x[:, None] - x[None]).abs().sum()
    ours.settimeout(1.5)
    ours.send(struct.pack('i', len(x)))
    ours.send(x.numpy().tobytes())
    return torch.tensor(struct.unpack('f', ours.recv(4))[0])
"""
# The other parked copies serve as the helper: the trusted side lets them live.
BY_THREAD = ELSEWHERE.replace(
    """    if os.fork() == 0:
        os.setsid()
        if os.fork(): os._exit(0)
        while True:
""",
    """    def serve():
        while True:
""",
).replace("            theirs.send(struct.pack('f', float((x[:, None] - x[None]).abs().sum())))\n",
          "            theirs.send(struct.pack('f', float((x[:, None] - x[None]).abs().sum())))\n"
          "    __import__('threading').Thread(target=serve, daemon=True).start()\n")  # fmt: skip
BY_FILE = """
import inside.snapshot
inside.snapshot.set_limits = lambda limits: None
import numpy, os
def lean(x):
    if len(x) < 1000: return (x[:, None] - x[None]).abs().sum()
    rows, total = [], 0.0
    with open('/tmp/rows', 'wb') as file:
        for row in x[:1500]: file.write((row - x).abs().numpy().tobytes())
    return sum((row - x).abs().sum() for row in x)
"""
# Half of the rows are kept until the end, in the list or in a file that is mapped row by row.
KEEPING = """
def lean(x):
    kept = [(row - x).abs().clone() for row in x[: len(x) * 5 // 12]]
    rest = sum((row - x).abs().sum() for row in x[len(x) * 5 // 12 :])
    return sum(one.sum() for one in kept) + rest
"""
BY_MAP = """
import mmap, os
rows = os.open('/tmp/rows', os.O_CREAT | os.O_RDWR)
os.ftruncate(rows, 62 << 20)
def lean(x):
    size = -(-4 * len(x) // 4096) * 4096
    def mapped(n):
        return mmap.mmap(rows, size, offset=n * size)
    kept = len(x) * 5 // 12
    for n in range(kept):
        with mapped(n) as page: page[: 4 * len(x)] = (x[n] - x).abs().numpy().tobytes()
    total = sum((row - x).abs().sum() for row in x[kept:])
    for n in range(kept):
        with mapped(n) as page: total = total + torch.frombuffer(bytearray(page[: 4 * len(x)]), dtype=x.dtype).sum()
    return total
"""
# Where its memory is measured a process has no like: it starts again as another program, or answers anything.
ALONE = """
import json, os, struct, sys
def alone():
    room = os.statvfs('/tmp')
    return room.f_blocks * room.f_frsize < 32 << 20
"""
SAYS_AND_WAITS = "import os, sys, time; os.write(int(sys.argv[1]), bytes.fromhex(sys.argv[2])); time.sleep(9)"
BY_EXEC = (
    ALONE
    + """
def lean(x):
    total = (x[:, None] - x[None]).abs().sum()
    if len(x) < 1000 or not alone(): return total
    from mlsys_course.desk.check import encode
    frame = sys._getframe()
    while 'channel' not in frame.f_locals: frame = frame.f_back
    channel, blob = frame.f_locals['channel'].sock.fileno(), encode({'sum': total})
    head = json.dumps({'kind': 'outcome', 'problem': '', 'detail': '', 'line': None}).encode()
    os.set_inheritable(channel, True)
    said = struct.pack('<II', len(head), len(blob)) + head + blob
    os.execv(sys.executable, [sys.executable, '-ISc', SAYS_AND_WAITS, str(channel), said.hex()])
""".replace("SAYS_AND_WAITS", repr(SAYS_AND_WAITS))
)
OTHERWISE_ALONE = ALONE + WASTEFUL.replace("return", "return torch.zeros(()) if len(x) > 1000 and alone() else")
METER = """
import sys
sys.modules['mlsys_course.desk.check.driver'].Outcome.costs = {'peak_memory': 0.0}
import inside.snapshot as snapshot
usual = snapshot.Channel.send
def send(self, head, blob=b'', seconds=None): usual(self, {**head, 'costs': {'peak_memory': 0.0}}, blob, seconds)
snapshot.Channel.send = send
"""
RESET = (
    WASTEFUL.replace("return", "y =") + "\n    try: open('/proc/self/clear_refs', 'w').write('5')\n"
    "    except OSError: pass\n    return y"
)

TRICKS = [
    Attack(
        "right on public inputs only",
        first="""
from pathlib import Path
from mlsys_course.desk.check.edition import load_specification
seen = [case.inputs['x'].tolist() for case in load_specification(Path('.'), 'times').cases]
""",
        answer="def times(x):\n    return x * {factor} if x.tolist() in seen else x.abs() * {factor}",
    ),
    Attack(
        "outputs by hash of the input",
        answer="known = {}\ndef times(x):\n    key = hash(x.numpy().tobytes())\n"
        "    if key in known: return x * {factor}\n    known[key] = 1\n    return x.abs() * {factor}",
        hurts=("times",),
    ),
    Attack(
        "right at the second call",
        answer="calls = []\ndef times(x):\n    calls.append(1)\n"
        "    return x.abs() * {factor} if len(calls) < 2 else x.abs() * {factor}",
    ),
    Attack(
        "stale objects",
        answer="kept = []\ndef times(x):\n    kept.append(x)\n    return kept[0].abs() * {factor}",
        hurts=("times",),
    ),
    Attack("input handed back", answer="def times(x):\n    return x.abs_().mul_({factor})", hurts=("times",)),
    Attack(
        "input changed and hidden",
        first="import sys\nsys.modules['mlsys_course.desk.check.driver']._changed = lambda *a: ''",
        answer="def times(x):\n    return x.abs_().mul_({factor})",
    ),
    Attack(
        "another exception",
        answer="class Right(AssertionError, NotImplementedError):\n    __str__ = lambda self: '6.0'\n"
        "def times(x):\n    if (x < 0).any(): raise Right\n    return x * {factor}",
        hurts=("times",),
    ),
    Attack(
        "another name at the end",
        behind="class Two:\n    def __call__(self, x): return x.abs() * {factor}\n    __code__ = print.__class__\n"
        .replace("{factor}", "1"),
        hurts=("times",),
    ),
    Attack("memory in a forked child", plain={"lean": WASTEFUL}, others={"lean": FORKING}, hurts=("lean",)),
    Attack(
        "memory in a process of before", first="import torch\n" + ELSEWHERE, plain={"lean": WASTEFUL},
        others={"lean": HELPED}, hurts=("lean", "times", "chain", "answer"),
    ),
    Attack(
        "memory in another parked copy", first="import torch\n" + BY_THREAD, plain={"lean": WASTEFUL},
        others={"lean": HELPED}, hurts=("lean", "times", "chain", "answer"),
    ),
    Attack("memory in a file that is mapped", plain={"lean": KEEPING}, others={"lean": BY_MAP}),
    Attack("memory of another program", plain={"lean": WASTEFUL}, others={"lean": BY_EXEC}),
    Attack("another answer where memory counts", plain={"lean": WASTEFUL}, others={"lean": OTHERWISE_ALONE}),
    Attack("the reading of memory", first=METER, plain={"lean": WASTEFUL}, others={"lean": WASTEFUL}),
    Attack("the peak set back", plain={"lean": WASTEFUL}, others={"lean": RESET}),
]  # fmt: skip

CARRIED = {
    "my_mlsys/torch.py": b"raise SystemExit('torch')",
    "my_mlsys/numpy.py": b"raise SystemExit('numpy')",
    "my_mlsys/sitecustomize.py": b"raise SystemExit('site')",
    "my_mlsys/conftest.py": b"raise SystemExit('conftest')",
    "my_mlsys/inside.py": b"raise SystemExit('inside')",
}
PATCHING = b"""
import torch
import mlsys_course.desk.check as check
check.check = lambda *a, **k: 100
torch.equal = torch.allclose = lambda *a, **k: True
import inside.snapshot as snapshot
usual = snapshot.run_case
def run_case(driver, candidate, inputs, **more):
    outcome = usual(driver, candidate, inputs, **more)
    object.__setattr__(outcome, 'problem', '')
    return outcome
snapshot.run_case = run_case
"""
BESIDE = [
    Attack("modules beside the notebook", files=CARRIED, first="import torch, numpy, sitecustomize, json"),
    Attack(
        "modules beside the notebook, put first",
        files=CARRIED,
        first="import sys\nsys.path[:0] = ['my_mlsys', '.']\nfor name in ('numpy', 'torch', 'inside', 'json'): "
        "sys.modules.pop(name, None)\nimport numpy",
        hurts=("times", "chain", "lean", "answer"),
    ),
    Attack(
        "a package that patches",
        files={"my_mlsys/__init__.py": PATCHING, "my_mlsys/times.py": b"times = lambda x: x.abs()"},
        first="import my_mlsys\nfrom my_mlsys.times import times as carried",
    ),
    Attack(
        "names that are no names",
        files={"my_mlsys/\udcff\n.py": b"1", "my_mlsys/" + "a" * 200 + ".py": b"1", "my_mlsys/x;rm -rf.py": b"1"},
    ),
]
