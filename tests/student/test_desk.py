"""A student's own commands on a built lab: check, carry, take, doctor."""

import importlib
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from mlsys_course.desk.carry import CarryError, carry, take
from mlsys_course.desk.doctor import findings
from mlsys_course.desk.workbook import WorkbookError, find_lab, run_checks
from tests.conftest import write_small_course

STEM = "lab00_foundations"
SOLVED = """
factor = {factor}

def helper(x):
    return x * factor  # a comment stays

def times(x):
    return helper(x)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = write_small_course(tmp_path_factory.mktemp("course"))
    return build(load_course(root).lab(STEM), root / "labs" / STEM)


@pytest.fixture
def desk(built, tmp_path):
    """A function that puts a worked notebook into a fresh workspace and gives the lab's folder."""

    def work(source: str | None) -> Path:
        folder = tmp_path / "work" / STEM
        (folder / "cases").mkdir(parents=True)
        (folder / "drivers.py").write_bytes((built.folder / "drivers.py").read_bytes())
        for path in (built.folder / "cases").iterdir():
            (folder / "cases" / path.name).write_bytes(path.read_bytes())
        student = Student(built.student, built.solution)
        if source is not None:
            student.write("times", source.format(factor=built.lab.variants["factor"]))
        (folder / f"{STEM}.ipynb").write_bytes(student.hand_in())
        return folder

    return work


def test_check_counts_points_from_the_top(desk):
    (found,) = run_checks(desk(SOLVED))
    assert (found.exercise, found.status, found.score, found.max_score) == ("times", "ok", 4, 4)


def test_check_names_a_misconception_and_a_blank(desk, built):
    factor = built.lab.variants["factor"]
    (found,) = run_checks(desk(f"def times(x):\n    return x + {factor}"))
    assert (found.status, found.score, found.hints) == ("wrong", 0, ["Times, not plus."])


def test_check_of_an_untouched_lab(desk):
    (found,) = run_checks(desk(None))
    assert (found.status, found.score, found.max_score) == ("missing", 0, 4)


def test_what_is_defined_nowhere_is_missing(desk):
    (found,) = run_checks(desk("def time(:"))
    assert (found.status, found.max_score) == ("missing", 4)


def test_carried_parts_work_without_the_notebook(desk, built, monkeypatch):
    folder = desk(SOLVED)
    workspace = folder.parent
    assert carry(folder, workspace) == {"times": "carried to foundations.py"}
    text = (workspace / "my_mlsys" / "foundations.py").read_text()
    assert "a comment stays" in text and "check(" not in text and "print" not in text
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path, str(workspace)])
    for name in [n for n in sys.modules if n.startswith("my_mlsys")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    assert take("foundations", "times")(3) == 3 * built.lab.variants["factor"]


def test_what_fails_is_not_carried_and_says_why(desk):
    folder = desk("def times(x):\n    return x")
    assert carry(folder, folder.parent) == {"times": "wrong"}
    assert not (folder.parent / "my_mlsys").exists()


def test_somebodys_own_file_is_kept(desk):
    folder = desk(SOLVED)
    mine = folder.parent / "my_mlsys" / "foundations.py"
    mine.parent.mkdir()
    mine.write_text("precious = 1\n")
    carry(folder, folder.parent)
    assert mine.with_suffix(".py.mine").read_text() == "precious = 1\n"


def test_take_falls_back_to_the_course_and_says_so(capsys):
    assert take("attention", "attention").__module__.startswith("mlsys_course")
    assert "attention.attention: the course's" in capsys.readouterr().out
    with pytest.raises(CarryError, match="mlsys carry"):
        take("attention", "nothing_of_the_sort")


def test_a_notebook_that_is_none_says_what_to_do(desk):
    folder = desk(None)
    (folder / f"{STEM}.ipynb").write_text("{")
    with pytest.raises(WorkbookError, match="restore it from"):
        run_checks(folder)
    with pytest.raises(WorkbookError, match="no lab 'lab09'"):
        find_lab("lab09", folder.parent)
    assert find_lab("lab00", folder.parent) == folder == find_lab(STEM, folder) == find_lab(".", folder)
    with pytest.raises(WorkbookError, match="is no lab's own folder; go into one, or name a lab, such as lab02"):
        find_lab(".", folder.parent)


def test_doctor_looks_at_everything_and_names_a_remedy():
    found = list(findings())
    assert {"Python", "torch", "GPU", "disk", "C++ compiler"} <= {finding.what for finding in found}
    assert all(finding.remedy for finding in found if finding.state == "missing")


def test_nothing_that_students_get_needs_linux(course):
    from autograder.build.edition import package_folder

    linux = ("fcntl", "resource", "os.fork", "/proc", "termios", "prctl", "autograder")
    only_there = package_folder() / "substrate/ranks/processes/forkserver.py"  # elsewhere ranks are fresh interpreters
    assert "FORKS = sys.platform" in (only_there.parent / "starters.py").read_text()
    names = package_folder() / "desk/check/record.py"  # of what starts a process; it calls none of them
    for path in set(package_folder().rglob("*.py")) - {only_there, names}:
        text = path.read_text()
        assert not [word for word in linux if f"import {word}" in text or (word[0] in "/o" and word in text)], path
    notebook = nbformat.read(course.built("lab02_attention") / "lab02_attention.ipynb", as_version=4)
    assert not any(line.startswith("!") for cell in notebook.cells for line in cell.source.splitlines())


def test_a_slow_module_that_no_notebook_needs_is_imported_when_it_is_called():
    program = """
import subprocess
import sys
import mlsys_course.desk
from jsonschema import Draft202012Validator as Validator
slow = "rfc3987_syntax.syntax_helpers"
assert slow not in sys.modules
checked = Validator({"format": "iri"}, format_checker=Validator.FORMAT_CHECKER)
print([checked.is_valid(text) for text in ("http://ä.example", "no iri", "http://b.example")], slow in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[True, False, True] True\n"
