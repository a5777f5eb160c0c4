"""A notebook that lost something on its way means the same in check, carry, submit, update and grading."""

import base64
import copy
import io

import nbformat
import pytest
from PIL import Image

from autograder.feedback.recorded import Recorded
from autograder.grade.passive import passive_text
from autograder.grade.repair import repair
from autograder.scoring.cells import cells_of, graded_cells
from mlsys_course.desk import carry as carrying
from mlsys_course.desk.carry import carry
from mlsys_course.desk.recognise import grade_id
from mlsys_course.desk.submit import prepare
from mlsys_course.desk.update import update
from mlsys_course.desk.workbook import Found, mended_notebook, read_notebook

from .conftest import STEM, cell, solve

ANSWER = "Because I say so, and for no other reason."
STUB = "*Your answer: replace this line.*"


def at(notebook, name: str) -> int:
    return notebook.cells.index(cell(notebook, name))


def own(source: str, kind: str = "markdown", **more):
    made = nbformat.v4.new_markdown_cell(source) if kind == "markdown" else nbformat.v4.new_code_cell(source)
    made.update(id=f"own-{abs(hash(source)) % 1000}", **more)
    return made


def as_it_is(notebook):
    """The control."""


def metadata_cleaned(notebook):
    for one in notebook.cells:
        one.metadata = {}


def pasted_into_colab(notebook):
    """New ids, no metadata of ours."""
    for number, one in enumerate(notebook.cells):
        one.metadata = {"id": f"x{number}"}
        one.id = f"x{number}"


def colab_kept_the_ids(notebook):
    for number, one in enumerate(notebook.cells):
        one.metadata, one.id = {"id": one.id}, f"y{number}"


def answer_in_the_next_cell(notebook):
    notebook.cells.insert(at(notebook, "why") + 1, own(ANSWER))
    cell(notebook, "why").source = STUB


def answer_above_in_an_emptied_lab(notebook):
    metadata_cleaned(notebook)
    notebook.cells.insert(at(notebook, "why"), own(ANSWER))
    cell(notebook, "why").source = ""


def answer_in_a_code_cell_below(notebook):
    notebook.cells.insert(at(notebook, "why") + 1, own(ANSWER, "code"))
    cell(notebook, "why").source = STUB


def answer_as_code(notebook):
    cell(notebook, "why").update(cell_type="code", outputs=[], execution_count=None)


def answer_as_raw_without_metadata(notebook):
    cell(notebook, "why").update(cell_type="raw", metadata={})


def answer_cell_gone(notebook):
    notebook.cells[at(notebook, "why")] = own(ANSWER)


def answer_split(notebook):
    first, second = ANSWER[:17], ANSWER[17:].strip()
    cell(notebook, "why").source = first
    notebook.cells.insert(at(notebook, "why") + 1, copy.deepcopy(cell(notebook, "why")))
    notebook.cells[at(notebook, "why") + 1].update(source=second, id="second-half")


def blank_copy_below_the_answer(notebook):
    notebook.cells.append(nbformat.from_dict({**cell(notebook, "why"), "id": "copied", "source": STUB}))


def exercise_as_text(notebook):
    one = cell(notebook, "solution-times")
    one.cell_type = "raw"
    for key in ("outputs", "execution_count"):
        one.pop(key, None)


def check_merged_into_the_exercise(notebook):
    cell(notebook, "solution-times").source += "\n\n" + cell(notebook, "times").source
    notebook.cells.remove(cell(notebook, "times"))


def exercise_merged_into_the_check(notebook):
    cell(notebook, "times").source = cell(notebook, "solution-times").source + "\n\n" + cell(notebook, "times").source
    notebook.cells.remove(cell(notebook, "solution-times"))


def exercise_merged_into_the_imports(notebook):
    imports = next(one for one in notebook.cells if one.cell_type == "code" and not grade_id(one))
    imports.source += "\n\n" + cell(notebook, "solution-times").source
    notebook.cells.remove(cell(notebook, "solution-times"))


