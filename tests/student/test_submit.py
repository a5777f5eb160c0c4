"""mlsys submit: what would lose points is said, and what is packed can be proved."""

import errno
import hashlib
import zipfile

import nbformat
import pytest
from typer.testing import CliRunner

from autograder.grade.handed_in import Submission
from mlsys_course.desk import cli, lookover
from mlsys_course.desk.receipt import NAME, check_student, checksum, receipt_from
from mlsys_course.desk.start import start
from mlsys_course.desk.submit import prepare, submit, who
from mlsys_course.desk.workbook import Found, Ran, find_lab, read_notebook
from mlsys_course.desk.workspace import DeskError, Workspace
from mlsys_course.substrate.errors import CourseProblem

from .conftest import STEM, cell, solve, tree

NOTEBOOK = f"{STEM}.ipynb"
PASSES = nbformat.v4.new_output("display_data", data={"text/plain": "times: all cases pass, 4 of 4 points\n..."})
CLEAN = Ran([Found("times", "ok", 4, 4)])


@pytest.fixture
def solved(started, edit, small_lab):
    """A lab with everything done."""
    edit(started, solve(small_lab))
    edit(started, lambda notebook: cell(notebook, "why").update(source="Because it is so."))
    return started


def test_a_finished_lab_is_warned_of_nothing(solved, desk):
    assert prepare(solved, desk, CLEAN).warnings == []


def test_every_lab_as_released_warns_of_blanks_only(course):
    for stem in course.stems():
        found = lookover.warnings(course.built(stem), read_notebook(course.built(stem)), None, Workspace(course.root))
        assert found and all(line.startswith("Still blank: ") for line in found), found


def pasted(notebook):
    notebook.cells.append(nbformat.from_dict({**cell(notebook, "times"), "id": "copied"}))


def moved(notebook):
    notebook.cells.append(nbformat.v4.new_code_cell("width = 3", id="a"))
    notebook.cells.insert(1, nbformat.v4.new_code_cell("print([width for _ in range(2)])", id="b"))


def run_backwards(notebook):
    cell(notebook, "solution-times").execution_count = 9
    cell(notebook, "times").execution_count = 2


def blank(notebook):
    cell(
        notebook, "solution-times"
    ).source += '\n    raise NotImplementedError("Write this part, then run the cell again.")'


TROUBLES = {
    "Still blank: times.": blank,
    "Still blank: why.": lambda n: cell(n, "why").update(source="*Your answer: replace this line.*"),
    "The graded cell of times was edited": lambda n: cell(n, "times").update(source='check("times", 3)'),
    "The graded cell of times is gone": lambda n: n.cells.remove(cell(n, "times")),
    "There are 2 cells of times": pasted,
    "Cell 2 uses width, which only cell 9 defines": moved,
    "run in another order than they stand in": run_backwards,
}


@pytest.mark.parametrize("warning", TROUBLES)
def test_what_would_lose_points_is_said_and_packed_all_the_same(solved, desk, edit, warning):
    edit(solved, TROUBLES[warning])
    hand_in = prepare(solved, desk, CLEAN)
    assert [warning in line for line in hand_in.warnings] == [True], hand_in.warnings
    assert submit(hand_in, desk, "ada")[1].is_file()


@pytest.mark.parametrize(("status", "stored", "warning"), [
    ("missing", True, "times passes in the notebook as saved, and not from the top (missing)"),
    ("ok", False, "is older than its code"),
])  # fmt: skip
def test_outputs_that_a_clean_run_does_not_confirm(solved, desk, edit, status, stored, warning):
    wrong = nbformat.v4.new_output("display_data", data={"text/plain": "times: 0 of 2 cases pass, 0 of 4 points"})
    edit(solved, lambda n: cell(n, "times").update(outputs=[PASSES if stored else wrong]))
    (said,) = prepare(solved, desk, Ran([Found("times", status, 0, 4)])).warnings
    assert warning in said


