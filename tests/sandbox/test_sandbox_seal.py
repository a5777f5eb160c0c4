"""What a hostile notebook tries: to read, to reach out, to tell what it saw, to forge what it came to."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autograder.sandbox import Cell, Engine, SandboxUnavailable, said
from autograder.sandbox.inside.processes import children

from .conftest import MARK, RIGHT, ROOT, graded, is_right

FRAME = """
import struct, json
def frame(head, blob=b''):
    text = json.dumps(head).encode()
    return struct.pack('<II', len(text), len(blob)) + text + blob
"""


def text_of(run) -> str:
    """All that a student would see of a run."""
    return json.dumps([cell.outputs for cell in run.cells])


def test_protections(engine):
    assert engine.protections and all(engine.protections.values())


@pytest.mark.parametrize(
    "path",
    [
        str(ROOT),
        str(ROOT / "autograder" / "sandbox" / "engine.py"),
        str(ROOT / "mlsys_course" / "__init__.py"),
        "/etc/shadow",
        str(Path.home() / ".bashrc"),
        "/proc/1/environ",
        "/proc/1/root/etc",
        "/sys/kernel",
        str(ROOT / "solutions"),
    ],
)
def test_reading(engine, teacher, path):
    look = f"import os\np = {path!r}\nprint(os.listdir(p) if os.path.isdir(p) else open(p).read())"
    run = engine.run([Cell(look)], teacher)
    assert run.cells[0].status == "error", run.cells[0].outputs


def test_what_there_is_to_see(engine, teacher, monkeypatch):
    monkeypatch.setenv("TERM_SECRET", "MARKED")
    source = """
import os, sys, glob
print(sorted(os.listdir('/')), sorted(os.listdir('/edition')), open('/proc/self/environ').read(), dict(os.environ))
print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))
import importlib.util
print('autograder', importlib.util.find_spec('autograder'))
print([p for site in sys.path for p in glob.glob(site + '/autograder') + glob.glob(site + '/mlsys_course')])
print([fd for fd in os.listdir('/proc/self/fd')])
"""
    run = engine.run([Cell(source)], teacher)
    text = run.cells[0].outputs[0]["text"]
    listed, processes, spec, packages, descriptors = text.splitlines()
    assert "MARKED" not in text and str(ROOT) not in text
    assert "'lab', 'python'" in listed
    assert processes == "[1, 2]"
    assert spec == "autograder None"
    assert packages == "['/edition/python/mlsys_course']"
    assert len(json.loads(descriptors.replace("'", '"'))) <= 5


def test_the_network_ends_at_the_loopback(engine, teacher):
    source = """
import socket, threading
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
print('loopback')
try:
    socket.create_connection(('1.1.1.1', 53), timeout=2)
except OSError as error:
    print(error)
"""
    lines = engine.run([Cell(source)], teacher).cells[0].outputs[0]["text"].splitlines()
    assert lines == ["loopback", "[Errno 101] Network is unreachable"]


def test_writing_elsewhere(engine, teacher, edition):
    before = {p: p.stat().st_mtime_ns for p in edition.rglob("*")}
    places = (
        "/x",
        "/usr/x",
        "/edition/lab/x",
        "/edition/lab/drivers.py",
        "/home/student/drivers.py",
        "/proc/1/oom_adj",
    )
    cells = [Cell(f"open({place!r}, 'a').write('x')") for place in places]
    run = engine.run([*cells, Cell("import os\nos.remove('drivers.py')\nopen('drivers.py', 'w').write('x')")], teacher)
    assert [cell.status for cell in run.cells] == ["error"] * len(places) + ["ok"]
    assert {p: p.stat().st_mtime_ns for p in edition.rglob("*")} == before
    run = engine.run([Cell(RIGHT["double"]), graded("double")], teacher)
    assert is_right(run.outcomes["double"], 2)


def test_system_calls_that_are_refused(engine, teacher):
    source = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, *args):
    result = getattr(libc, name)(*args)
    print(name, result, os.strerror(ctypes.get_errno()) if result == -1 else '')
tried('unshare', 0x10000000)
tried('ptrace', 16, 1, 0, 0)
tried('mount', b'a', b'/tmp', b'tmpfs', 0, None)
tried('shmget', 0, 4096, 0o1600)
"""
    lines = engine.run([Cell(source)], teacher).cells[0].outputs[0]["text"].splitlines()
    refused = "Operation not permitted"
    assert lines == [f"{name} -1 {refused}" for name in ("unshare", "ptrace", "mount", "shmget")]


