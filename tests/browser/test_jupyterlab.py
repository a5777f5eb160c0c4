"""JupyterLab opens the built lab, and a wrong cell shows the table and the hint."""

import shutil

import nbformat
import pytest

from autograder.demo.cohort import UNSCALED
from autograder.demo.student import Student
from autograder.grade.run import solution_notebook

pytest.importorskip("playwright", reason="playwright is not installed")
from tests.browser.jupyterlab import chromium, run_notebook

LAB = "lab02_attention"


@pytest.mark.long
@pytest.mark.browser
@pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")
def test_a_wrong_cell_shows_the_table_and_the_hint(course, tmp_path):
    folder = tmp_path / LAB
    shutil.copytree(course.built(LAB), folder)
    released = nbformat.read(folder / f"{LAB}.ipynb", as_version=4)
    student = Student(released, solution_notebook(course.lab(LAB))).write("attention", UNSCALED)
    student.notebook.cells = student.notebook.cells[:6]  # up to the first check
    (folder / f"{LAB}.ipynb").write_bytes(student.hand_in())
    with run_notebook(folder, f"{LAB}.ipynb", until="Hint:") as page:
        text = page.inner_text(".jp-Notebook")
        assert "0 of 20 points" in text and "largest error" in text and "denominator" in text
        assert "CheckFailed: attention: output is off" in text and "Traceback" not in text
        page.screenshot(path=str(tmp_path / "check.png"))
    assert (tmp_path / "check.png").stat().st_size > 20_000