def test_what_fails_is_named_before_what_is_blank(solved, desk, edit):
    """One line for all blanks; and what fails is told from the saved notebook where there is no run."""
    edit(solved, lambda n: cell(n, "why").update(source="*Your answer: replace this line.*"))
    said = prepare(solved, desk, Ran([Found("times", "wrong", 2, 4)])).warnings
    assert said == ["times does not pass (wrong): 2 of 4 points on public cases.", "Still blank: why."]
    wrong = nbformat.v4.new_output("display_data", data={"text/plain": "times: 1 of 2 cases pass, 2 of 4 points"})
    edit(solved, lambda n: cell(n, "times").update(outputs=[wrong]))
    assert prepare(solved, desk, None).warnings[0].startswith("times does not pass (as saved): 2 of 4 points")
    edit(solved, blank)
    found = prepare(solved, desk, Ran([Found("times", "missing", 0, 4)])).warnings
    assert found == ["Still blank: times, why."]
    edit(solved, lambda n: cell(n, "solution-times").update(source="def times(x:"))  # missing, and not blank
    said = prepare(solved, desk, Ran([Found("times", "missing", 0, 4)])).warnings
    assert said[:2] == ["times does not pass (missing): 0 of 4 points on public cases.", "Still blank: why."]


def test_a_second_hand_in_of_the_same_says_so(solved, desk, monkeypatch, edit):
    monkeypatch.chdir(solved)
    command = ["submit", "lab00", "--no-run", "--student", "ada"]
    first = CliRunner().invoke(cli.app, command).output
    (kept,) = (desk.hidden / "receipts").glob("*.json")
    said = f"Nothing has changed since the receipt of {receipt_from(kept.read_bytes()).time}"
    assert "Nothing has changed" not in first and said in CliRunner().invoke(cli.app, command).output
    edit(solved, lambda n: cell(n, "why").update(source="Because of that."))
    assert "Nothing has changed" not in CliRunner().invoke(cli.app, command).output


def test_an_old_release_another_term_and_a_late_hand_in(desk, releases, small_lab, edit, tmp_path):
    path = releases.zip(tmp_path, due="2020-09-28T23:59:00-04:00")
    folder = start("lab00", desk, str(path)).folder
    kept = desk.kept(STEM, "sample", 10)
    kept.write_bytes(path.read_bytes())
    (desk.root / "lab01_x").mkdir()
    (desk.root / "lab01_x" / "edition.json").write_text('{"term": "2027-spring", "release": 1}')
    said = "\n".join(prepare(folder, desk, None).warnings)
    assert "release 10 is known: mlsys update" in said and "other labs here are of 2027-spring" in said
    assert "It was due Tue 29 Sep 2020" in said or "It was due Mon 28 Sep 2020" in said


def test_a_driver_that_is_not_the_released_one(solved, desk):
    with (solved / "drivers.py").open("a") as file:
        file.write("# mine\n")
    (solved / "cases" / "times.safetensors").unlink()
    said = prepare(solved, desk, CLEAN).warnings
    assert sorted(line.split(" is not as released")[0] for line in said) == ["cases/times.safetensors", "drivers.py"]


def test_the_receipt_names_exactly_what_was_packed(solved, desk, tmp_path):
    desk.parts.mkdir()
    (desk.parts / "attention.py").write_bytes(b"part = 1\n")
    (desk.parts / "huge.py").write_bytes(b" " * (1 << 21))
    hand_in = prepare(solved, desk, CLEAN)
    assert ["is left out" in line for line in hand_in.warnings] == [True]
    receipt, path = submit(hand_in, desk, "ada")
    with zipfile.ZipFile(path) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert set(packed) == {NOTEBOOK, "my_mlsys/attention.py", NAME}
    assert receipt_from(packed.pop(NAME)) == receipt and checksum(packed) == receipt.checksum
    assert path.name == f"{STEM}-ada-{receipt.checksum[:8]}.zip" and receipt.points == {"times": [4, 4], "why": [0, 1]}
    assert f"  checksum  {receipt.checksum}" in receipt.lines()
    (kept,) = (desk.hidden / "receipts").glob("*.json")
    assert receipt_from(kept.read_bytes()) == receipt
    again, other = submit(prepare(solved, desk, None), desk)  # the name is remembered, and the first receipt stands
    assert (again, other) == (receipt, path)
    (solved / NOTEBOOK).write_bytes((solved / NOTEBOOK).read_bytes() + b"\n")
    assert submit(prepare(solved, desk, None), desk)[0].checksum != receipt.checksum and path.is_file()


def test_the_checksum_covers_every_file_and_anybody_can_work_it_out():
    files = {"b.py": b"two", "a.ipynb": b"one"}
    listing = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in ("a.ipynb", "b.py"))
    assert checksum(files) == hashlib.sha256(listing.encode()).hexdigest()
    for other in (
        {**files, "b.py": b"2"},
        {"a.ipynb": b"one"},
        {**files, "c.py": b""},
        {"a.ipynb": b"one", "c.py": b"two"},
    ):
        assert checksum(other) != checksum(files)


