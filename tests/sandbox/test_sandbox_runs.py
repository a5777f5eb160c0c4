"""A submission's ordinary ways through the engine."""

import base64
import json
import random

import numpy as np
import pytest
import torch

from autograder.sandbox import AGAIN, Call, Cell
from mlsys_course.desk.check import encode
from mlsys_course.desk.check.edition import EditionError

from .conftest import MARK, RIGHT, graded, is_right


def test_right_candidates(engine, teacher):
    cells = [Cell("import torch"), Cell(RIGHT["double"]), graded("double"), Cell(RIGHT["triple"]), graded("triple")]
    run = engine.run(cells, teacher)
    assert (run.status, run.problems, run.log) == ("ok", {}, [])
    assert [cell.status for cell in run.cells] == ["ok"] * 5
    assert is_right(run.outcomes["double"], 2) and is_right(run.outcomes["triple"], 3)
    again = [key for key in run.outcomes["double"] if key.endswith(AGAIN)]
    assert len(again) == 1 and again[0].removesuffix(AGAIN) in run.outcomes["double"]
    assert run.wall_seconds < 5 and 0 <= run.cpu_seconds < 5 and run.peak_memory_bytes > 64 << 20
    assert all(0 < o.seconds < 3 and o.costs["part_calls"] == 0 for o in run.outcomes["double"].values())


def test_the_candidate_is_the_one_at_its_cell(engine, teacher):
    cells = [Cell(RIGHT["double"]), graded("double"), Cell("def double(x):\n    return 0 * x")]
    assert is_right(engine.run(cells, teacher).outcomes["double"], 2)


def test_wrong_values_come_back_as_they_are(engine, teacher):
    run = engine.run([Cell("def double(x):\n    return x + 1"), graded("double")], teacher)
    assert all(bool((o.outputs["y"] == MARK + 1).all()) for o in run.outcomes["double"].values())


def test_an_exception_tells_its_class_and_line_but_no_words(engine, teacher):
    source = "\nclass Secret(ValueError):\n    pass\ndef double(x):\n    y = x\n    raise Secret(str(x))\n"
    run = engine.run([Cell("1 + 1"), Cell(source), graded("double")], teacher)
    for outcome in run.outcomes["double"].values():
        assert (outcome.problem, outcome.detail, outcome.line) == ("raised", "ValueError", ("<cell 1>", 6))


@pytest.mark.parametrize(
    "source, problem, detail",
    [
        ("", "missing", "its name is not defined"),
        ("double = None", "missing", "it is None; write the function above and run its cell"),
        ("def double(x):\n    raise NotImplementedError", "missing", "not written yet"),
        ("def double(x):\n    return object()", "type", "a result of a wrong type"),
        ("def double(x):\n    return x.mul_(2)", "modified", "`x`"),
        ("import torch\ndef double(x):\n    return torch.einsum('i->i', x)", "forbidden", "torch.einsum"),
        ("import torch\ndef double(x):\n    torch._C._autograd._enable_record_function(True)", "forbidden", "record"),
        ("def double(x):\n    raise SystemExit", "raised", "SystemExit"),
        ("def double(x):\n    raise MemoryError", "memory", ""),
        ("import torch\ndef double(x):\n    return torch.empty(1 << 43)", "memory", ""),
    ],
)
def test_problems(engine, teacher, source, problem, detail):
    run = engine.run([Cell(source), graded("double")], teacher)
    assert {(o.problem, o.detail) for o in run.outcomes["double"].values()} == {(problem, detail)}


def test_a_choice(engine, teacher):
    run = engine.run([Cell('pick = "b"'), graded("pick")], teacher)
    assert {key: o.outputs for key, o in run.outcomes["pick"].items()} == {"answer": {"answer": "b"}}
    run = engine.run([Cell("pick = None"), graded("pick")], teacher)
    assert run.outcomes["pick"]["answer"].problem == "missing"


def test_outputs_are_those_of_a_notebook(engine, teacher):
    cells = [
        Cell("import sys\nprint('out')\nprint('warned', file=sys.stderr)\n40 + 2"),
        Cell("%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"),
        Cell("1 / 0"),
        Cell("!echo from the shell"),
        Cell("def broken(:"),
        Cell("from IPython.display import display\nh = display('before', display_id=True)\nh.update('after')"),
        Cell("input()"),
        Cell("raise AssertionError('never')", skip=True),
    ]
    run = engine.run(cells, teacher)
    assert [cell.status for cell in run.cells] == ["ok", "ok", "error", "ok", "error", "ok", "error", "skipped"]
    first, figure, error, shell, syntax, updated, asked, _ = (cell.outputs for cell in run.cells)
    assert [o.get("text") or o["data"]["text/plain"] for o in first] == ["out\n", "warned\n", "42"]
    assert first[2]["execution_count"] == 1
    assert base64.b64decode(figure[-1]["data"]["image/png"]).startswith(b"\x89PNG")
    assert (error[0]["ename"], error[0]["evalue"]) == ("ZeroDivisionError", "division by zero")
    assert shell[0]["text"] == "from the shell\n"
    assert syntax[0]["ename"] == "SyntaxError"
    assert [o["data"]["text/plain"] for o in updated if o["output_type"] == "display_data"] == ["'after'"]
    assert asked[-1]["ename"] == "EOFError"