def exercise_split(notebook):
    one = cell(notebook, "solution-times")
    notebook.cells.insert(at(notebook, "solution-times"), copy.deepcopy(one))
    notebook.cells[at(notebook, "solution-times")].update(source="import math", id="first-half")


def exercise_copied_and_emptied(notebook):
    notebook.cells.append(nbformat.from_dict({**cell(notebook, "solution-times"), "id": "scratch", "source": "1 + 1"}))


def trailing_newlines(notebook):
    for one in notebook.cells:
        one.source += "\n"


WAYS = [
    as_it_is, metadata_cleaned, pasted_into_colab, colab_kept_the_ids, answer_in_the_next_cell,
    answer_above_in_an_emptied_lab, answer_in_a_code_cell_below, answer_as_code, answer_as_raw_without_metadata,
    answer_cell_gone, answer_split, blank_copy_below_the_answer, exercise_as_text, check_merged_into_the_exercise,
    exercise_merged_into_the_check, exercise_merged_into_the_imports, exercise_split, exercise_copied_and_emptied,
    trailing_newlines,
]  # fmt: skip


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def work(request, started, edit, small_lab):
    """The folder of a lab that is done, after what became of its notebook."""
    edit(started, solve(small_lab))
    edit(started, lambda notebook: cell(notebook, "why").update(source=ANSWER))
    edit(started, request.param)
    return started


def value(cells) -> int:
    """What the candidate of the graded cell makes of 2, with the cells run in order as grading does."""
    names: dict = {"check": lambda *_: None}
    found = None
    for one in cells:
        if one.exercise:
            found = eval(one.candidate, names)(2)
        elif not one.skip:
            try:
                exec(one.source, names)
            except SyntaxError:
                continue
    return found


def test_grading_reads_it_as_it_was_meant(work, small_lab):
    repaired = repair((work / f"{STEM}.ipynb").read_bytes(), small_lab.student)
    nbformat.validate(repaired.notebook)
    candidates = graded_cells(small_lab.student)
    assert value(cells_of(repaired.notebook, candidates)) == 2 * small_lab.lab.variants["factor"]
    (answer,) = [one.source for one in repaired.notebook.cells if grade_id(one) == "why"]
    assert " ".join(answer.split()) == ANSWER


def test_line_ends_and_copied_answers_are_no_edit(started, edit, small_lab):
    for way in (trailing_newlines, blank_copy_below_the_answer):
        edit(started, way)
        repaired = repair((started / f"{STEM}.ipynb").read_bytes(), small_lab.student)
        assert repaired.notes == {}


ASIDE = ("why", "experiment-look", "solution-times")


def named(cells) -> dict:
    return {grade_id(one): (one.cell_type, one.source) for one in cells if grade_id(one)}


def test_the_desk_reads_it_in_the_same_way(work, small_lab, desk):
    blob = (work / f"{STEM}.ipynb").read_bytes()
    theirs = repair(blob, small_lab.student).notebook.cells
    for kept in (True, False):
        ours = mended_notebook(work)[0].cells
        if kept:
            assert named(ours) == named(theirs)
        else:  # where nothing says that there was a question, nor what an experiment was, all else is the same
            assert {**named(ours), **dict.fromkeys(ASIDE)} == {**named(theirs), **dict.fromkeys(ASIDE)}
        checks = [one.source for one in ours if grade_id(one) == "times"]
        assert checks == ['check("times", times)']
        (desk.hidden / "editions").rename(desk.hidden / "away") if kept else None


def test_submit_goes_by_it(work, desk, request):
    said = " ".join(prepare(work, desk, None).warnings)
    assert ("edited" in said) == ("merged_into_the_check" in request.node.name)
    assert "times is still blank" not in said