def test_who_hands_in_is_asked_once_and_never_taken_from_the_login(solved, desk, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):  # as in every container of one image
        monkeypatch.setenv(name, "jovyan")
    with pytest.raises(DeskError, match="--student NAME"):
        submit(prepare(solved, desk, None), desk)
    assert not list(desk.root.glob("*.zip"))
    asked = []

    def ask() -> str:
        asked.append(1)
        return "s1234567 "

    assert [who(desk, None, ask) for _ in range(2)] == ["s1234567"] * 2 and len(asked) == 1
    assert submit(prepare(solved, desk, None), desk)[0].student == "s1234567"


def test_at_a_terminal_the_command_asks_and_in_a_notebook_it_says_how(solved, desk, monkeypatch):
    monkeypatch.chdir(solved)
    command = ["submit", "lab00", "--no-run"]
    (solved / "drivers.py").write_text("# mine")  # a warning: whoever has no name yet is asked for that first
    done = CliRunner().invoke(cli.app, command, input="ann\n")
    assert isinstance(done.exception, DeskError) and "--student NAME" in str(done.exception) and not done.output
    monkeypatch.setattr(cli, "at_terminal", lambda: True)
    done = CliRunner().invoke(cli.app, command, input="ann\n")
    assert done.exit_code == 0 and "Receipt of ann" in done.output and "warning:" in done.output
    assert "Receipt of ann" in CliRunner().invoke(cli.app, command).output


def test_a_full_disk_is_one_sentence(monkeypatch, capsys):
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/home/[ann]/x")

    monkeypatch.setattr(cli, "app", full)
    monkeypatch.setattr(cli, "entry_points", lambda group: [])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert capsys.readouterr().err == "mlsys: the disk is full (/home/[ann]/x): free space, and call this again\n"


def test_a_name_that_is_none_is_refused(solved, desk):
    for name in ("../evil", "", ".hidden", "a\nb"):
        with pytest.raises(DeskError, match="--student NAME"):
            submit(prepare(solved, desk, None), desk, name or " ")
    assert not list(desk.root.glob("*.zip"))


IDS = ("ada", "s1234567", "7", "ada.lovelace@uni.example", "Ada King Lovelace", "a-b_c", "x" * 64)
NO_IDS = ("=1+1", "+49", "-v", "@all", "_a", " ada", "ada ", "ada  king", "ada.", "..", "x" * 65, "a/b", "a\tb",
          "a\x1b[1m", "ad\u0430", "ada\u00a0king", "\u0661", "ada+lab", "ada\n", "\udcff", "<b>", "a,b")  # fmt: skip


def test_one_rule_says_who_is_a_student(tmp_path):
    """At the desk, and where staff grade what lies in a folder of that name."""
    for name in (*IDS, *NO_IDS):
        submission = Submission(name, tmp_path, STEM)
        if name in IDS:
            assert check_student(name) == name and "No file" in submission.read().problem
            continue
        with pytest.raises(DeskError, match="is no student id") as caught:
            check_student(name)
        said = str(caught.value)
        assert submission.read().problem == said
        assert said.isascii() and said.isprintable() and said.endswith(".") and len(said) <= 200


def test_a_receipt_of_a_name_that_was_one_once_hinders_nobody(solved, desk):
    receipt, _ = submit(prepare(solved, desk, None), desk, "ada")
    (known,) = (desk.hidden / "receipts").glob("*.json")
    known.write_bytes(known.read_bytes().replace(b'"ada"', b'"+ada"'))
    again, path = submit(prepare(solved, desk, None), desk, "ada")
    assert (again.student, again.checksum) == ("ada", receipt.checksum) and path.is_file()


@pytest.mark.parametrize("spoil", ["not json", "renamed", "no cases", "folder renamed"])
def test_a_lab_that_cannot_be_handed_in_says_why(solved, desk, spoil):
    words = {
        "not json": "no readable notebook",
        "renamed": "has my work.ipynb; give your notebook its name back",
        "no cases": "has no cases/",
        "folder renamed": f"rename the folder to {STEM}",
    }[spoil]
    if spoil == "not json":
        (solved / NOTEBOOK).write_text("{")
    elif spoil == "renamed":
        (solved / NOTEBOOK).rename(solved / "my work.ipynb")
    elif spoil == "no cases":
        (solved / "cases").rename(desk.root / "elsewhere")
    else:
        solved.rename(desk.root / "My Lab")
    before = tree(desk.root)
    with pytest.raises(CourseProblem, match=words):
        prepare(find_lab("lab00", desk.root), desk, None)
    assert tree(desk.root) == before