def test_what_was_handed_in_beside_the_notebook(engine, teacher):
    files = {"my_mlsys/__init__.py": b"", "my_mlsys/attention.py": b"answer = 7", "torch.py": b"raise SystemExit"}
    cells = [
        Cell("import my_mlsys.attention as a, torch, os, drivers\nprint(a.answer, torch.ones(1).item(), os.getcwd())")
    ]
    run = engine.run(cells, teacher, files=files)
    assert run.cells[0].outputs[0]["text"] == "7 1.0 /home/student\n"


SETTINGS = """
import random, sys, warnings
import numpy as np
import torch
torch.set_num_threads(8)
torch.set_float32_matmul_precision("medium")
torch.set_grad_enabled(False)
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_flush_denormal(True)
torch.autocast("cpu").__enter__()
np.seterr(all="raise")
warnings.simplefilter("error")
torch.manual_seed(3)
in_cells = torch.randn(2, 7, 12, device="cpu").bfloat16(), torch.randn(12, 24, device="cpu").bfloat16()
in_cells = (in_cells[0] @ in_cells[1]).double(), in_cells[0].double() @ in_cells[1].double()
in_cells = ((in_cells[0] - in_cells[1]).abs() <= 0.1 * (1 + in_cells[1].abs())).all()
"""
ASKED = """
def triple(x):
    seen = [torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.is_grad_enabled()]
    seen += [torch.ones(1).dtype, torch.ones(1).device.type, (torch.ones(2, 2) @ torch.ones(2, 2)).dtype]
    seen += [torch.initial_seed(), random.random(), float(np.random.rand()), bool(torch.tensor(1e-40) > 0)]
    seen += [bool(in_cells), float(np.float64(1) / np.float64(0))]
    warnings.warn("no exception")
    return "; ".join(map(str, seen))
"""


def test_settings_of_a_notebook_reach_no_sealed_call(engine, teacher):
    run = engine.run([Cell(SETTINGS), Cell(ASKED), graded("triple"), Cell(RIGHT["double"]), graded("double")], teacher)
    seen = {o.detail if o.problem else o.outputs["y"] for o in run.outcomes["triple"].values()}
    drawn = f"{random.Random(0).random()}; {np.random.RandomState(0).random_sample()}"
    says = f"1; highest; True; torch.float32; cpu; torch.float32; 0; {drawn}; True; True; inf"
    assert (run.cells[0].status, seen) == ("ok", {says})
    assert is_right(run.outcomes["double"], 2)


def test_nothing_of_a_submission_is_there_for_the_next(engine, teacher):
    cells = [Cell("import torch, os\ntorch.leaked = 1\nopen('/tmp/left', 'w').close()\nleft = 1")]
    engine.run(cells, teacher)
    asks = "import torch, os\nprint(hasattr(torch, 'leaked'), os.path.exists('/tmp/left'), 'left' in globals())"
    run = engine.run([Cell(asks)], teacher)
    assert run.cells[0].outputs[0]["text"] == "False False False\n"


def test_peak_memory_is_measured_from_outside(engine, teacher):
    x = encode({"x": torch.ones(1000, 1000)})  # 4 MB
    teacher.given = {name: [Call("big", x, 5.0, measure_memory=True)] for name in ("double", "triple")}
    cells = [
        Cell("import torch"),
        Cell("def double(x):\n    return (x[:, :1] + torch.zeros(1, 20_000_000 // 1000)).sum() * x[0]"),
        Cell("def triple(x):\n    return x[0] * 3"),
        graded("double"),
        graded("triple"),
    ]
    run = engine.run(cells, teacher)
    large, small = (run.outcomes[name]["big"].costs["peak_memory"] for name in ("double", "triple"))
    assert 60e6 < large < 130e6  # 80 MB, less the code that a bare process touches and this one does not
    assert small < 40e6


def test_what_the_caller_gets_wrong(engine, teacher):
    with pytest.raises(EditionError, match="nothing_like_it"):
        engine.run([graded("nothing_like_it")], teacher)
    with pytest.raises(ValueError, match="different"):
        engine.run([graded("double"), graded("double")], teacher)
    with pytest.raises(ValueError, match="relative"):
        engine.run([], teacher, files={"../outside": b""})
    teacher.given = {"double": [Call("one", encode({})), Call("one", encode({}))]}
    with pytest.raises(ValueError, match="differ"):
        engine.run([Cell(RIGHT["double"]), graded("double")], teacher)


def test_a_run_is_plain_data(engine, teacher):
    run = engine.run([Cell("1"), graded("double")], teacher)
    assert json.dumps([cell.outputs for cell in run.cells])