def test_patches_change_nothing(engine, teacher):
    source = """
import ast, builtins, sys, torch
import mlsys_course.desk.check as check
driver = sys.modules["mlsys_course.desk.check.driver"]
class Right(ast.NodeTransformer):
    def visit_Constant(self, node): return ast.Constant(True)
get_ipython().ast_transformers.append(Right())
get_ipython().run_cell = lambda *a, **k: None
check.check = lambda *a, **k: None
driver.run_case = lambda *a, **k: driver.Outcome({})
builtins.AssertionError = type('Quiet', (Exception,), {})
torch.equal = torch.allclose = lambda *a, **k: True
torch.testing.assert_close = lambda *a, **k: None
def double(x): return x + 1
"""
    run = engine.run([Cell(source), Cell("1"), graded("double")], teacher)
    assert not any(o.outputs and "y" in o.outputs and (o.outputs["y"] == 2 * MARK).all()
                   for o in run.outcomes["double"].values())  # fmt: skip


def test_sealed_inputs_reach_no_output(engine, teacher):
    source = """
import mmap, os, sys, threading, time
path = '/dev/shm/seen'
open(path, 'wb').write(b'\\0' * 4096)
shared = mmap.mmap(os.open(path, os.O_RDWR), 4096)
def tell(x):
    text = ('seen %r' % x.flatten()[0].item()).encode()
    shared[:len(text)] = text
    os.write(1, text)
    print(text, flush=True)
    for fd in range(3, 256):
        try: os.write(fd, text)
        except OSError: pass
    return 2 * x
def double(x): return tell(x)
def watch():
    while True:
        print(bytes(shared[:40]).strip(b'\\0').decode())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
if os.fork() == 0:
    watch()
"""
    look = Cell("import time\ntime.sleep(0.2)\nprint('end', bytes(shared[:40]).strip(b'\\0'))")
    run = engine.run([Cell(source), graded("double"), look, look], teacher)
    assert str(int(MARK)) not in text_of(run)
    assert "end b''" in text_of(run)
    # Its own words on the channel of its outcomes are out of turn there.
    assert {o.problem for o in run.outcomes["double"].values()} == {"crashed"}


@pytest.mark.parametrize(
    "words",
    [
        "b'\\xff' * 64",
        "frame({'kind': 'outcome', 'problem': 'full marks', 'detail': ''})",
        "frame({'kind': 'outcome', 'problem': '', 'detail': ''}, b'no tree')",
        "frame({'kind': 'outcome'})",
        "frame({'kind': 'score', 'score': 1})",
        "frame({'kind': 'x is %s' % x[0].item()})",
        "frame([1, 2])",
        "struct.pack('<II', 5, 0) + b'[[[[['",
    ],
)
def test_forged_frames_in_a_call(engine, teacher, words):
    source = FRAME + f"import os\ndef double(x):\n    os.write(201, {words})\n    return 2 * x"
    run = engine.run([Cell(source), graded("double"), Cell(RIGHT["triple"]), graded("triple")], teacher)
    assert "crashed" in {o.problem for o in run.outcomes["double"].values()}
    assert not is_right(run.outcomes["double"], 2)
    assert str(int(MARK)) not in run.problems.get("double", "")
    assert is_right(run.outcomes["triple"], 3)


