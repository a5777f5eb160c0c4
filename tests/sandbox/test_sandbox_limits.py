"""What costs too much ends, and costs only the exercise that it is in."""

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from autograder.sandbox import AGAIN, Call, Cell, Engine, Limits
from autograder.sandbox import watchdog as watchdog_module
from autograder.sandbox.inside import processes
from autograder.sandbox.watchdog import Watchdog
from mlsys_course.desk.check import encode

from .conftest import MARK, RIGHT, graded, is_right

AFTER = [Cell(RIGHT["triple"]), graded("triple")]


@pytest.fixture
def tight(engine, monkeypatch):
    """The engine with small limits."""
    small = replace(engine.limits, cell_seconds=1.5, notebook_seconds=12.0, cpu_seconds=12.0, memory_mib=1024)
    monkeypatch.setattr(engine, "limits", small)
    return engine


def test_a_loop_in_a_cell_is_interrupted(tight, teacher):
    run = tight.run(
        [Cell("print('before')\nwhile True: pass"), Cell(RIGHT["double"]), graded("double"), *AFTER], teacher
    )
    assert run.status == "timeout"
    assert run.cells[0].status == "timeout" and run.cells[0].outputs[0]["text"] == "before\n"
    assert is_right(run.outcomes["double"], 2) and is_right(run.outcomes["triple"], 3)
    assert run.wall_seconds < 5


def test_a_loop_that_ignores_interrupts_is_left_out(tight, teacher):
    source = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    run = tight.run([Cell(RIGHT["double"]), Cell(source), graded("double"), *AFTER], teacher)
    assert [cell.status for cell in run.cells] == ["ok", "timeout", "ok", "ok", "ok"]
    assert "run again without it" in run.cells[1].outputs[0]["text"]
    assert is_right(run.outcomes["double"], 2) and is_right(run.outcomes["triple"], 3)


def test_a_loop_in_a_call(engine, teacher):
    source = "def double(x):\n    while True: pass"
    teacher.given = {"double": [replace(call, seconds=0.5) for call in teacher.calls("double")]}
    run = engine.run([Cell(source), graded("double"), *AFTER], teacher)
    assert {o.problem for o in run.outcomes["double"].values()} in ({"timeout"}, {"timeout", "missing"})
    assert run.problems == {"double": "A sealed case took longer than this exercise allows."}
    assert is_right(run.outcomes["triple"], 3)
    assert run.wall_seconds < 5


@pytest.mark.parametrize(
    "source",
    [
        "import torch\nx = torch.ones(6 << 28)",  # 6 GiB at once
        # under a name that is no text, and that looks like more of its own status
        "import ctypes\nctypes.CDLL(None).prctl(15, b'\\xff) R 1\\n')\n"
        "x = []\nwhile True: x.append(bytearray(20 << 20))",
        "import os, time\nx = []\nfor _ in range(4): os.fork()\nwhile True: x.append(bytearray(5 << 20))",
    ],
)
def test_memory_in_a_cell(tight, teacher, source, monkeypatch):
    monkeypatch.setattr(tight, "limits", replace(tight.limits, cell_seconds=10.0))
    run = tight.run([Cell(source), Cell(RIGHT["double"]), graded("double")], teacher)
    assert run.cells[0].status == "error"
    assert is_right(run.outcomes["double"], 2)
    assert run.peak_memory_bytes < 3 << 30


def test_memory_in_a_call(tight, teacher):
    source = "def double(x):\n    y = []\n    while True: y.append(bytearray(20 << 20))"
    run = tight.run([Cell(source), graded("double"), *AFTER], teacher)
    assert {o.problem for o in run.outcomes["double"].values()} <= {"memory", ""}
    assert "memory" in {o.problem for o in run.outcomes["double"].values()}
    assert is_right(run.outcomes["triple"], 3)


def test_memory_that_no_process_maps_is_refused(tight, teacher):
    source = "import mmap\nmmap.mmap(-1, 1 << 20)"
    run = tight.run([Cell(source), Cell("import os\nos.memfd_create('a')"), Cell("open('/dev/zero')")], teacher)
    assert [cell.outputs[-1]["ename"] for cell in run.cells] == [
        "PermissionError",
        "PermissionError",
        "FileNotFoundError",
    ]


