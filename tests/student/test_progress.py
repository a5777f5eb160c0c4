"""mlsys progress and mlsys_course.progress(): what a workspace remembers, on wide and narrow screens."""

import ast
import io
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from rich.console import Console
from typer.testing import CliRunner

import mlsys_course
from mlsys_course.desk import cli
from mlsys_course.desk.progress import progress, remember
from mlsys_course.desk.submit import prepare, submit
from mlsys_course.desk.workbook import Found, Ran

from .conftest import DUE, STEM, cell, solve

SHOWN = nbformat.v4.new_output("display_data", data={"text/plain": "times: all cases pass, 4 of 4 points\nmore"})


def row(desk, lab: str = STEM):
    return next(row for row in progress(desk).rows if row.lab == lab)


def test_a_lab_from_start_to_hand_in(desk, started, edit, small_lab):
    assert (row(desk).points, row(desk).next) == ("", "times, then mlsys check lab00")
    edit(started, solve(small_lab))
    edit(started, lambda notebook: cell(notebook, "times").update(outputs=[SHOWN]))
    assert (row(desk).points, row(desk).next) == ("4 of 5 points", "mlsys carry lab00")  # what the notebook shows
    remember(desk, started, {"times": (2.0, 4.0)})
    assert (row(desk).points, row(desk).next) == ("2 of 4 points", "times, then mlsys check lab00")
    remember(desk, started, {"times": (4.0, 4.0), "why": (0.0, 1.0)})  # a person grades an open question
    desk.parts.mkdir()
    (desk.parts / "foundations.py").write_text("")
    assert row(desk).carried and row(desk).next == "mlsys submit lab00"
    receipt, _ = submit(prepare(started, desk, Ran([Found("times", "ok", 4, 4)])), desk, "ada")
    assert receipt.short in row(desk).submitted and row(desk).next == ""


def test_the_whole_syllabus_is_shown_in_order(desk, releases, tmp_path):
    from mlsys_course.desk.start import start

    later = {"lab": "lab01_sequence", "component": "sequence", "due": "2126-10-05T23:59:00-04:00", "points": 10}
    start("lab00", desk, str(releases.zip(tmp_path, syllabus=[{"lab": STEM, "component": "foundations"}, later])))
    rows = progress(desk).rows
    assert [r.lab for r in rows] == [STEM, "lab01_sequence"]
    assert rows[1].due is not None and rows[1].next == "mlsys start lab01"


def test_each_lab_has_the_dates_of_its_own_release_and_terms_are_told(desk, releases, tmp_path):
    """A lab of last term beside one of this term, whose syllabus names the first with a date of this term."""
    from mlsys_course.desk.start import start

    old = {"due": "2125-10-05T23:59:00+09:00", "timezone": "Asia/Tokyo", "late": {"closes_after_days": 1}}
    start("lab00", desk, str(releases.zip(tmp_path, **old, syllabus=[])))
    syllabus = [{"lab": STEM, "due": DUE}, {"lab": "lab02_new", "component": "new", "due": DUE, "points": 1}]
    facts = {"lab": "lab01_x", "term": "next", "release": 1, "due": DUE, "timezone": "Europe/Berlin"}
    (desk.root / "lab01_x").mkdir()
    (desk.root / "lab01_x" / "edition.json").write_text(json.dumps(facts | {"syllabus": syllabus}))
    (desk.root / "lab09_damaged").mkdir()
    (desk.root / "lab09_damaged" / "edition.json").write_text("{")
    found = progress(desk)
    assert {r.lab: str(r.due) for r in found.rows} == {
        STEM: "2125-10-05 23:59:00+09:00",
        "lab01_x": "2126-09-29 05:59:00+02:00",
        "lab02_new": "2126-09-29 05:59:00+02:00",
    }
    assert "05 Oct 2125 23:59" in repr(found)
    said = f"Mind the terms: lab01_x is of next, and {STEM} beside it of sample."
    assert list(found.notes) == [said] and said in repr(found) and said in found._repr_html_()


def test_a_zip_at_hand_is_what_to_start(desk, releases, monkeypatch):
    monkeypatch.chdir(desk.root)
    assert "begin: mlsys start lab00" in CliRunner().invoke(cli.app, ["progress"]).output
    releases.zip(desk.root).rename(desk.root / "lab02_attention-2026-fall-r1.zip")
    assert CliRunner().invoke(cli.app, ["progress"]).output.endswith(": mlsys start lab02\n")


def test_a_checkout_of_the_course_remembers_nothing(course, tmp_path):
    from mlsys_course.desk.workspace import Workspace

    folder = tmp_path / "labs" / "lab02_attention"
    folder.mkdir(parents=True)
    remember(Workspace(folder.parent), folder, {"attention": (1.0, 20.0)})
    assert [path.name for path in folder.parent.iterdir()] == ["lab02_attention"]
    assert {row.lab for row in progress(Workspace(course.root / "labs")).rows} == set(course.stems())


@pytest.mark.parametrize("damage", ["{", "[]", '{"lab00_foundations": 3}'])
def test_damaged_records_do_not_hide_the_labs(desk, started, damage):
    (desk.hidden / "receipts").mkdir()
    (desk.hidden / "receipts" / "x.json").write_text(damage)
    (desk.hidden / "progress.json").write_text(damage)
    (started / f"{STEM}.ipynb").write_text(damage)
    assert row(desk).points == ""


@pytest.mark.parametrize("width", [40, 120])
def test_every_screen_shows_the_same_facts(desk, started, width):
    remember(desk, started, {"times": (2.0, 4.0)})
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(progress(desk).table(width))
    text = console.export_text()
    assert "2 of 4" in text and "times, then" in text and "foundations" in text
    assert max(map(len, text.splitlines())) <= width


def test_in_a_notebook_it_is_a_table_and_safe(desk, started, monkeypatch):
    monkeypatch.chdir(started)
    remember(desk, started, {"times": (2.0, 4.0)})
    path = desk.hidden / "receipts" / "x.json"
    path.parent.mkdir()
    facts = {"lab": STEM, "student": "ada", "checksum": "<script>", "time": "2026-01-01"}
    path.write_text(json.dumps(facts))
    shown = mlsys_course.progress()
    page = shown._repr_html_()
    assert "2 of 4" in page and "<th scope" in page and "<script" not in page
    assert "lab00_foundations | " in repr(shown)


def test_importing_the_course_stays_cheap():
    text = (
        "import sys, mlsys_course; print([m for m in sys.modules if m.startswith(('rich', 'torch', 'mlsys_course.'))])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", text], cwd=root, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == ["mlsys_course.desk", "mlsys_course.desk.former_names"]
