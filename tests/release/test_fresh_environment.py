"""A release in a fresh environment: the lab works there, nothing of the staff's does, and nothing needs Linux."""

import ast
from pathlib import Path

import nbformat
import pytest

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.release import release
from tests.conftest import ROOT
from tests.release.conftest import STEM
from tests.release.desk import Desk, block_what_is_missing_elsewhere, new_desk

PROCESSES = ROOT / "mlsys_course" / "substrate" / "ranks" / "processes"
ELSEWHERE = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
NAMES = {"fork", "forkpty", "killpg", "setsid", "getuid", "geteuid", "SIGKILL", "SIGALRM", "O_NOFOLLOW", "mkfifo"}

PROBE = """
from types import ModuleType
text = "import os\\ntry:\\n import fcntl; print('fcntl')\\nexcept ImportError: print('refused')\\n"
text += "try:\\n os.fork; print('fork')\\nexcept AttributeError: print('refused')"
exec(text, vars(ModuleType("{}")))
"""


@pytest.fixture(scope="module")
def lab(proven_course, tmp_path_factory):
    """The lab as built; its solution is what a student pastes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(proven_course.parent / "config"))
        course = load_course(proven_course)
        return build(course.lab(STEM), tmp_path_factory.mktemp("built") / STEM), release(
            course, STEM, tmp_path_factory.mktemp("out")
        )


@pytest.fixture(scope="module")
def desk(lab, tmp_path_factory) -> Desk:
    return new_desk(tmp_path_factory.mktemp("desk"), lab[1].path)


def write(desk: Desk, lab, *solved: str) -> None:
    student = Student(lab[0].student, lab[0].solution)
    if solved:
        student.solve(*solved)
    (desk.workspace / STEM / f"{STEM}.ipynb").write_bytes(student.hand_in())


def test_nothing_of_the_staff_is_there(desk):
    said = desk.run("-c", "import mlsys_course; print(mlsys_course.__file__)")
    assert Path(said.strip()).is_relative_to(desk.environment)
    assert "No module named 'autograder'" in desk.run("-c", "import autograder", code=1)
    assert "No module named 'mlsys_course.attention'" in desk.run("-c", "import mlsys_course.attention", code=1)
    help_ = desk.mlsys("--help")
    assert "check" in help_ and "grade" not in help_.replace("graded", "") and "build" not in help_
    assert desk.run("-c", "from importlib.metadata import version as v; print(v('mlsys_course'))").startswith(
        "0.1.0+lab"
    )


@pytest.mark.long
def test_the_lab_is_worked_in_it_and_nothing_needs_linux(desk, lab):
    write(desk, lab)
    blank = desk.mlsys("check", "lab00", code=1)
    assert "0 / 4" in blank
    block_what_is_missing_elsewhere(desk)
    assert desk.run("-c", PROBE.format("other")).split() == ["fcntl", "fork"]
    assert desk.run("-c", PROBE.format("mlsys_course.x")).split() == ["refused", "refused"]
    write(desk, lab, "times")
    assert "4 / 4" in desk.mlsys("check", "lab00")
    assert "1 of 1 carried" in desk.mlsys("carry", "lab00")
    handed = desk.mlsys("submit", "lab00", "--student", "ann", "--no-run")
    assert list(desk.workspace.glob(f"**/{STEM}-ann-*.zip")), handed
    assert STEM in desk.mlsys("progress")
    assert "Python" in desk.mlsys("doctor", code=None)


def test_the_edition_names_nothing_that_only_linux_has(desk):
    """What the run above does not reach: every module, driver and notebook cell of the edition, by its text."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "mlsys_course").rglob("*.py")}
    texts |= {path: path.read_text(encoding="utf-8") for path in ROOT.glob("labs/*/drivers.py")}
    for path in ROOT.glob("labs/*/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        texts[path] = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert len(texts) > 40
    del texts[PROCESSES / "forkserver.py"]  # starts on Linux only: starters.py, FORKS
    assert {path.name: found for path, text in texts.items() if (found := only_linux(text))} == {}


def only_linux(text: str) -> set[str]:
    """Modules, attributes and paths in Python text that other systems do not have; what is asked for first may be."""
    tree, found = ast.parse(text), set()
    asked = {node.args[1].value for node in ast.walk(tree) if isinstance(node, ast.Call)
             and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr") and len(node.args) > 1
             and isinstance(node.args[1], ast.Constant)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & ELSEWHERE
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {node.module or ""} & ELSEWHERE
        elif isinstance(node, ast.Attribute):
            found |= ({node.attr} & NAMES) - asked
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith(("/proc/", "/sys/"))
        ):
            found.add(node.value)
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import fcntl", {"fcntl"}),
        ("from resource import getrlimit", {"resource"}),
        ("import os, signal\nos.kill(os.fork(), signal.SIGKILL)", {"fork", "SIGKILL"}),
        ("open('/proc/self/status')", {"/proc/self/status"}),
        ("import os\nif hasattr(os, 'fork'):\n    os.fork()", set()),
    ],
)
def test_that_would_be_seen(text, found):
    assert only_linux(text) == found


def test_in_colab_the_first_cell_unpacks_and_installs(desk, lab, tmp_path):
    """The cell, run where ``google.colab`` is there, in a folder that holds the uploaded zip alone."""
    notebook = nbformat.reads((lab[0].folder / f"{STEM}.ipynb").read_text(encoding="utf-8"), as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.id == "colab"
    (tmp_path / lab[1].path.name).write_bytes(lab[1].path.read_bytes())
    run = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')\n" + first.source
    said = desk.run("-c", run + "\nprint(os.getcwd(), os.listdir('.'))", cwd=tmp_path)
    assert f"{STEM}.ipynb" in said and (tmp_path / STEM / "cases").is_dir()
    (tmp_path / "empty").mkdir()
    assert f"Upload {STEM}-....zip" in desk.run("-c", run, cwd=tmp_path / "empty", code=1)
    assert desk.run("-c", first.source, cwd=tmp_path / "empty") == ""  # elsewhere it does nothing
    assert not list((tmp_path / "empty").iterdir())
