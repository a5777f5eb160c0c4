"""Whatever a student hands in becomes a notebook that nbgrader can read, with our points and our graded cells."""

import json

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbgrader.nbgraderformat import MetadataValidator

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.grade.repair import repair
from autograder.scoring.cells import grade_id
from tests.conftest import write_small_course

STEM = "lab00_foundations"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(released, solution) of a small lab."""
    root = write_small_course(tmp_path_factory.mktemp("course"))
    built = build(load_course(root).lab(STEM), root / "labs" / STEM)
    return built.student, built.solution


def handed_in(notebook) -> bytes:
    return json.dumps(notebook).encode()


def check_accepted(repaired, released) -> None:
    """What must hold of every repaired notebook."""
    nbformat.validate(repaired.notebook)
    graded = [cell for cell in repaired.notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    wanted = [cell for cell in released.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert sorted(map(grade_id, graded)) == sorted(map(grade_id, wanted))
    by_id = {grade_id(cell): cell for cell in released.cells}
    validator = MetadataValidator()
    for cell in repaired.notebook.cells:
        validator.validate_cell(cell)
        if grade_id(cell):
            assert cell.metadata == by_id[grade_id(cell)].metadata
            assert not cell.metadata.nbgrader.locked or cell.source == by_id[grade_id(cell)].source


def test_an_untouched_or_solved_notebook_stays_as_it_is(lab):
    released, solution = lab
    for notebook in (released, Student(released, solution).solve().notebook):
        repaired = repair(handed_in(notebook), released)
        check_accepted(repaired, released)
        assert [c.source for c in repaired.notebook.cells] == [c.source for c in notebook.cells]
        assert repaired.notes == {} and not repaired.unreadable


@pytest.mark.parametrize(
    ("work", "note"),
    [
        (lambda s: s.delete("times"), "was missing; it was put back"),
        (lambda s: s.paste_copy("times"), "several copies"),
        (lambda s: s.edit("times", "print('100')"), "had been edited"),
        (lambda s: s.delete("why"), "was missing"),
    ],
)
def test_a_graded_cell_is_mended_and_the_student_told(lab, work, note):
    released, solution = lab
    repaired = repair(work(Student(released, solution).solve()).hand_in(), released)
    check_accepted(repaired, released)
    assert note in " ".join(repaired.notes.values())


def test_a_deleted_graded_cell_comes_back_behind_its_exercise(lab):
    released, solution = lab
    student = Student(released, solution).solve().delete("times").insert_after("experiment-look", "times = None")
    names = [grade_id(cell) for cell in repair(student.hand_in(), released).notebook.cells]
    assert names.index("times") == names.index("solution-times") + 1


def test_points_and_locks_are_never_the_students(lab):
    released, _ = lab
    notebook = nbformat.from_dict(json.loads(json.dumps(released)))
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.update(points=1000, locked=False, schema_version=99, task=True)
    check_accepted(repair(handed_in(notebook), released), released)


def test_a_notebook_without_any_metadata_is_known_by_its_text(lab):
    released, _ = lab
    notebook = nbformat.from_dict(json.loads(json.dumps(released)))
    for cell in notebook.cells:
        cell.metadata = {}
        cell.id = None
    repaired = repair(handed_in(notebook), released)
    check_accepted(repaired, released)
    assert repaired.notes == {"why": "This graded cell was missing; it was put back."}


def spoiled(cell_change=None, **change) -> bytes:
    notebook = {"cells": [{"cell_type": "code", "source": "x", "metadata": {}}], "metadata": {}, "nbformat": 4}
    notebook["cells"][0].update(cell_change or {})
    return json.dumps({**notebook, **change}).encode()


@pytest.mark.parametrize(
    "blob",
    [
        spoiled(nbformat=5),
        spoiled(nbformat="x", nbformat_minor=None),
        spoiled(metadata=None),
        spoiled(metadata={"kernelspec": {"name": "ir", "language": "R"}}),
        spoiled({"cell_type": "code", "source": ["a\n", "b"], "id": "no id at all!"}),
        spoiled({"source": "\ud800 \x00 surrogate and nul"}),
        spoiled({"source": None}),
        spoiled({"cell_type": "heading"}),
        spoiled({"metadata": {"nbgrader": 7}}),
        spoiled({"metadata": {"nbgrader": {"grade_id": ["times"]}}}),
        spoiled(cells=[None, 3, {}, {"cell_type": "code"}]),
        b"\xef\xbb\xbf" + spoiled(),
        spoiled().replace(b"}", b"}\r\n"),
        json.dumps({"worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1", "language": "python",
                    "outputs": [], "collapsed": False, "metadata": {}}], "metadata": {}}],
                    "metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0}).encode(),
    ],
)  # fmt: skip
def test_odd_but_readable_notebooks_are_graded(lab, blob):
    repaired = repair(blob, lab[0])
    check_accepted(repaired, lab[0])
    assert not repaired.unreadable


@pytest.mark.parametrize(
    "blob",
    [b"", b"   ", b"{", b"[1, 2]", b"null", b'{"cells": 3}', b"{}", b"\x89PNG\r\n", b"PK\x03\x04", b"[" * 100_000],
)
def test_what_cannot_be_read_says_so_and_is_graded_as_blank(lab, blob):
    repaired = repair(blob, lab[0])
    check_accepted(repaired, lab[0])
    assert repaired.unreadable.startswith("The file is")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.data(),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["delete", "copy", "type", "source", "metadata"]))),
)
@settings(max_examples=100, deadline=None)
def test_any_spoiled_notebook_is_mended(lab, data, damage):
    notebook = json.loads(json.dumps(lab[0]))
    for index, how in damage:
        cells = notebook["cells"]
        if not cells:
            break
        at = index % len(cells)
        if how == "delete":
            del cells[at]
        elif how == "copy":
            cells.insert(0, json.loads(json.dumps(cells[at])))
        elif isinstance(cells[at], dict):
            cells[at][{"type": "cell_type"}.get(how, how)] = data.draw(json_values)
    repaired = repair(json.dumps(notebook).encode(), lab[0])
    check_accepted(repaired, lab[0])
