"""mlsys submit, mlsys collect: what would lose points is said, what is packed can be proved, what comes is graded."""

import hashlib
import io
import json
import os
import struct
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest

from autograder.collect import collect, find_receipt
from autograder.collect.parcel import ParcelError, read_parcel
from autograder.grade.intake import submissions
from mlsys_course.desk import lookover
from mlsys_course.desk.receipt import NAME, checksum, receipt_from
from mlsys_course.desk.release import pack
from mlsys_course.desk.start import start
from mlsys_course.desk.submit import prepare, submit
from mlsys_course.desk.workspace import DeskError, Workspace
from mlsys_course.errors import CourseProblem
from mlsys_course.workbook import Found, Ran, find_lab, read_notebook

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
        assert found and all(line.endswith("is still blank.") for line in found), found


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
    "times is still blank": blank,
    "why is still blank": lambda n: cell(n, "why").update(source="*Your answer: replace this line.*"),
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
    assert path.name == f"{STEM}-ada-{receipt.checksum[:8]}.zip" and receipt.points == {"times": [4, 4]}
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


def test_a_name_that_is_none_is_refused(solved, desk):
    for name in ("../evil", "", ".hidden", "a\nb"):
        with pytest.raises(DeskError, match="--student NAME"):
            submit(prepare(solved, desk, None), desk, name or " ")
    assert not list(desk.root.glob("*.zip"))


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


def test_what_was_submitted_is_collected_as_the_grader_wants_it(solved, desk, tmp_path):
    desk.parts.mkdir()
    (desk.parts / "attention.py").write_bytes(b"part = 1\n")
    receipt, path = submit(prepare(solved, desk, None), desk, "ada")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "anything (1).zip").write_bytes(path.read_bytes())
    into = tmp_path / "submitted"
    (row,) = collect(tmp_path / "inbox", into)
    assert (row.student, row.lab, row.checksum, row.receipt) == ("ada", STEM, receipt.checksum, "ok")
    (submission,) = submissions(into, STEM)
    handed = submission.read()
    assert handed.blob == (solved / NOTEBOOK).read_bytes() and not handed.refused and not handed.problem
    assert handed.files == {"my_mlsys/attention.py": b"part = 1\n"}
    when = datetime.fromisoformat(receipt.time)
    assert handed.timestamp.decode() == f"{when:%Y-%m-%d %H:%M:%S}.000000 UTC\n"
    before = tree(into)
    assert collect(tmp_path / "inbox", into) == [row] and tree(into) == before
    assert find_receipt(receipt.checksum[:8], into) == [row] and find_receipt("feed", into) == []


def hand_in(content: bytes = b"{}", student: str = "ada", minutes: int = 0, **files: bytes) -> bytes:
    """A zip as ``mlsys submit`` makes it."""
    packed = {NOTEBOOK: content, **files}
    time = (datetime(2026, 9, 1, tzinfo=UTC) + timedelta(minutes=minutes)).isoformat()
    facts = {"lab": STEM, "student": student, "checksum": checksum(packed), "time": time}
    return pack({**packed, NAME: json.dumps(facts).encode()})


def inbox(tmp_path: Path, *zips: bytes) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir(exist_ok=True)
    for data in zips:
        (folder / f"{len(list(folder.iterdir()))}.zip").write_bytes(data)
    return folder


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_later_hand_in_counts_and_the_earlier_is_kept(tmp_path, order):
    into = tmp_path / "submitted"
    for n in order:  # in two goes, whichever comes first
        collect(inbox(tmp_path, hand_in(b"%d" % n, minutes=n)), into)
    place = into / "ada" / STEM
    assert (place / NOTEBOOK).read_bytes() == b"2"
    (aside,) = (into / ".collected" / "ada" / STEM).iterdir()
    assert (aside / NOTEBOOK).read_bytes() == b"1"
    assert [s.student for s in submissions(into, STEM)] == ["ada"]


def test_the_same_content_again_keeps_its_first_time(tmp_path):
    into = tmp_path / "submitted"
    collect(inbox(tmp_path, hand_in(minutes=1), hand_in(minutes=90)), into)
    assert "00:01:00" in (into / "ada" / STEM / "timestamp.txt").read_text()


def test_changed_content_is_told(tmp_path):
    (data,) = [hand_in(b"honest")]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        receipt = archive.read(NAME)
    forged = pack({NOTEBOOK: b"changed later", NAME: receipt})
    (row,) = collect(inbox(tmp_path, forged), tmp_path / "submitted")
    assert row.receipt == "changed" and "not what the receipt in it says" in row.remark


