"""An error in a check points: at the student's own line, at what the driver was given, at the cell of a name."""

import json

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from mlsys_course.desk.check import Case, Driver, Specification, judge
from mlsys_course.desk.check.cell import _with_origin, run_cases
from mlsys_course.desk.check.pointing import origin
from mlsys_course.desk.check.verdict_table import to_html, to_text

SOURCE = """
def helper(x):
    return x @ torch.ones(5, 5)

def candidate(x):
    y = helper(x)
    return y
"""
DRIVERS = """
def asks(candidate, case):
    y = candidate(case["x"])
    return {"y": y @ case["weight"]}
"""


@pytest.fixture
def cell():
    """Runs a cell as a notebook does, and returns its names."""

    def run(source: str) -> dict:
        shell = InteractiveShell.instance()
        shell.user_ns["torch"] = torch
        shell.run_cell("1 + 1", store_history=True)
        shell.run_cell(source, store_history=True)
        return shell.user_ns

    yield run
    InteractiveShell.clear_instance()


@pytest.fixture
def driver(tmp_path):
    names: dict = {}
    exec(compile(DRIVERS, str(tmp_path / "drivers.py"), "exec"), names)
    return Driver("asks", names["asks"])


def verdict(driver, candidate):
    x = {"x": torch.ones(2, 3), "weight": torch.ones(3, 4)}
    cases = [Case(f"case {n}", "values", x, {"y": torch.ones(2, 4)}) for n in range(13)]
    specification = Specification("asks", "core", {"values": 1}, cases)
    return judge(specification, run_cases(specification, driver, candidate), driver)


@pytest.mark.parametrize("show", [to_text, to_html])
def test_the_students_own_lines_are_shown_once(cell, driver, show):
    said = show(verdict(driver, cell(SOURCE)["candidate"]))
    assert said.count("return x @ torch.ones(5, 5)") == said.count("y = helper(x)") == 1
    assert "cell [2], line 2, in helper: return x @ torch.ones(5, 5)" in said
    assert said.count("raised the same there") == 12 and said.count("mat1") == 1


def test_words_stand_at_the_left_and_shapes_in_one_line(cell, driver):
    page = to_html(verdict(driver, cell("def candidate(x):\n    return x + 1")["candidate"]))
    assert '<td style="white-space:nowrap">(2, 4)</td>' in page
    assert '<td style="text-align:left">y is off by up to 5 at [0, 0]</td>' in page


def test_an_error_of_the_driver_says_what_it_was_given(cell, driver):
    said = to_text(verdict(driver, cell("def candidate(x):\n    return x.T")["candidate"]))
    assert "drivers.py, line 4" in said and "x (2, 3) float32, weight (3, 4) float32" in said
    assert "drivers.py" not in to_text(verdict(driver, cell(SOURCE)["candidate"]))


def test_an_interrupt_stops_all_cases(driver):
    calls = []

    def interrupted(x):
        calls.append(x)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict(driver, interrupted)
    assert len(calls) == 1


def test_a_name_says_from_which_cell_it_comes(tmp_path, cell, driver):
    outcome = verdict(driver, cell("def candidate(x):\n    return math.pi * x")["candidate"]).results[0].outcome
    folder = tmp_path / "lab"
    folder.mkdir()
    sources = ["# A title", "import math\nscale = 2", "def candidate(x): return math.pi * x"]
    cells = [{"cell_type": "code" if n else "markdown", "source": [source]} for n, source in enumerate(sources)]
    (folder / "lab.ipynb").write_text(json.dumps({"cells": cells}))
    assert "math comes from cell 2 of the notebook (import math)" in _with_origin(outcome, folder).beside
    assert origin("absent", sources) == "no cell of this notebook defines absent"
