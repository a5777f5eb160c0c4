"""mlsys check where a notebook does not behave: what stopped which cell is said, and what was found counts."""

import io
import signal
import time
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from rich.console import Console

from mlsys_course.desk import workbook
from mlsys_course.desk.check import cell
from mlsys_course.desk.cli import check_table, check_total
from mlsys_course.desk.points import LabPoints
from mlsys_course.desk.workbook import Found, Ran, WorkbookError, find_lab, run_notebook

from .conftest import cell as cell_of
from .conftest import solve

LOOP = "import time\nwhile True:\n    time.sleep(1)"
STUBBORN = "import time\nwhile True:\n    try:\n        time.sleep(1)\n    except KeyboardInterrupt:\n        pass"
OWN_PART = "def attention():\n    return 'mine'\n"
TAKES = """from mlsys_course.desk.carry import take
take('attention', 'attention')
take('attention', 'causal_mask')
undefined_here"""


def with_cell(edit, folder, source: str, solution) -> None:
    """Solve the lab, with one cell more below the imports."""
    edit(folder, solution)
    edit(folder, lambda notebook: notebook.cells.insert(2, nbformat.v4.new_code_cell(source, id="more")))


@pytest.mark.long
def test_an_endless_loop_is_stopped_and_the_rest_counts(started, edit, small_lab, desk):
    desk.parts.mkdir()
    (desk.parts / "__init__.py").touch()
    (desk.parts / "attention.py").write_text(OWN_PART)
    with_cell(edit, started, LOOP, solve(small_lab))
    edit(started, lambda notebook: notebook.cells.append(nbformat.v4.new_code_cell(TAKES, id="takes")))
    ran = run_notebook(started, seconds=8)
    assert [(row.exercise, row.status, row.score) for row in ran.found] == [("times", "ok", 4)]
    assert ran.troubles == ["cell 3 (import time) ran longer than 8 s and was stopped"]
    assert ran.parts == {"attention.attention": "your own", "attention.causal_mask": "the course's"}
    assert list(ran.undefined.values()) == ["undefined_here"]


@pytest.mark.long
def test_a_loop_that_will_not_be_stopped_ends_the_run(started, edit, small_lab, monkeypatch):
    monkeypatch.setattr(workbook, "STUCK_SECONDS", 2)
    with_cell(edit, started, STUBBORN, solve(small_lab))
    ran = run_notebook(started, seconds=8)
    assert [row.status for row in ran.found] == ["not run"]
    assert ran.troubles[-1] == "It would not be stopped, so the cells after it were not run"


def test_both_sides_mean_the_same_file():
    assert workbook.RESULTS == cell.RESULTS


def test_a_cell_that_ends_python_is_named(started, edit, small_lab):
    with_cell(edit, started, "import os\nos._exit(1)", solve(small_lab))
    ran = run_notebook(started)
    assert [(row.exercise, row.status) for row in ran.found] == [("times", "not run")] and ran.points == {}
    assert ran.troubles == ["cell 3 (import os) ended Python itself; the cells after it were not run"]


def test_what_needs_a_cell_that_was_stopped_has_no_result(started, edit, small_lab):
    with_cell(edit, started, "pass", solve(small_lab))
    slow = "import time\ntime.sleep(60)\n"
    edit(started, lambda n: cell_of(n, "solution-times").update(source=slow + cell_of(n, "solution-times").source))
    ran = run_notebook(started, seconds=5)
    assert [row.status for row in ran.found] == ["not run"] and ran.points == {}
    assert ran.found[0].why == "cell 5 (import time) was stopped before it"


def test_no_result_is_not_a_wrong_one(tmp_path):
    ran = Ran([Found("plus", "ok", 3, 3), Found("times", "not run", 0, 4)])
    said = io.StringIO()
    Console(file=said, width=100).print(check_table(Path("lab00_small"), ran))
    assert ["times", "- / 4", "not run"] in [
        [cell.strip() for cell in line.split("│")[1:4]] for line in said.getvalue().splitlines()
    ]
    assert check_total(tmp_path, ran) == "On public cases 1 of 1 pass: 3 of 3 points; 1 not run, so without a result."
    assert check_total(tmp_path, Ran(ran.found[1:])) == "No result: none of the 1 exercises was run."