def test_disk(tight, teacher):
    source = "for n in range(100):\n    open(f'/{place}/{n}', 'wb').write(b'x' * (8 << 20))"
    cells = [Cell(source.replace("{place}", place)) for place in ("tmp", "home/student", "dev/shm")]
    run = tight.run([*cells, *AFTER], teacher)
    assert [cell.outputs[-1]["ename"] for cell in run.cells[:3]] == ["OSError"] * 3
    assert is_right(run.outcomes["triple"], 3)


def test_a_fork_bomb(tight, teacher):
    run = tight.run([Cell("import os\nwhile True: os.fork()"), Cell(RIGHT["double"]), graded("double")], teacher)
    assert run.cells[0].status in ("error", "timeout")
    assert is_right(run.outcomes["double"], 2)


@pytest.mark.parametrize("source", ["import os\nos._exit(0)", "import os, signal\nos.kill(os.getpid(), 9)"])
def test_a_process_that_ends_itself(engine, teacher, source):
    run = engine.run([Cell(source), Cell(RIGHT["double"]), graded("double"), *AFTER], teacher)
    assert run.status == "crashed" and run.cells[0].status == "error"
    assert is_right(run.outcomes["double"], 2) and is_right(run.outcomes["triple"], 3)


def test_a_call_that_ends_its_process(engine, teacher):
    source = "import os\ndef double(x):\n    os._exit(0)"
    run = engine.run([Cell(source), graded("double"), *AFTER], teacher)
    assert {o.problem for o in run.outcomes["double"].values()} == {"crashed"}
    assert is_right(run.outcomes["triple"], 3)


def test_many_cells_that_end_it(engine, teacher):
    cells = [Cell("import os\nos._exit(0)")] * 5
    run = engine.run([Cell(RIGHT["double"]), graded("double"), *cells, *AFTER], teacher)
    assert is_right(run.outcomes["double"], 2)  # parked before
    assert {o.problem for o in run.outcomes["triple"].values()} == {"crashed"}
    assert [cell.status for cell in run.cells][-2:] == ["notrun", "notrun"]


def test_the_whole_notebook_has_a_limit(engine, teacher, monkeypatch):
    monkeypatch.setattr(engine, "limits", replace(engine.limits, notebook_seconds=1.0))
    cells = [Cell(RIGHT["double"]), graded("double"), Cell("import time\ntime.sleep(9)"), *AFTER]
    run = engine.run(cells, teacher)
    assert [cell.status for cell in run.cells] == ["ok", "ok", "timeout", "notrun", "notrun"]
    assert is_right(run.outcomes["double"], 2)
    assert {o.problem for o in run.outcomes["triple"].values()} == {"timeout"}


def test_who_sleeps_in_every_call_holds_nobody_up(edition, teacher):
    lazy = "import time\ndef double(x):\n    time.sleep(0.7)\n    return 2 * x\ntriple = double"
    with Engine(edition, limits=Limits(sealed_seconds=2.0)) as engine:
        run = engine.run([Cell(lazy), graded("double"), graded("triple")], teacher)
    assert run.wall_seconds < 6 and all(outcomes for outcomes in run.outcomes.values())
    assert {o.problem for outcomes in run.outcomes.values() for o in outcomes.values()} >= {"timeout"}


def test_a_flood_of_output(engine, teacher):
    flood = "for _ in range(200_000): print('x' * 1000)"
    start = time.monotonic()
    run = engine.run([Cell(flood), Cell("print('more')"), *AFTER], teacher)
    text = "".join(o["text"] for o in run.cells[0].outputs)
    assert len(text) < (engine.limits.output_mib << 20) + 1000 and "The outputs end here" in text
    assert not run.cells[1].outputs
    assert is_right(run.outcomes["triple"], 3)
    assert time.monotonic() - start < 10


