"""Sealed calls in processes that ran the notebook again, as cards need it; here on the CPU."""

import time

import pytest
import torch

from autograder.sandbox import Call, Cell, Limits
from mlsys_course.desk.check import encode

from .conftest import RIGHT, Teacher, graded, is_right
from .ranked import RING, ring_call


def test_the_same_outcomes_as_from_copies(replaying, engine, teacher):
    total = "def sum_of_squares(x, square):\n    return square(x).sum()"
    cells = [Cell("import torch"), Cell(RIGHT["double"]), graded("double"), Cell(total), graded("sum_of_squares"),
             Cell("answer = 'b'"), graded("pick", "answer"), Cell("double = None\nprint('end')")]  # fmt: skip
    again, copied = replaying.run(cells, teacher), engine.run(cells, Teacher())
    for run in (again, copied):
        assert (run.status, run.problems, run.log) == ("ok", {}, [])
        assert is_right(run.outcomes["double"], 2) and run.outcomes["pick"]["answer"].outputs == {"answer": "b"}
        assert all(o.outputs["gradient"] is not None for o in run.outcomes["sum_of_squares"].values())
        assert [cell.status for cell in run.cells] == ["ok"] * 8
        assert run.cells[-1].outputs[0]["text"] == "end\n"


def test_each_answers_in_a_process_of_its_own_that_no_copy_of_the_notebook_is(replaying, teacher):
    """A fork of a process that ran ``backward`` has no threads for a card; a process that runs all itself does."""
    cells = [
        Cell("import os, torch\nnotebook = os.getpid()\ntorch.ones(2, requires_grad=True).sum().backward()"),
        Cell("def double(x):\n    assert os.getpid() == notebook\n    return 2 * x"), graded("double"),
        Cell("def triple(x):\n    assert os.getpid() == notebook\n    return 3 * x"), graded("triple"),
    ]  # fmt: skip
    run = replaying.run(cells, teacher)
    assert is_right(run.outcomes["double"], 2) and is_right(run.outcomes["triple"], 3)


def test_a_cell_that_hangs_is_cut_short_again(replaying, teacher, monkeypatch):
    monkeypatch.setattr(replaying, "limits", Limits(cell_seconds=1.5))
    hang = Cell("factor = 2\nwhile True:\n    pass")
    start = time.monotonic()
    run = replaying.run([hang, Cell("def double(x):\n    return factor * x"), graded("double")], teacher)
    assert run.cells[0].status == "timeout" and time.monotonic() - start < 15
    assert is_right(run.outcomes["double"], 2)


def test_a_cell_that_hangs_only_when_run_again(replaying, teacher):
    source = (
        "import os, time\nfirst = not os.path.exists('mark')\nopen('mark', 'w').close()\nif not first: time.sleep(60)"
    )
    start = time.monotonic()
    run = replaying.run([Cell(source), Cell(RIGHT["double"]), graded("double")], teacher)
    assert run.cells[0].status == "ok" and time.monotonic() - start < 20
    assert is_right(run.outcomes["double"], 2)


ENDED = "\nimport os\npid = os.fork()\nif not pid: os._exit(0)\nos.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)"


@pytest.mark.parametrize("ended", ["", ENDED], ids=["alone", "beside one that has ended"])
def test_memory_is_that_of_the_process_that_answers(replaying, ended):
    """And not of one that has ended, and waits for somebody to ask how."""
    big = 64 << 20
    teacher = Teacher({"double": [Call(f"case {n}", encode({"x": torch.ones(n)}), 3.0, True) for n in (1, 2)]})
    source = f"import torch\ndef double(x):\n    torch.ones({big // 4}).sum()\n    return 2 * x"
    run = replaying.run([Cell(source + ended), graded("double")], teacher)
    assert all(big / 2 < o.costs["peak_memory"] < 2 * big for o in run.outcomes["double"].values())


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), 9)", "os.kill(os.getppid(), 9); time.sleep(9)"])
def test_one_that_ends_leaves_the_others(replaying, teacher, end):
    bad = f"import os, time\ndef double(x):\n    {end}"
    run = replaying.run([Cell(bad), graded("double"), Cell(RIGHT["triple"]), graded("triple")], teacher)
    assert {o.problem for o in run.outcomes["double"].values()} <= {"crashed", "timeout"}
    assert is_right(run.outcomes["triple"], 3)


def test_who_claims_to_be_broken_gains_no_time(replaying, teacher):
    """It may say so, and then it must let another take over."""
    source = """
from mlsys_course.desk import check
import gc
def double(x):
    from inside.channel import Channel
    channel = next(o for o in gc.get_objects() if isinstance(o, Channel) and o.sock.fileno() >= 0)
    channel.send({"kind": "outcome", "broken": True, "problem": "raised", "detail": "ValueError", "line": None})
    while True: pass
"""
    start = time.monotonic()
    run = replaying.run([Cell(source), graded("double"), Cell(RIGHT["triple"]), graded("triple")], teacher)
    assert not any(o.outputs for o in run.outcomes["double"].values()) and "double" in run.problems
    assert is_right(run.outcomes["triple"], 3) and time.monotonic() - start < 45


def test_ranks(replaying):
    calls = [ring_call("two", 2), ring_call("three", 3)]
    run = replaying.run([Cell(RING), graded("ring"), Cell(RIGHT["double"]), graded("double")], Teacher({"ring": calls}))
    assert (run.status, run.problems) == ("ok", {}) and is_right(run.outcomes["double"], 2)
    assert all(not o.problem and o.costs["rank_bytes"] > 0 for o in run.outcomes["ring"].values())
