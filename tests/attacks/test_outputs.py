"""Nothing that the grading run of a submission produced reaches a student, whoever told it what."""

import json

import pytest

from autograder.grade.own_words import KNOWN, stopped
from autograder.grade.passive import shown
from autograder.grade.record import Recorder
from autograder.grade.run import grade
from autograder.sandbox import CellRun

from .harness import Attack
from .lab import STEM

TOLD = "to" + "ld"  # made by the run alone: it stands in no text
WAYS = {
    "a print": "print(word)",
    "an error stream": "import sys\nprint(word, file=sys.stderr)",
    "a display": "from IPython.display import display, HTML\ndisplay(HTML(word))",
    "a value": "word",
    "a picture": "from IPython.display import Image\nimport base64\nImage(data=base64.b64decode('MARKED'))",
    "a message": "raise ValueError(word)",
    "a class": "raise type(word, (Exception,), {})(word)",
    "a class with a known name": "raise type('ValueError', (Exception,), {'__str__': lambda e: word})()",
    "a module": "raise ModuleNotFoundError(f'No module named {word!r}', name=word)",
    "a syntax error": "exec(word + ' ' + word)",
    "a warning": "import warnings\nwarnings.warn(word)",
    "a traceback": "exec(compile('1 / 0', word, 'exec'))",
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def folder(lab, tmp_path_factory):
    """A course folder in which each way was tried in a cell that had shown something else when it was handed in."""
    root = tmp_path_factory.mktemp("outputs")
    blob = lab.notebook(Attack("", first="word = 'to' + 'ld'", behind="print('place')"))
    notebook = json.loads(blob)
    at = next(i for i, cell in enumerate(notebook["cells"]) if "print('place')" in "".join(cell["source"]))
    own = [
        {"output_type": "stream", "name": "stdout", "text": ["what was\n", "handed in"]},
        {"output_type": "display_data", "data": {"text/html": ["<b>bold"], "text/plain": ["plain"], "image/png": PNG}},
        {"output_type": "execute_result", "data": {"text/plain": "12"}, "execution_count": None},
        {"output_type": "stream", "text": {"no": "text"}},
        "no output",
    ]
    cells = [
        {"cell_type": "code", "id": f"way-{n}", "metadata": {}, "execution_count": None, "source": text, "outputs": own}
        for n, text in enumerate(WAYS.values())
    ]
    answer = next(cell for cell in notebook["cells"] if "def times" in "".join(cell["source"]))
    answer["source"] = "".join(answer["source"]) + "\nraise ValueError(word)"
    notebook["cells"][at + 1 : at + 1] = cells
    place = root / "submitted" / "ann" / STEM
    place.mkdir(parents=True)
    (place / f"{STEM}.ipynb").write_text(json.dumps(notebook))
    grade(lab.course, STEM, root / "submitted", root / "course", jobs=1)
    return root / "course"


def test_the_recorded_notebook_has_what_was_handed_in(folder):
    text = (folder / "autograded" / "ann" / STEM / f"{STEM}.ipynb").read_text()
    assert TOLD not in text
    cells = {cell["id"]: cell for cell in json.loads(text)["cells"]}
    ways = [cell for cell in cells.values() if "".join(cell["source"]) in WAYS.values()]
    assert len(ways) == len(WAYS)
    for cell in ways:
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert kinds == ["stream", "display_data", "display_data"]
        assert "".join(cell["outputs"][0]["text"]) == "what was\nhanded in"
        assert set(cell["outputs"][1]["data"]) == {"text/plain", "image/png"}
    said = {cell["metadata"]["mlsys"]["stopped"] for cell in ways}
    assert said == {"", "ValueError", "an exception of its own", "ModuleNotFoundError", "SyntaxError",
                    "ZeroDivisionError"}  # fmt: skip


def test_the_page_says_a_class_and_no_more(folder):
    with Recorder(folder, STEM) as recorder:
        page = recorder.feedback("ann").read_text("utf-8")
    assert "stopped with <code>ValueError</code>" in page and TOLD not in page


def test_staff_see_the_run(folder):
    log = (folder / "logs" / "ann" / STEM / "log.txt").read_text()
    assert log.count(TOLD) >= len(WAYS) - 2  # a picture has no text, a traceback is not kept


@pytest.mark.parametrize(
    "source, name, message, said",
    [
        ("import torchvision.models", "ModuleNotFoundError", "No module named 'torchvision'",
         "ModuleNotFoundError: torchvision"),
        ("from a.b import c", "ModuleNotFoundError", "No module named 'a.b'", "ModuleNotFoundError: a.b"),
        ("import torch", "ModuleNotFoundError", "No module named 'secret'", "ModuleNotFoundError"),
        ("%time", "ImportError", "cannot import name 'x'", "ImportError"),
        ("1", "OutOfMemoryError", "x", "OutOfMemoryError"),
        ("1", "Seen12", "x", "an exception of its own"),
    ],
)  # fmt: skip
def test_words_for_what_stopped_a_cell(source, name, message, said):
    error = {"output_type": "error", "ename": name, "evalue": message, "traceback": []}
    assert stopped(source, CellRun("error", [error])) == said
    assert stopped(source, CellRun("ok", [error])) == ""
    assert "longer" in stopped(source, CellRun("timeout", [error]))


def test_known_classes_are_those_of_python_and_pytorch():
    assert {"ValueError", "KeyboardInterrupt", "OutOfMemoryError"} <= KNOWN and len(KNOWN) < 90


NO_OUTPUTS = (
    None,
    1,
    "x",
    {},
    [1, None, [], {"output_type": []}, {"output_type": "stream"}],
    [{"output_type": "error", "ename": 1}],
    [{"output_type": "display_data", "data": {"image/png": "no picture"}}] * 3,
)


@pytest.mark.parametrize("handed", NO_OUTPUTS)
def test_any_outputs_can_be_handed_in(handed):
    assert all(set(output.get("data", {"text/plain": ""})) == {"text/plain"} for output in shown(handed))


def test_outputs_have_a_limit():
    many = [{"output_type": "stream", "name": "stdout", "text": "x" * (1 << 20)}] * 40
    assert 1 <= len(shown(many)) <= 4
