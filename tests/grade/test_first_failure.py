"""Which cell stopped first and why is told: in the table, on the page, in the log; before handing in, by the desk."""

import nbformat
import pytest

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.feedback.recorded import Recorded
from autograder.grade.evidence import evidence
from autograder.grade.execute import with_results
from autograder.grade.handed_in import HandedIn
from autograder.grade.own_words import first_stopped
from autograder.grade.repair import repair
from autograder.grade.run import solution_notebook
from autograder.grade.session import Session
from autograder.sandbox import Cell, CellRun
from mlsys_course.desk.outside import imported, outside
from tests.conftest import write_small_course

STEM = "lab00_foundations"


def failed(name: str, value: str) -> CellRun:
    return CellRun("error", [{"output_type": "error", "ename": name, "evalue": value, "traceback": []}])


@pytest.mark.parametrize(
    ("source", "run", "words"),
    [
        ("from a_package import one\nimport math", failed("ModuleNotFoundError", "No module named 'a_package'"),
         "cell 4 stopped first: ModuleNotFoundError: a_package"),
        ("from google.colab import drive\nimport math", failed("ModuleNotFoundError", "No module named 'google.colab'"),
         "cell 4 stopped first: ModuleNotFoundError: google.colab"),
        ("import math\nsecret = 'No module named x'", failed("ImportError", "sealed numbers 1 2 3"),
         "cell 4 stopped first: ImportError"),
        ("import math\n1 / 0", failed("Sealed123", "what nobody should read"),
         "cell 4 stopped first: an exception of its own"),
        ("math = 3", CellRun("timeout"), "cell 4 stopped first: longer than grading allows"),
        ("import math as m\n1 / 0", failed("ZeroDivisionError", "division by zero"), ""),  # nobody needs m
        ("import math", CellRun("ok"), ""),
    ],
)  # fmt: skip
def test_the_first_cell_that_others_need(source, run, words):
    cells = [Cell("1 / 0", skip=True), Cell(source), Cell("y = math.pi"), Cell("check", "times", "times")]
    runs = [failed("ValueError", ""), run, failed("NameError", "name 'math' is not defined"), CellRun("ok")]
    assert first_stopped(cells, runs, [2, 4, 7, 8]) == words


@pytest.fixture
def graded(tmp_path, in_process, monkeypatch):
    """A submission whose imports fail, graded: (graded, recorded notebook, log)."""
    from tests.grade.in_process import InProcess

    def cell(self, one, names):
        try:
            return run(self, one, names)
        except Exception as error:
            return failed(type(error).__name__, str(error))

    run = InProcess._cell
    monkeypatch.setattr(InProcess, "_cell", cell)
    course = load_course(write_small_course(tmp_path / "course"))
    build(course.lab(STEM), course.built(STEM))
    with Session(course, STEM) as session:
        student = Student(session.released, solution_notebook(session.lab)).solve()
        student.notebook.cells.insert(0, nbformat.v4.new_markdown_cell("My own heading.", id="mine"))
        imports = next(cell for cell in student.notebook.cells if "import check" in cell.source)
        imports.source = f"import a_package_of_mine\nfactor = 3\n{imports.source}"
        student.replace("times", "x * ", "x * factor ** 0 * ")
        repaired = repair(student.hand_in(), session.released)
        came = session.grade(repaired.to_notebook(), {})
        log = evidence(
            HandedIn("ada"), came.cells, came.run, came.verdicts, edition="", protections="", flags=came.flags
        )
        yield came, with_results(repaired.notebook, came, came.verdicts, session), log, student.notebook


def test_one_import_of_ones_own_is_named_everywhere(graded):
    came, recorded, log, notebook = graded
    number = 1 + next(n for n, cell in enumerate(notebook.cells) if "a_package_of_mine" in cell.source)
    words = f"cell {number} stopped first: ModuleNotFoundError: a_package_of_mine"
    assert came.flags["notebook"] == [words] and words in log
    assert Recorded(recorded).first == words


def test_submit_and_check_say_what_grading_will_not_have(tmp_path):
    (tmp_path / "my_utils.py").write_text("x = 1")
    cells = [
        "import math, torch.nn as nn\nfrom matplotlib import pyplot as plt\nimport PIL\nimport mlsys_course",
        "from a_package_of_my_own import something",
        "%%time\nfrom google.colab import drive\ndrive.mount('/content/drive')",
        "try:\n    import einops_or_so\nexcept ImportError:\n    !pip install -q einops",
        "def f():\n    from my_utils import lower",
        "%matplotlib qt",
        "import matplotlib\nmatplotlib.use('TkAgg')",
        "%matplotlib inline\ntext = 'import nothing_at_all'",
        "# import a_comment\nimport my_mlsys.attention, drivers",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    said = [line.split(", which")[0].removeprefix("Cell ") for line in outside(notebook, tmp_path)]
    named = ["2 imports a_package_of_my_own", "3 imports google", "5 imports my_utils.py"]
    assert said == [*named, "6 asks for windows (qt)", "7 asks for windows (TkAgg)"]
    assert imported("import math") == []
