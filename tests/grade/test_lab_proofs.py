"""Every committed lab is fresh and proven, as `mlsys build --check` says; experiments run with real data."""

import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from autograder.authoring import SAMPLED, mutant_lines
from autograder.build.pipeline import build, prove_built, stale
from autograder.course import load_course
from autograder.grade.run import solution_notebook
from tests.conftest import ROOT
from tests.left_out import long_but

ALL = load_course(ROOT, term="sample").stems()
FIRST, LEAST = ALL[0], "lab10_memory"  # the least work to prove
STEMS = long_but(1, [LEAST, *(stem for stem in ALL if stem != LEAST)])


@pytest.mark.parametrize("stem", STEMS)
def test_lab_is_fresh(course, stem, tmp_path):
    built = build(course.lab(stem), tmp_path / stem)
    assert stale(built.folder, course.built(stem)) == [], f"call `mlsys build {stem}`"


@pytest.mark.long
@pytest.mark.parametrize("stem", ALL)
def test_lab_is_proven(course, stem, tmp_path):
    built = build(course.lab(stem), tmp_path / stem)
    lines = prove_built(course, built)
    assert [line for line in lines if not line.ok] == []
    assert {"edition", "solution", "blank"} < {line.subject for line in lines}


@pytest.mark.long
@pytest.mark.parametrize("stem", ALL)
def test_the_sealed_cases_catch_mutants(course, stem):
    lines = mutant_lines(course.lab(stem), SAMPLED)
    assert len(lines) == len(course.lab(stem).exercises) and [line for line in lines if line.detail] == []


@pytest.mark.long
@pytest.mark.parametrize("stem", ALL)
def test_the_solution_notebook_runs_with_its_experiments(course, stem, tmp_path):
    built = build(course.lab(stem), tmp_path / stem)
    notebook = solution_notebook(course.lab(stem))
    NotebookClient(
        notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": str(built.folder)}}
    ).execute()
    pictures = [
        o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})
    ]
    assert len(pictures) >= 1
    warned = [o.text for c in notebook.cells if c.cell_type == "code" for o in c.outputs if o.get("name") == "stderr"]
    assert warned == []


@pytest.mark.long
def test_nbgrader_validate_agrees(small_course):
    lab = load_course(small_course).lab(FIRST)
    path = build(lab, small_course / "labs" / FIRST).folder / f"{FIRST}.ipynb"

    def validated() -> str:
        command = [sys.executable, "-m", "nbgrader", "validate", str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False).stdout

    assert "VALIDATION FAILED ON" in validated()
    notebook = solution_notebook(lab)
    notebook.cells = [c for c in notebook.cells if "experiment" not in c.metadata.get("tags", [])]
    nbformat.write(notebook, path)
    assert "Success! Your notebook passes all the tests." in validated()


def test_readme_names_every_lab_with_its_points(course):
    text = (ROOT / "README.md").read_text()
    for stem in course.stems():
        lab = course.lab(stem)
        row = next(line for line in text.splitlines() if f"[{stem}]" in line)
        assert f"(labs/{stem}/{stem}.ipynb)" in row and f"(mlsys_course/{lab.component})" in row
        assert f"| {lab.points.most:g} |" in row
