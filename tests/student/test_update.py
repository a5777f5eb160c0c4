"""mlsys update: a corrected release comes in, and no text of the student's ever goes."""

import copy

import nbformat
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlsys_course.desk import update as updating
from mlsys_course.desk.merge import merge
from mlsys_course.desk.recognise import is_question
from mlsys_course.desk.release import ReleaseError, read_release
from mlsys_course.desk.update import update
from mlsys_course.desk.workbook import grade_id, read_notebook
from mlsys_course.desk.workspace import DeskError, read_edition

from .conftest import STEM, cell, tree

MINE = "def times(x):\n    return sum(x for _ in range(7))  # mine"


def corrected(releases):
    """The notebook of release 2: another text, another graded cell, an exercise's text mended, a new cell; ids anew."""
    notebook = releases.notebook
    cell(notebook, "text-000").source += " Corrected."
    cell(notebook, "times").source = 'check("times", times)  # corrected'
    cell(notebook, "solution-times").source = cell(notebook, "solution-times").source.replace('"""x', '"""Now: x')
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell("A new explanation.", id="text-001"))
    for number, one in enumerate(notebook.cells):
        one.id = grade_id(one) or f"{one.cell_type}-{number:03d}"
    return notebook


def work(notebook):
    """What a student did meanwhile."""
    cell(notebook, "solution-times").source = MINE
    cell(notebook, "solution-times").outputs = [nbformat.v4.new_output("stream", text="7\n")]
    cell(notebook, "times").source = "# check is switched off"
    cell(notebook, "why").source = "Because I say so."
    notebook.cells.insert(2, nbformat.v4.new_code_cell("note = 'my own cell'", id="f00dcafe"))


def sources(notebook) -> list[str]:
    return [one.source for one in notebook.cells]


def test_corrections_come_in_and_work_stays(desk, releases, started, edit):
    edit(started, work)
    before = tree(started)
    drivers = releases.files["drivers.py"] + b"# corrected\n"
    path = releases.zip(desk.root, 2, notebook=corrected(releases), files={"drivers.py": drivers})
    done = update(started, desk, str(path))
    notebook = read_notebook(started)
    assert cell(notebook, "solution-times").source == MINE
    assert cell(notebook, "solution-times").outputs[0].text == "7\n"
    assert cell(notebook, "times").source.endswith("# corrected")
    assert cell(notebook, "why").source == "Because I say so."
    text = sources(notebook)
    assert "note = 'my own cell'" in text and "A new explanation." in text and text[0].endswith("Corrected.")
    (note,) = [source for source in text if "Release 2 changed the cell above" in source]
    assert text.index(note) == text.index(MINE) + 1 and '"""Now: x' in note
    assert (started / "drivers.py").read_bytes() == drivers and read_edition(started)["release"] == 2
    assert tree(done.before) == {n: data for n, data in before.items() if not n.endswith(".whl")}
    assert read_release(desk.kept(STEM, "sample", 2)) is not None and not list(desk.hidden.glob("writing-*"))


def test_a_second_and_a_third_update(desk, releases, started, edit):
    edit(started, work)
    path = releases.zip(desk.root, 2, notebook=corrected(releases))
    update(started, desk, str(path))
    after = tree(started)
    assert "already" in update(started, desk, str(path)).lines[0] and tree(started) == after
    third = corrected(releases)
    third.cells[1].source = "A newer explanation."
    update(started, desk, str(releases.zip(desk.root, 3, notebook=third)))
    text = sources(read_notebook(started))
    assert "A newer explanation." in text and "A new explanation." not in text
    assert len([t for t in text if "changed the cell above" in t]) == 1 and MINE in text


def test_without_a_name_the_newest_at_hand_comes_in(desk, releases, started):
    for number in (2, 12, 11):
        releases.zip(desk.root, number, notebook=corrected(releases))
    update(started, desk)
    assert read_edition(started)["release"] == 12


@pytest.mark.parametrize("stop", [f"{STEM}.ipynb", "drivers.py", "edition.json"])
def test_stopped_midway_a_second_call_finishes(desk, releases, started, edit, monkeypatch, stop):
    edit(started, work)
    changed = {"drivers.py": b"# corrected\n"}
    path = releases.zip(desk.root, 2, notebook=corrected(releases), files=changed)

    def killed(target, data):
        if target.name == stop:
            raise KeyboardInterrupt
        whole(target, data)

    whole = updating.save
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(updating, "save", killed)
        update(started, desk, str(path))
    assert MINE in sources(read_notebook(started))
    update(started, desk, str(path))
    interrupted = tree(started)
    text = sources(read_notebook(started))
    assert text.count(MINE) == 1 and len([t for t in text if "changed the cell above" in t]) == 1
    assert read_edition(started)["release"] == 2 and interrupted["drivers.py"] == b"# corrected\n"


def test_drivers_that_the_student_changed_are_in_the_copy(desk, releases, started):
    (started / "drivers.py").write_bytes(b"mine = 1\n")
    (started / "notes.txt").write_bytes(b"precious")
    done = update(started, desk, str(releases.zip(desk.root, 2)))
    assert any("You had changed drivers.py" in line for line in done.lines)
    assert (done.before / "drivers.py").read_bytes() == b"mine = 1\n"
    assert (started / "drivers.py").read_bytes() == releases.files["drivers.py"]
    assert (started / "notes.txt").read_bytes() == b"precious"


def test_what_the_release_no_longer_has_goes_unless_it_was_touched(desk, releases, tmp_path):
    from mlsys_course.desk.start import start

    extra = {"old.txt": b"old", "touched.txt": b"old"}
    folder = start("lab00", desk, str(releases.zip(tmp_path, files=extra))).folder
    (folder / "touched.txt").write_bytes(b"mine")
    update(folder, desk, str(releases.zip(desk.root, 2)))
    assert not (folder / "old.txt").exists() and (folder / "touched.txt").read_bytes() == b"mine"