def test_memory_of_processes_that_share_pages(monkeypatch):
    """Sums far over the limit are no reason; shares that grow without the sums are, and are looked at in time."""
    shares, now = {2: 100 << 20, 3: 100 << 20}, [0.0]
    used = {pid: processes.Usage(1500 << 20, 0.0, 0.0) for pid in shares}
    asked = []
    monkeypatch.setattr(processes, "status_bytes", lambda pid, *names: used[pid].resident)
    monkeypatch.setattr(processes, "proportional_bytes", lambda pid: asked.append(pid) or shares[pid])
    monkeypatch.setattr(watchdog_module.time, "monotonic", lambda: now[0])
    ended = threading.Event()
    ended.set()
    watchdog = Watchdog(
        SimpleNamespace(ended=ended, init=0, slot=0, warm=SimpleNamespace(cards=None)), Limits(memory_mib=1024), 60.0
    )
    for _ in range(100):
        now[0] += 0.03
        assert watchdog._memory(used) == (64 + 200) << 20
    assert 4 <= len(asked) <= 20  # every 0.4 s of the three, two processes each
    shares[2] = 1000 << 20  # it wrote to pages that it had shared
    now[0] += 0.5
    assert watchdog._memory(used) == (64 + 1100) << 20
    used[3] = processes.Usage(1600 << 20, 0.0, 0.0)  # and new memory counts at once, whatever the shares say
    assert watchdog._memory(used) >= (64 + 1100) << 20


def test_page_tables_do_not_make_shared_pages_count_twice(monkeypatch):
    """Sums just below the limit, and above it with the tables: then too only the shares can tell."""
    used = {pid: processes.Usage(475 << 20, 0.0, 0.0) for pid in (2, 3)}
    monkeypatch.setattr(processes, "status_bytes", lambda pid, *names: used[pid].resident)
    monkeypatch.setattr(processes, "proportional_bytes", lambda pid: 100 << 20)
    ended = threading.Event()
    ended.set()
    sandbox = SimpleNamespace(ended=ended, init=0, slot=0, warm=SimpleNamespace(cards=None))
    watchdog = Watchdog(sandbox, Limits(memory_mib=1024), 60.0)
    assert watchdog._memory(used) == (64 + 950) << 20
    assert watchdog._memory(used, tables=16 << 20) == (64 + 16 + 200) << 20


@pytest.mark.parametrize("slow", ["while True: pass", "import time; time.sleep(60)", "torch.mm(big, big)"])
def test_one_slow_case_is_the_only_slow_one(engine, teacher, slow):
    """Whether the process can be interrupted or not; which case comes first is drawn."""
    double = f"def double(x):\n    if len(x) == 2:\n        {slow}\n    return 2 * x"
    source = f"import torch\nbig = torch.ones(7000, 7000)\n{double}"
    calls = [Call(f"case {n}", encode({"x": torch.full((n,), MARK)}), seconds=0.5) for n in (1, 2, 3)]
    teacher.given = {"double": calls}
    run = engine.run([Cell(source), graded("double"), Cell("def triple(x): return 3 * x"), graded("triple")], teacher)
    problems = {key.removesuffix(AGAIN): o.problem for key, o in run.outcomes["double"].items()}
    assert problems == {"case 1": "", "case 2": "timeout", "case 3": ""}
    assert is_right(run.outcomes["triple"], 3)


def test_compiled_functions_are_graded_as_they_are_written(engine, teacher):
    plain = "@torch.compile\ndef double(x):\n    return 2 * x"
    called = "triple = torch.compile(lambda x: 3 * x, mode='max-autotune')"
    source = f"import torch\n{plain}\n@torch.compile(fullgraph=True)\ndef other(x):\n    return x\n{called}"
    run = engine.run([Cell(source), graded("double"), graded("triple")], teacher)
    assert is_right(run.outcomes["double"], 2) and is_right(run.outcomes["triple"], 3)
    assert run.cpu_seconds < 5


def test_an_endless_function_leaves_time_to_the_others(engine, teacher, monkeypatch):
    """However many cases it has: two that take all their time, after one in the process for all, and no more."""
    monkeypatch.setattr(engine, "limits", replace(engine.limits, cpu_seconds=10.0))
    calls = [Call(f"case {n}", encode({"x": torch.full((n,), MARK)}), seconds=1.5) for n in range(1, 13)]
    teacher.given = {"double": calls}
    run = engine.run([Cell("def double(x):\n    while True: pass"), graded("double"), *AFTER], teacher)
    told = [outcome.problem for key, outcome in run.outcomes["double"].items() if not key.endswith(AGAIN)]
    assert (told.count("timeout"), told.count("missing")) == (2, 10)
    assert is_right(run.outcomes["triple"], 3)