@pytest.mark.parametrize("way", [check_merged_into_the_exercise, exercise_merged_into_the_check])
def test_carry_goes_by_it(way, started, edit, small_lab, desk, monkeypatch):
    edit(started, solve(small_lab))
    edit(started, way)
    monkeypatch.setattr(carrying, "run_checks", lambda folder: [Found("times", "ok", 4, 4)])
    assert carry(started, desk.root) == {"times": "carried to foundations.py"}


def test_an_update_puts_no_stub_over_work(work, releases, desk, small_lab):
    notebook = releases.notebook
    cell(notebook, "text-000").source += " Corrected."
    update(work, desk, str(releases.zip(desk.root, 2, notebook=notebook)))
    text = [one.source for one in read_notebook(work).cells]
    assert any("Corrected." in one for one in text)
    repaired = repair((work / f"{STEM}.ipynb").read_bytes(), notebook)
    candidates = graded_cells(small_lab.student)
    assert value(cells_of(repaired.notebook, candidates)) == 2 * small_lab.lab.variants["factor"]
    assert ANSWER in " ".join(" ".join(text).split()), "and the answer is still there"
    (answer,) = [one.source for one in repaired.notebook.cells if grade_id(one) == "why"]
    assert " ".join(answer.split()) == ANSWER


def test_what_nobody_wrote_is_nobodys_answer(started, edit, small_lab):
    blank = repair((started / f"{STEM}.ipynb").read_bytes(), small_lab.student)
    edit(started, lambda notebook: notebook.cells.insert(at(notebook, "why") + 1, own("x = 1\nprint(x)", "code")))
    beside = repair((started / f"{STEM}.ipynb").read_bytes(), small_lab.student)
    stub = cell(small_lab.student, "why").source
    for repaired in (blank, beside):
        (answer,) = [one.source for one in repaired.notebook.cells if grade_id(one) == "why"]
        assert answer == stub and repaired.notes == {}


def picture(kind: str) -> str:
    data = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(data, kind)
    return base64.b64encode(data.getvalue()).decode()


@pytest.mark.parametrize("how", ["attached", "jpeg attached", "in the text", "in the next cell"])
def test_a_picture_in_an_answer_is_there_for_the_grader(how, started, edit, small_lab):
    kind = "jpeg" if how.startswith("jpeg") else "png"

    def paste(notebook):
        one = cell(notebook, "why")
        if how == "in the next cell":
            one = own("")
            notebook.cells.append(one)
        one.source = f"{ANSWER}\n\n![my plot](attachment:plot%201.{kind})"
        if how == "in the text":
            one.source = f"{ANSWER}\n\n![my plot](data:image/png;base64,{picture('png')})"
        else:
            one["attachments"] = {f"plot 1.{kind}": {f"image/{kind}": picture(kind)}}

    edit(started, paste)
    repaired = repair((started / f"{STEM}.ipynb").read_bytes(), small_lab.student)
    (answer,) = [one for one in repaired.notebook.cells if grade_id(one) == "why"]
    ((name, bundle),) = answer.attachments.items()
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).size == (3, 2)
    assert f"![picture](attachment:{name})" in passive_text(answer.source)
    assert Recorded(repaired.notebook).pictures("why") == [bundle["image/png"]]


def test_what_is_no_picture_is_not_kept(started, edit, small_lab):
    def paste(notebook):
        one = cell(notebook, "why")
        one.source = "![a](attachment:a.png) ![b](attachment:b.svg) ![c](https://example.org/c.png)"
        one["attachments"] = {"a.png": {"image/png": "bm90IGEgcGljdHVyZQ=="}, "b.svg": {"image/svg+xml": "<svg/>"}}

    edit(started, paste)
    repaired = repair((started / f"{STEM}.ipynb").read_bytes(), small_lab.student)
    (answer,) = [one for one in repaired.notebook.cells if grade_id(one) == "why"]
    assert "attachments" not in answer and "](attachment" not in passive_text(answer.source)