def test_what_cannot_be_merged_changes_nothing(desk, releases, started, tmp_path):
    before = tree(started)
    wrong = {
        "of term sample": releases.zip(desk.root, 2, term="2027-spring"),
        "is older": releases.zip(desk.root, 0),
    }
    for message, path in wrong.items():
        with pytest.raises(DeskError, match=message):
            update(started, desk, str(path))
    with pytest.raises(ReleaseError, match="is not there"):
        update(started, desk, str(tmp_path / "none.zip"))
    assert tree(started) == before


def test_a_notebook_that_is_no_json_is_left_alone(desk, releases, started):
    (started / f"{STEM}.ipynb").write_bytes(b'{"cells": [')
    before = tree(started)
    with pytest.raises(Exception, match="no readable notebook"):
        update(started, desk, str(releases.zip(desk.root, 2)))
    assert tree(started) == before


def test_the_original_must_be_known(desk, releases, started):
    desk.kept(STEM, "sample", 1).unlink()
    path = releases.zip(desk.root, 2)
    with pytest.raises(ReleaseError, match="mlsys start lab00_foundations --from"):
        update(started, desk, str(path))
    releases.zip(desk.root, 1)  # the zip that it came from still lies about
    assert update(started, desk, str(path)).before


def test_a_damaged_edition_is_put_back(desk, releases, started):
    (started / "edition.json").write_text("{")
    update(started, desk, str(releases.zip(desk.root, 2)))
    assert read_edition(started)["release"] == 2


def test_a_graded_cell_that_was_deleted_is_put_back_and_a_deleted_text_is_not(releases):
    base, local = releases.notebook, releases.notebook
    for name in ("text-000", "times"):
        local.cells.remove(cell(local, name))
    merged = merge(base, local, corrected(releases), 2)
    assert merged.restored == ["times"] and not any("Corrected." in text for text in sources(merged.notebook))
    names = [grade_id(one) for one in merged.notebook.cells]
    assert names.index("times") == names.index("solution-times") + 1


def test_of_copies_the_last_is_the_work(releases):
    base, local = releases.notebook, releases.notebook
    first = cell(local, "solution-times")
    local.cells.insert(0, nbformat.from_dict({**first, "id": "pasted", "source": "draft = 1"}))
    first.source = MINE
    merged = merge(base, local, corrected(releases), 2).notebook
    assert [one.source for one in merged.cells if grade_id(one) == "solution-times"] == [MINE]
    assert "draft = 1" in sources(merged)


def test_an_editor_that_forgets_ids(releases):
    """Colab saves format 4.4, whose cells have no ids; nbgrader's metadata stays."""
    base, local = releases.notebook, releases.notebook
    work(local)
    for number, one in enumerate(local.cells):
        one.id = f"random{number}"
    text = sources(merge(base, local, corrected(releases), 2).notebook)
    assert MINE in text and "A new explanation." in text and text[0].endswith("Corrected.")
    assert len(text) == len(base.cells) + 3  # one own cell, one new text, one note


WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"])
TEXT = st.lists(WORDS, min_size=1, max_size=8).map("\n".join)
EDITS = st.lists(
    st.tuples(st.sampled_from(["edit", "own", "delete", "copy", "swap"]), st.integers(0, 30), TEXT), max_size=8
)


def edited(notebook, edits, tag: str):
    """A copy with random edits."""
    notebook = nbformat.from_dict(copy.deepcopy(dict(notebook)))
    for count, (kind, at, text) in enumerate(edits):
        at %= len(notebook.cells)
        if kind == "edit":
            notebook.cells[at].source = text
        elif kind == "own":
            notebook.cells.insert(at, nbformat.v4.new_markdown_cell(text, id=f"{tag}-{count}"))
        elif kind == "copy":
            notebook.cells.insert(at, copy.deepcopy(notebook.cells[at]))
            notebook.cells[at].id = f"{tag}-{count}"
        elif kind == "swap":
            notebook.cells.append(notebook.cells.pop(at))
        elif len(notebook.cells) > 1:
            del notebook.cells[at]
    return notebook


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mine=EDITS, theirs=EDITS)
@example(mine=[("edit", 6, "alpha\nalpha"), ("copy", 20, "alpha"), ("edit", 6, "alpha")], theirs=[])
def test_whatever_both_did_no_text_is_lost(releases, mine, theirs):
    base = releases.notebook
    local = edited(base, mine, "new")
    released = [edit for edit in theirs if edit[0] not in ("delete", "copy")]
    remote = edited(base, released, "new")
    merged = merge(base, local, remote, 2).notebook
    text, known = sources(merged), {one.id: one.source for one in base.cells}
    locked = {grade_id(one) for one in base.cells if one.metadata.get("nbgrader", {}).get("locked")}
    questions = {grade_id(one) for one in base.cells if is_question(one)}
    for one in local.cells:
        if grade_id(one) not in locked and one.source not in known.values():
            own = [m.source for m in merged.cells if grade_id(m) == grade_id(one)]
            joined = grade_id(one) in questions and one.source in own[0]  # of several cells with one's answer
            assert one.source in text or joined
    for one in remote.cells:
        if one.metadata.get("nbgrader", {}).get("locked"):
            assert one.source in text
        graded = [m for m in merged.cells if grade_id(one) and grade_id(m) == grade_id(one)]
        assert not grade_id(one) or len(graded) == 1
    nbformat.validate(merged)
