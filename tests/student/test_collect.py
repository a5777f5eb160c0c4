"""mlsys collect: what students hand in becomes what grading reads; a hostile zip hurts only itself."""

import io
import json
import os
import struct
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from autograder.collect import collect, find_receipt
from autograder.collect.parcel import ParcelError, read_parcel
from autograder.grade.handed_in import submissions
from mlsys_course.desk.receipt import NAME, checksum
from mlsys_course.desk.release import pack
from mlsys_course.desk.submit import prepare, submit

from .conftest import STEM, tree

NOTEBOOK = f"{STEM}.ipynb"


def test_what_was_submitted_is_collected_as_the_grader_wants_it(started, desk, tmp_path):
    desk.parts.mkdir()
    (desk.parts / "attention.py").write_bytes(b"part = 1\n")
    receipt, path = submit(prepare(started, desk, None), desk, "ada")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "anything (1).zip").write_bytes(path.read_bytes())
    into = tmp_path / "submitted"
    (row,) = collect(tmp_path / "inbox", into)
    assert (row.student, row.lab, row.checksum, row.receipt) == ("ada", STEM, receipt.checksum, "ok")
    (submission,) = submissions(into, STEM)
    handed = submission.read()
    assert handed.blob == (started / NOTEBOOK).read_bytes() and not handed.refused and not handed.problem
    assert handed.files == {"my_mlsys/attention.py": b"part = 1\n"}
    when = datetime.fromisoformat(receipt.time)
    assert handed.timestamp.decode() == f"{when:%Y-%m-%d %H:%M:%S}.000000 UTC"
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


def test_a_folder_that_is_no_students_name_says_so(tmp_path):
    (tmp_path / "inbox" / "-v").mkdir(parents=True)
    (tmp_path / "inbox" / "-v" / "a.zip").write_bytes(hand_in(student="ada"))
    (row,) = collect(tmp_path / "inbox", tmp_path / "submitted", by_folder=True)
    assert row.remark.startswith("not collected: The name '-v' is no student id: ")


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
    hand_in(student="../evil"), hand_in(student="=1+1"), pack({NOTEBOOK: b"nobody's"}),
], ids=["empty", "text", "cut", "list", "no notebook", "two", "bomb", "part bomb", "name", "sum", "none"])  # fmt: skip
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