def test_a_sentence_ends_once():
    assert Ran(troubles=["cell 3 raised X: Run it again.", "It stopped"]).sentences == [
        "cell 3 raised X: Run it again.",
        "It stopped.",
    ]


def test_an_interrupted_check_is_one_line_with_the_students_own(started, capsys):
    shell = InteractiveShell.instance()
    loops = (
        "def times(x):\n    while True:\n        raise KeyboardInterrupt  # workers of pytest-xdist ignore the signal"
    )
    calls = f"from mlsys_course.desk.check import check\ncheck('times', times, folder={str(started)!r})"
    try:
        shell.run_cell(loops, store_history=True)
        shell.run_cell(calls, store_history=True)
    finally:
        InteractiveShell.clear_instance()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 1 and "interrupted in `times`, cell [1], line" in lines[0], lines


def test_a_lab_that_is_nearly_named_is_asked_for(started, tmp_path):
    for name in ("lab0", "lab_00", "0", "Lab00", "foundations"):
        with pytest.raises(WorkbookError, match="did you mean lab00"):
            find_lab(name, started.parent)
    with pytest.raises(WorkbookError, match="call this in the folder"):
        find_lab("lab07", started.parent)


def test_an_answer_that_is_recorded_is_no_point_lost(tmp_path):
    ran = Ran([Found("times", "ok", 4, 4), Found("why", "ok", 0, 2), Found("plus", "wrong", 1, 3, ["Look again."])])
    said = io.StringIO()
    Console(file=said, width=100).print(check_table(Path("lab00_small"), ran))
    rows = [line.split("│") for line in said.getvalue().splitlines() if "│" in line]
    assert [[cell.strip() for cell in row[1:4]] for row in rows] == [
        ["times", "4 / 4", "ok"],
        ["why", "- / 2", "recorded"],
        ["plus", "1 / 3", "wrong"],
    ]
    kinds = {"times": "core", "why": "choice", "plus": "extension", "said": "open"}
    points = LabPoints(kinds, {"times": 4, "why": 2, "plus": 3, "said": 1})
    (tmp_path / "points.json").write_bytes(points.to_bytes())
    assert check_total(tmp_path, ran) == (
        "On public cases 1 of 2 pass: 5 of 7 points, 1 of them bonus; 1 recorded, whose points come with the grade."
    )


def test_an_interrupt_stops_everything_at_once(started, edit, small_lab):
    """Ctrl-C while a cell loops that no interrupt of Python's could end."""
    with_cell(edit, started, STUBBORN, solve(small_lab))
    when: list[float] = []

    def interrupt(*_) -> None:
        when.append(time.monotonic())
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            looping = lambda done, of: signal.alarm(1) if done == 1 else None  # noqa: E731
            run_notebook(started, progress=looping)
        assert when and time.monotonic() - when[0] < 5
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_a_check_needs_is_pointed_at(started, edit, small_lab):
    raises = "def times(x):\n    scale = [1][x.numel()]\n    return scale * x"
    edit(started, lambda notebook: cell_of(notebook, "solution-times").update(source=raises))
    assert "cell 4, line 2: scale = [1][x.numel()]" in run_notebook(started).found[0].why
    stops = "import absent_everywhere\ndef times(x):\n    return x"
    edit(started, lambda notebook: cell_of(notebook, "solution-times").update(source=stops))
    ran = run_notebook(started)
    assert ran.found[0].why == "times comes from cell 4 (import absent_everywhere), which stopped: ModuleNotFoundError"
    assert ran.troubles[0].startswith("cell 4 (import absent_everywhere) stopped first, with ModuleNotFoundError")


def test_who_needs_nothing_of_a_cell_that_failed_has_the_points_as_in_grading(started, edit, small_lab):
    def imports_more(notebook):
        first = next(cell for cell in notebook.cells if "desk.check import check" in cell.source)
        first.source = f"import absent_everywhere\n{first.source}"

    edit(started, solve(small_lab))
    edit(started, imports_more)
    ran = run_notebook(started)
    assert [(row.exercise, row.status, row.score) for row in ran.found] == [("times", "ok", 4)]
    assert "absent_everywhere" in ran.troubles[0]
