"""The whole path on the demo's cohort: graded, recorded, fed back; by `mlsys grade` and by nbgrader by hand."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

from autograder.demo import COHORT, expected_status, run_demo

pytestmark = pytest.mark.long  # `mlsys demo` itself compares, and is in the README
LAB = "lab02_attention"
MEMBERS = {member.name: member for member in COHORT}
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """The folder of a finished demo."""
    folder = tmp_path_factory.mktemp("demo") / "demo-course"
    assert run_demo(folder) == 0, "some submission did not come out as it must"
    return folder


def recorded(demo: Path) -> dict[tuple[str, str], float]:
    """(student, exercise) -> the gradebook's automatic score."""
    with Gradebook(f"sqlite:///{demo / 'gradebook.db'}") as gradebook:
        return {
            (submission.student.id, grade.name): grade.auto_score
            for submission in gradebook.assignment_submissions(LAB)
            for notebook in submission.notebooks
            for grade in notebook.grades
        }


def table(demo: Path) -> list[dict]:
    with (demo / "points.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_is_right_for_each_submission(demo, course):
    everything = table(demo)
    assert list(everything[0])[:8] == ["student", "lab", "exercise", "score", "max_score", "status", "hint", "kind"]
    rows = [row for row in everything if row["kind"] != "open"]
    asked = [row for row in everything if row["kind"] == "open"]
    assert len(asked) == len(MEMBERS)
    assert {(row["score"], row["status"], row["of"], row["waits"]) for row in asked} == {("0", "left blank", "100", "")}
    assert len(rows) == 15 * len(MEMBERS)
    for row in rows:
        expected = expected_status(MEMBERS[row["student"]], row["exercise"])
        assert row["status"] in expected, row
        worth = course.lab(LAB).points.worth[row["exercise"]]
        assert (float(row["score"]) == worth) == (expected == ["ok"]), row
        assert float(row["max_score"]) == (0 if row["kind"] == "extension" else worth)


def test_misconceptions_are_named(demo):
    hints = {(row["student"], row["exercise"]): row["hint"] for row in table(demo)}
    assert "denominator" in hints["fermi", "attention"]
    assert "attend to itself" in hints["gauss", "causal_mask"]
    assert "which one does query head 1 read" in hints["hopper", "grouped_query_attention"]


def test_the_gradebook_has_the_same_scores(demo):
    scores = recorded(demo)
    for row in (row for row in table(demo) if row["kind"] != "open"):
        assert scores[row["student"], row["exercise"]] == float(row["score"])


def test_a_forger_scores_what_the_wrong_answer_scores(demo):
    scores = recorded(demo)
    honest = {name: score for (student, name), score in scores.items() if student == "fermi"}
    for forger in ("turing", "planck"):
        assert {name: score for (student, name), score in scores.items() if student == forger} == honest


def notebooks(demo: Path) -> dict[str, list]:
    """The recorded cells of each student, without what depends on how fast the machine is."""
    found = {}
    for path in (demo / "autograded").glob("*/*/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        for cell in cells:
            if (path.parent.parent.name, cell.id) in (("lovelace", "padding_mask"), ("kepler", "rotary_positions")):
                del cell.outputs[0]  # out of memory or, on a busy machine, time; which cases are not asked is drawn
            elif cell.id == "scale_choice":
                del cell.outputs[0]  # times
            for output in cell.get("outputs", []):  # what ran may say when and where it did
                output.pop("traceback", None)
                if cell.id.startswith("cell-"):  # a copied check among them: its table has times
                    output.get("data", {}).pop("text/plain", None)
        found[path.parent.parent.name] = cells
    return found


def test_nbgrader_by_hand_gives_the_same_grades(demo):
    before, written = recorded(demo), notebooks(demo)
    command = [sys.executable, "-m", "nbgrader", "autograde", LAB, "--force", "--Application.log_level=40"]
    subprocess.run(command, cwd=demo, env=ENVIRONMENT, check=True, timeout=500, capture_output=True)
    assert recorded(demo) == before
    assert notebooks(demo) == written


def test_each_student_has_a_page_without_active_content_or_sealed_numbers(demo):
    for name in MEMBERS:
        page = (demo / "feedback" / name / LAB / f"{LAB}.html").read_text()
        body = page[page.index("<body") :]
        assert not any(tag in page.lower() for tag in ("<script", "<img", "<link", "<iframe"))
        assert "What came out" in body or name in ("euler", "raman")
    notebook = nbformat.read(demo / "autograded" / "fermi" / LAB / f"{LAB}.ipynb", as_version=4)
    (cell,) = [c for c in notebook.cells if c.get("metadata", {}).get("nbgrader", {}).get("grade_id") == "attention"]
    shown, score = cell.outputs
    assert score.data["text/plain"] == "0.0" and "Hint:" in shown.data["text/html"]
    assert not re.search(r"\d\.\d{3,}", shown.data["text/plain"])


def test_noise_on_stderr_costs_nothing_and_is_shown_to_staff(demo):
    text = (demo / "autograded" / "ising" / LAB / f"{LAB}.ipynb").read_text()
    cells = nbformat.reads(text, as_version=4).cells
    assert "ZeroDivisionError" in {cell.metadata.get("mlsys", {}).get("stopped") for cell in cells}
    log = (demo / "logs" / "ising" / LAB / "log.txt").read_text()
    assert "careful" in log and "ZeroDivisionError: division by zero" in log
    assert "division by zero" not in text


def test_what_was_mended_is_said(demo):
    pages = {name: (demo / "feedback" / name / LAB / f"{LAB}.html").read_text() for name in MEMBERS}
    assert "it was put back" in pages["noether"]
    assert "the last one counts" in pages["ohm"]
    assert "put back as released" in pages["planck"]
    assert "JSON does not parse" in pages["raman"]


def test_grading_again_one_at_a_time_gives_the_same_rows(demo, tmp_path):
    some = ("ada", "darwin", "fermi", "noether", "raman", "turing")
    for name in some:
        shutil.copytree(demo / "submitted" / name, tmp_path / "submitted" / name)
    again = tmp_path / "again.csv"
    command = [sys.executable, "-m", "mlsys_course.desk.cli", "grade", LAB, "--submitted", "submitted"]
    command += ["--into", "course", "--csv", str(again), "--jobs", "1"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=500, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    with again.open(newline="") as file:
        assert list(csv.DictReader(file)) == [row for row in table(demo) if row["student"] in some]