def test_a_clock_that_runs_ahead_is_told_and_files_times_may_count(tmp_path):
    folder = inbox(tmp_path, hand_in(minutes=60 * 24 * 365 * 100))
    os.utime(folder / "0.zip", (1.79e9, 1.79e9))
    (row,) = collect(folder, tmp_path / "a")
    assert "later than the file's" in row.remark
    collect(folder, tmp_path / "b", file_times=True)
    assert (tmp_path / "b" / "ada" / STEM / "timestamp.txt").read_text().startswith("2026-09-")


def test_a_folder_may_say_whose_a_zip_is(tmp_path):
    folder = tmp_path / "inbox"
    (folder / "grace").mkdir(parents=True)
    (folder / "grace" / "a.zip").write_bytes(hand_in(student="ada"))
    (row,) = collect(folder, tmp_path / "submitted", by_folder=True)
    assert row.student == "grace" and "its receipt says ada" in row.remark
    (folder / "grace" / "a.zip").write_bytes(pack({NOTEBOOK: b"no receipt"}))
    (row,) = collect(folder, tmp_path / "other")
    assert (row.student, row.receipt) == ("grace", "no receipt")


def with_entry(name: str, data: bytes = b"x", *, attr: int = 0, kind: int = zipfile.ZIP_STORED) -> bytes:
    """A good hand-in and one more entry."""
    blob = io.BytesIO(hand_in(b"good"))
    with zipfile.ZipFile(blob, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr, entry.compress_type = attr, kind
        archive.writestr(entry, data)
    return blob.getvalue()


@pytest.mark.parametrize("extra", [
    with_entry("/etc/passwd"),
    with_entry("../../evil.py"),
    with_entry("my_mlsys/../../evil.py"),
    with_entry("my_mlsys/link.py", b"/etc/passwd", attr=0o120777 << 16),
    with_entry("my_mlsys/sub/torch.py"),
    with_entry("torch.py"),
    with_entry("my_mlsys/bomb.py", b"\0" * 1000, kind=zipfile.ZIP_BZIP2),
    with_entry("my_mlsys/\x1b[31m.py"),
])  # fmt: skip
def test_what_nobody_asked_for_is_left_out(tmp_path, extra):
    (row,) = collect(inbox(tmp_path, extra), tmp_path / "submitted")
    assert "left out" in row.remark and row.receipt == "ok" and "\x1b" not in row.remark
    names = {path.name for path in (tmp_path / "submitted" / "ada").rglob("*")}
    assert names == {STEM, NOTEBOOK, "timestamp.txt"}
    assert set(tree(tmp_path)) == {"inbox/0.zip"} | {f"submitted/{n}" for n in tree(tmp_path / "submitted")}


def millions() -> bytes:
    """A list of contents that says it has millions of lines."""
    data = bytearray(hand_in())
    at = data.rfind(b"PK\5\6")
    struct.pack_into("<2H", data, at + 8, 65535, 65535)
    return bytes(data)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize("hostile", [
    b"", b"no zip", cut(hand_in()), millions(), pack({"a.txt": b""}), pack({NOTEBOOK: b"", "lab01_x.ipynb": b""}),
    pack({NOTEBOOK: b"\0" * (21 << 20)}), with_entry("my_mlsys/bomb.py", b"\0" * (2 << 20), kind=zipfile.ZIP_DEFLATED),
    hand_in(student="../evil"), pack({NOTEBOOK: b"nobody's"}),
], ids=["empty", "text", "cut", "list", "no notebook", "two", "bomb", "part bomb", "name", "nobody"])  # fmt: skip
def test_a_hostile_zip_hurts_only_itself(tmp_path, hostile):
    rows = collect(inbox(tmp_path, hostile, hand_in(student="grace")), tmp_path / "submitted")
    assert [row.student for row in rows if row.checksum] == ["grace"]
    assert [row.remark.startswith("not collected: ") for row in rows if not row.checksum] == [True]
    assert {path.name for path in (tmp_path / "submitted").iterdir()} == {"grace", ".collected"}


def test_links_and_named_pipes_in_the_inbox_are_not_opened(tmp_path):
    folder = inbox(tmp_path)
    (folder / "secret.zip").symlink_to(tmp_path / "outside.zip")
    (tmp_path / "outside.zip").write_bytes(hand_in())
    os.mkfifo(folder / "pipe.zip")
    for name in ("secret.zip", "pipe.zip"):
        with pytest.raises(ParcelError, match="link"):
            read_parcel(folder / name)
