"""Ways out that were once open: each tried again, through the engine."""

import json
import time
from dataclasses import replace

import pytest
import torch

from autograder.sandbox import Call, Cell
from autograder.sandbox.handles import GONE, process_handle, send_signal
from autograder.sandbox.inside import processes
from autograder.sandbox.submission import Submission
from mlsys_course.desk.check import encode

from .conftest import RIGHT, graded, is_right

FORGED = """
import json, os, struct, time
for n in range(40):
    shown = [{'output_type': 'stream', 'name': 'stdout', 'text': 'x' * (6 << 20)}]
    text = json.dumps({'kind': 'cell', 'cell': n, 'ok': True, 'outputs': shown}).encode()
    data = struct.pack('<II', len(text), 0) + text
    while data: data = data[os.write(200, data):]
time.sleep(60)
"""


def test_outputs_that_are_forged_have_a_limit_too(engine, teacher):
    """The sandbox counts its own outputs; who writes to the channel does not."""
    run = engine.run([Cell(FORGED), *[Cell("1")] * 39], teacher)
    shown = len(json.dumps([cell.outputs for cell in run.cells]))
    assert 6 << 20 < shown < 3 * engine.limits.output_mib << 20


def test_nobody_makes_a_neighbour_wait_for_a_file(engine, teacher):
    source = "import fcntl, os\nfd = os.open('/tmp/mine', os.O_CREAT | os.O_RDONLY)\nfcntl.fcntl(fd, 1024, {kind})"
    run = engine.run([Cell(source.replace("{kind}", kind)) for kind in ("fcntl.F_RDLCK", "fcntl.F_WRLCK")], teacher)
    assert [cell.outputs[-1]["ename"] for cell in run.cells] == ["PermissionError"] * 2


def test_who_is_measured_is_held(engine, teacher):
    """No process, no thread, no file, and no new peak, from the first measured call on."""
    source = """
import os, threading
def tried(action):
    try: action()
    except BaseException as error: return type(error).__name__
    return 'done'
def double(x):
    found = [tried(os.fork), tried(threading.Thread(target=print).start), tried(lambda: os.write(spare, b'x')),
             tried(lambda: open('/proc/self/clear_refs', 'w'))]
    assert found == ['BlockingIOError', 'RuntimeError', 'OSError', 'OSError'], found
    return 2 * x
spare = os.open('/tmp/spare', os.O_CREAT | os.O_RDWR)
os.write(spare, b'before')
"""
    inputs = encode({"x": torch.ones(2)})
    teacher.given = {"double": [Call("one", inputs, 3.0, measure_memory=True)]}
    run = engine.run([Cell(source), graded("double")], teacher)
    outcome = run.outcomes["double"]["one"]
    # It returned: had one of the four been possible, it would have raised. That it asked for a thread is told.
    assert (outcome.problem, outcome.detail) == ("forbidden", "threads")


def test_who_leaves_no_time_to_measure_hides_nothing(engine, teacher, monkeypatch):
    """A call that ends just in time: what a bare process takes is not known then, of this one. Of the next it is."""
    teacher.given = {"double": [Call("slept", encode({"x": torch.ones(3)}), 3.0, measure_memory=True)]}
    alone = Submission._alone

    def too_late(self, *args, **more):
        self.sealed_end = time.monotonic()
        return alone(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Submission, "_alone", too_late)
        late = engine.run([Cell(RIGHT["double"]), graded("double")], teacher).outcomes["double"]["slept"]
    in_time = engine.run([Cell(RIGHT["double"]), graded("double")], teacher).outcomes["double"]["slept"]
    assert late.costs["peak_memory"] == float("inf") and abs(in_time.costs["peak_memory"]) < 20 << 20


def test_the_first_process_holds_all_others(engine):
    sandbox = engine.warm.spawn(engine.limits, 0)
    try:
        sandbox.begin()
        assert not processes.held(sandbox.pid)
        assert sandbox.hold() and processes.held(sandbox.pid)
        assert not processes.held(sandbox.init)
    finally:
        sandbox.close()


def test_a_process_that_has_gone_is_never_signalled_by_its_number(monkeypatch):
    """Somebody else may have it by now."""
    sent = []
    monkeypatch.setattr("os.kill", lambda *args: sent.append(args))
    handle = process_handle(2**22 - 1)  # no such process
    assert handle == GONE
    send_signal(handle, 2**22 - 1, 9)
    assert sent == []


def test_processes_that_fork_faster_than_one_look(engine, teacher):
    """None of them is there when sealed inputs come; the exercise after it is asked as ever."""
    source = """
import os, sys
def flee():
    while True:
        if os.fork(): os._exit(0)
for _ in range(8):
    if os.fork() == 0: flee()
"""
    start = time.monotonic()
    run = engine.run([Cell(RIGHT["double"]), graded("double"), Cell(source)], teacher)
    assert is_right(run.outcomes["double"], 2) and time.monotonic() - start < 30


@pytest.mark.parametrize("place", ["/proc/self/clear_refs", "/proc/self/oom_score_adj", "/proc/self/comm"])
def test_proc_is_read_only(engine, teacher, place):
    run = engine.run(
        [Cell(f"print(open('/proc/self/oom_score_adj').read())\nopen({place!r}, 'w').write('0')")], teacher
    )
    assert run.cells[0].outputs[0]["text"].strip() == "1000" and run.cells[0].outputs[-1]["ename"] == "OSError"


def test_page_tables_are_memory(engine, teacher, monkeypatch):
    """An empty mapping that is only read holds no page of its own, and a table for every 2 MiB of it."""
    source = """
import mmap, time
view = mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)  # NORESERVE
view.madvise(mmap.MADV_NOHUGEPAGE)  # else one entry may stand for 2 MiB of it
for at in range(0, 1 << 40, 2 << 20): view[at]
"""
    monkeypatch.setattr(engine, "limits", replace(engine.limits, memory_mib=1024))
    run = engine.run([Cell(source), Cell(RIGHT["double"]), graded("double")], teacher)
    assert run.status == "memory" and run.peak_memory_bytes < 2 << 30
    assert is_right(run.outcomes["double"], 2)