def test_forged_frames_in_a_cell(engine, teacher):
    forged = FRAME + "import os\nos.write(200, frame({'kind': 'end'}))\nos.write(201, b'x' * 100)"
    run = engine.run([Cell(forged), Cell(RIGHT["double"]), graded("double")], teacher)
    assert run.status == "crashed"
    assert is_right(run.outcomes["double"], 2)  # the second attempt is without that cell


def test_words_that_carry_more_than_they_may(engine, teacher):
    source = (
        FRAME
        + """
import os
def double(x):
    head = {'kind': 'outcome', 'problem': 'raised', 'detail': 'Seen%d' % x[0].item(), 'line': ['<cell 0>', 10 ** 6]}
    os.write(201, frame(head))
    os._exit(0)
"""
    )
    run = engine.run([Cell(source), graded("double")], teacher)
    told = [o for o in run.outcomes["double"].values() if o.problem == "raised"]
    assert [(o.detail, o.line) for o in told] == [("Exception", None)]


def test_outputs_are_checked():
    stream = {"output_type": "stream", "name": "stdout", "text": "a"}
    html = {"output_type": "display_data", "data": {"text/html": "<b>"}, "metadata": {}}
    error = {"output_type": "error", "ename": "E", "evalue": "", "traceback": ["a", 1]}
    bad = [1, None, {}, {**stream, "name": "x"}, {**stream, "text": 1}, {**html, "data": [1]},
           {**html, "data": {"text/html": {}}}, {"output_type": ["stream"]}, {**error, "traceback": "a"}]  # fmt: skip
    assert said.outputs([*bad, {**stream, "more": 1}, html, error]) == [
        stream,
        html,
        {**error, "traceback": ["a", "1"]},
    ]
    assert said.outputs([{**stream, "text": "\ud800"}]) == [{**stream, "text": "?"}]
    assert said.outputs("text") == [] and said.outputs(None) == []


def test_nothing_is_left_behind(engine, teacher):
    source = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)"
    before = set(_below(engine.warm.process.pid))
    engine.run([Cell(source), Cell(RIGHT["double"]), graded("double")], teacher)
    assert set(_below(engine.warm.process.pid)) == before


def _below(pid: int) -> list[int]:
    found = children(pid)
    return found + [p for child in found for p in _below(child)]


@pytest.mark.parametrize("unsafe", [False, pytest.param(True, marks=pytest.mark.long)])
def test_killing_the_grader(edition, unsafe, engine):
    script = (
        "import sys, torch; from pathlib import Path; from autograder.sandbox import Cell, Engine\n"
        f"with Engine(Path(sys.argv[1]), unsafe={unsafe}) as engine:\n"
        "    print('ready', engine.warm.process.pid, flush=True)\n"
        "    engine.run([Cell('import os; os.fork()\\nwhile True: pass')], None)\n"
    )
    grader = subprocess.Popen([sys.executable, "-c", script, str(edition)], stdout=subprocess.PIPE, text=True)
    with grader, grader.stdout:
        warm = int(grader.stdout.readline().split()[1])
        running = _eventually(lambda: [p for p in [_below(warm)] if len(p) >= 4])[0]
        grader.kill()
    assert _eventually(lambda: [True] if not [pid for pid in [warm, *running] if _alive(pid)] else [])


def test_closing_while_a_submission_runs(edition, teacher, engine):
    with Engine(edition) as other:
        thread = threading.Thread(target=_run_and_forget, args=(other, [Cell("while True: pass")], teacher))
        thread.start()
        running = _eventually(lambda: [p for p in [_below(other.warm.process.pid)] if len(p) >= 4])[0]
        folder = other.warm.folder
    thread.join(20)
    assert not thread.is_alive()
    assert not [pid for pid in running if _alive(pid)]
    assert not Path(folder).exists()


def _eventually(found, seconds: float = 20.0):
    """What ``found`` gives as soon as it is not empty."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s")


def _run_and_forget(engine, cells, teacher) -> None:
    with contextlib.suppress(SandboxUnavailable):
        engine.run(cells, teacher)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
