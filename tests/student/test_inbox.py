"""mlsys collect on inboxes as platforms fill them: every file is taken or named, and nobody's place is taken."""

import io
import os
import re
import tarfile
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from autograder.cli import add_commands
from autograder.collect import collect
from autograder.collect.archive import MOST_TAR
from mlsys_course.desk.release import pack

from .conftest import STEM, tree
from .test_collect import hand_in

NOTEBOOK = f"{STEM}.ipynb"
DUE = datetime(2026, 9, 28, 23, 59, tzinfo=UTC)


def inbox(tmp_path: Path, **files: bytes) -> Path:
    return write(tmp_path / "inbox", files)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tarred(files: dict[str, bytes], mode: str = "w:gz", **extra: tarfile.TarInfo) -> bytes:
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode=mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), 1_790_000_000
            archive.addfile(entry, io.BytesIO(data))
        for entry in extra.values():
            archive.addfile(entry)
    return blob.getvalue()


def work_of(into: Path) -> dict[str, bytes]:
    """Who has what there."""
    return {
        path.parts[-3]: path.read_bytes() for path in into.glob(f"*/*/{NOTEBOOK}") if path.parts[-4] != ".collected"
    }


BARE = {
    f"ada/{NOTEBOOK}": "ada",
    f"{STEM}/ada/{NOTEBOOK}": "ada",
    f"ada/{STEM}/{NOTEBOOK}": "ada",
    f"week 3/ada/{NOTEBOOK}": "ada",
    f"2026-09-28/ada/{STEM}/{NOTEBOOK}": "ada",
    f"ada/{STEM} (1).ipynb": "ada",
    f"ada/{STEM}-Copy1.ipynb": "ada",
    "ada/Copy of Lab00-Foundations.ipynb": "ada",
    f"doejane_123_456_{NOTEBOOK}": "doejane",
    f"doejane_LATE_12345_678901_{STEM}-2.ipynb": "doejane",
    f"Doe, Jane_98765_assignsubmission_file_/{NOTEBOOK}": "Doe Jane",
    f"Jane Doe_98765_assignsubmission_file_{NOTEBOOK}": "Jane Doe",
    f"Doe, Jane_{NOTEBOOK}": "Doe Jane",
    f"O'Neil_4711_{NOTEBOOK}": "ONeil",
    f"O\u2019Neil, Zo\u00eb_4711_assignsubmission_file_/{NOTEBOOK}": "ONeil Zoe",
    f"O'Neil/{NOTEBOOK}": "ONeil",
    f"Doe, Jane(jdoe1)/{NOTEBOOK}": "jdoe1",
    f"Lab 0_jdoe_attempt_2026-09-28-23-59-00_{NOTEBOOK}": "jdoe",
}


@pytest.mark.parametrize("name", BARE)
def test_a_bare_notebook_is_its_folders_or_whose_the_platform_says(tmp_path, name):
    (row,) = collect(inbox(tmp_path, **{name: b"{}"}), tmp_path / "submitted")
    assert (row.student, row.lab, row.receipt) == (BARE[name], STEM, "no receipt"), row.remark
    assert work_of(tmp_path / "submitted") == {BARE[name]: b"{}"}


ADAS = hand_in(b"ada's")
UNPACKED = {NOTEBOOK: b"{}", "my_mlsys/attention.py": b"part = 1\n"}
PACKED = {
    "a.ZIP": ADAS,
    "ada-4711_late.zip.zip": pack({"hand-in.zip": ADAS}),
    "all.zip": pack({"Lovelace, Ada_12_assignsubmission_file_/a.zip": ADAS}),
    "all.tar": tarred({"inner/b.ZIP": ADAS}, "w:"),
    "ada/a.tar.gz": tarred({NOTEBOOK: b"ada's", "receipt.json": b""}),
    "lab00/week 2/ada/x.zip": ADAS,
    "Lovelace, Ada_12_assignsubmission_file_/a.zip": ADAS,
}


@pytest.mark.parametrize("name", PACKED)
def test_archives_of_every_kind_are_looked_into(tmp_path, name):
    (row,) = collect(inbox(tmp_path, **{name: PACKED[name]}), tmp_path / "submitted")
    assert row.student == "ada" and row.checksum, row.remark
    assert work_of(tmp_path / "submitted") == {"ada": b"ada's"}


def test_a_bulk_download_is_taken_apart(tmp_path):
    students = [f"Student, Number{n}_{n}00_assignsubmission_file_" for n in range(3)]
    bulk = {f"{name}/{NOTEBOOK}": b"%d" % n for n, name in enumerate(students)}
    bulk |= {"__MACOSX/._x": b"", f"{students[0]}/.DS_Store": b"", f"{students[0]}/onlinetext.html": b"see file"}
    rows = collect(inbox(tmp_path, **{"Lab 0-submissions.zip": pack(bulk)}), tmp_path / "submitted")
    assert [row.student for row in rows if row.checksum] == [f"Student Number{n}" for n in range(3)]
    assert [row.file.rpartition("/")[2] for row in rows if not row.checksum] == ["onlinetext.html"]


def test_an_unpacked_hand_in_keeps_its_parts_and_its_receipt(tmp_path):
    (row,) = collect(inbox(tmp_path, **{f"ada/{n}": d for n, d in UNPACKED.items()}), tmp_path / "submitted")
    assert set(tree(tmp_path / "submitted" / "ada" / STEM)) == {*UNPACKED, "timestamp.txt"} and not row.remark
    whole = inbox(tmp_path / "more")
    with zipfile.ZipFile(io.BytesIO(ADAS)) as archive:
        archive.extractall(whole / f"{STEM}-ada-0123abcd")
    (row,) = collect(whole, tmp_path / "other")
    assert (row.student, row.receipt) == ("ada", "ok")


NONE = {
    "lab99_nothing.ipynb": "no lab's of the syllabus",
    "ada/lab00_fundations.ipynb": f"did you mean {STEM}?",
    "ada/lab00.ipynb": f"did you mean {STEM}?",
    "ada/Untitled.ipynb": "no lab's of the syllabus",
    "ada/report.pdf": "no notebook, and no archive",
    "ada/a.rar": "such archives are not opened",
    "ada/a.tar.xz": "such archives are not opened",
    "a.tar.gz": "no readable archive",
    f"nobodys {NOTEBOOK}": "no lab's of the syllabus",
    NOTEBOOK: "nobody knows whose it is",
    "ada/receipt.json": "a receipt without the one notebook",
    f"\u0430da/{NOTEBOOK}": "is no student id",
    f"=1+1/{NOTEBOOK}": "is no student id",
    f"+ada/{NOTEBOOK}": "is no student id",
    f"@ada/{NOTEBOOK}": "is no student id",
    f"\uff41da/{NOTEBOOK}": "is no student id",
    f"ada /{NOTEBOOK}": "is no student id",
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_none_is_named_with_a_reason(tmp_path, name):
    (row,) = collect(inbox(tmp_path, **{name: b"{}"}), tmp_path / "submitted")
    assert not row.checksum and row.remark.startswith("not collected: ") and NONE[name] in row.remark
    assert row.file.isascii() and work_of(tmp_path / "submitted") == {}


def test_a_zip_of_another_lab_says_which_may_be_meant(tmp_path):
    (row,) = collect(inbox(tmp_path, **{"a.zip": pack({"lab00_fundation.ipynb": b"{}"})}), tmp_path / "submitted")
    assert f"did you mean {STEM}?" in row.remark and not row.checksum


@pytest.mark.parametrize(("hostile", "why"), [
    (tarred({}, a=tarfile.TarInfo("lab00_foundations.ipynb/../../x")), "holds 0"),
    (tarred({NOTEBOOK: b"0" * (MOST_TAR + 1)}), "unpacks to more than"),
    (pack({"a.zip": pack({"a.zip": pack({"a.zip": pack({"a.zip": ADAS})})})}), "one in the other"),
    (pack({f"{n}.zip": pack({NOTEBOOK: b"\0" * (19 << 20)}) for n in range(2)}), "nobody knows whose"),
], ids=["path", "bomb", "deep", "two"])  # fmt: skip
def test_hostile_archives_hurt_only_themselves(tmp_path, hostile, why):
    name = "a.tar.gz" if hostile[:2] == b"\x1f\x8b" else "a.zip"
    rows = collect(inbox(tmp_path, **{name: hostile, "grace.zip": hand_in(student="grace")}), tmp_path / "submitted")
    assert [row.student for row in rows if row.checksum] == ["grace"]
    assert all(why in row.remark for row in rows if not row.checksum)
    assert {path.name for path in tmp_path.iterdir()} == {"inbox", "submitted"}


def linked(kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(NOTEBOOK)
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_nothing_in_a_tar_is_followed(tmp_path, kind):
    (row,) = collect(inbox(tmp_path, **{"ada/a.tgz": tarred({}, a=linked(kind))}), tmp_path / "submitted")
    assert not row.checksum and work_of(tmp_path / "submitted") == {}


EVIL = hand_in(b"evil", minutes=10**5)  # its receipt says ada
TAKEN = {
    "beside": {"ada/a.zip": ADAS, "mallory/m.zip": EVIL},
    "beside others": {"ada/a.zip": ADAS, "grace/g.zip": hand_in(student="grace"), "mallory/x/m.zip": EVIL},
    "with an own one": {"ada/a.zip": ADAS, "mallory/m.zip": EVIL, "mallory/n.zip": hand_in(student="mallory")},
    "two levels": {"lab00/ada/a.zip": ADAS, "lab00/mallory/m.zip": EVIL},
    "a bare notebook": {f"ada/{NOTEBOOK}": b"ada's", "mallory/m.zip": EVIL},
    "unpacked": {"ada/a.zip": ADAS, "mallory/m.zip": pack({"m.zip": EVIL})},
    "Moodle": {"Lovelace, Ada_1_assignsubmission_file_/a.zip": ADAS, "Mal, Lory_2_assignsubmission_file_/m.zip": EVIL},
    "Canvas": {"lovelaceada_11_22_a.zip": ADAS, "mallory_33_44_m.zip": EVIL},
    "alike": {f"O'Neil/{NOTEBOOK}": b"ada's", f"ONeil/{NOTEBOOK}": b"evil"},
}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("case", TAKEN)
def test_a_receipt_in_anothers_folder_takes_nobodys_place(tmp_path, case, at_once):
    into, files = tmp_path / "submitted", TAKEN[case]
    if not at_once:
        first = {name: data for name, data in files.items() if data != EVIL and data != b"evil"}
        collect(write(tmp_path / "first", first), into)
    rows = collect(inbox(tmp_path, **files), into)
    assert b"evil" not in work_of(into).values()
    refused = [row for row in rows if not row.checksum]
    assert refused and all("--by-receipt" in row.remark for row in refused)
    if not at_once or case not in ("Moodle", "Canvas", "alike"):  # there nobody can tell which of the two it is
        assert b"ada's" in work_of(into).values()


DATE = "2026-09-28-23-59-00"
NAMED_FOR_ANOTHER = {
    "Canvas": (f"ada_1_2_{NOTEBOOK}", f"mallory_3_4_ada_attempt_{DATE}_{NOTEBOOK}"),
    "Canvas, by a comma": (f"ada_111_2_{NOTEBOOK}", f"mallory, ada_333_4_{NOTEBOOK}"),
    "Brightspace": (
        f"1-2 - ada - Sep 28, 2026 120 PM - {NOTEBOOK}",
        f"3-4 - mallory - Sep 28, 2026 130 PM - x_ada_attempt_{DATE}_{NOTEBOOK}",
    ),
    "Blackboard": (
        f"Lab 2_ada_attempt_{DATE}_{NOTEBOOK}",
        f"Lab 2_mallory_attempt_{DATE}_x_ada_attempt_{DATE}_{NOTEBOOK}",
    ),
    "Moodle": (
        f"ada_1_assignsubmission_file_{NOTEBOOK}",
        f"mallory_2_assignsubmission_file_ada_1_assignsubmission_file_{NOTEBOOK}",
    ),
}


@pytest.mark.parametrize("names", NAMED_FOR_ANOTHER.values(), ids=NAMED_FOR_ANOTHER)
@pytest.mark.parametrize("receipt", [False, True])
def test_a_file_named_as_another_platform_names_anothers_takes_nobodys_place(tmp_path, names, receipt):
    own, evil = names
    if receipt:
        own = own.replace(NOTEBOOK, "a.zip")
    collect(inbox(tmp_path, **{own: ADAS if receipt else b"ada's", evil: b"evil"}), tmp_path / "submitted")
    assert work_of(tmp_path / "submitted").get("ada") == b"ada's"


def test_names_in_a_bundle_beside_a_platforms_files_are_nobodys(tmp_path):
    bundle = pack({f"ada_1_3_{NOTEBOOK}": b"evil"})
    rows = collect(inbox(tmp_path, **{f"ada_1_2_{NOTEBOOK}": b"ada's", "work.zip": bundle}), tmp_path / "submitted")
    assert work_of(tmp_path / "submitted") == {"ada": b"ada's"} and [row.student for row in rows].count("") == 1


def test_whoever_was_first_under_a_name_gives_way_to_the_folder_of_that_name(tmp_path):
    into = tmp_path / "submitted"
    (row,) = collect(write(tmp_path / "first", {"Mal, Lory_2_assignsubmission_file_/m.zip": EVIL}), into)
    assert row.student == "ada" and "by Mal, Lory_2" in row.remark  # nobody else is called so yet
    collect(inbox(tmp_path, **{"ada/a.zip": ADAS}), into)
    assert work_of(into)["ada"] == b"ada's"


def test_staff_decide_who_is_who(tmp_path):
    folder = inbox(tmp_path, **{"ada/a.zip": ADAS, "ada2/a.zip": hand_in(b"new", minutes=5)})
    rows = collect(folder, tmp_path / "a", by_receipt=True)
    assert {row.student for row in rows} == {"ada"} and work_of(tmp_path / "a") == {"ada": b"new"}
    assert {row.student for row in collect(folder, tmp_path / "b", by_folder=True)} == {"ada", "ada2"}


HONEST = {
    "flat": {"a.zip": ADAS, "b.zip": hand_in(student="grace"), "c.zip": hand_in(b"again", minutes=9)},
    "by lab and week": {"lab00/a.zip": ADAS, "week 2/b.zip": hand_in(student="grace"), "week 3/c.zip": hand_in(b"2")},
    "a folder of many": {"Mo 14h/a.zip": ADAS, "Mo 14h/b.zip": hand_in(student="grace")},
    "capitals": {"Ada/a.zip": ADAS, "GRACE/g.zip": hand_in(student="grace")},
    "Canvas": {"lovelaceada_11_22_a.zip": ADAS, "hoppergrace_33_44_a.zip": hand_in(student="grace")},
    "real names": {"Lovelace, Ada/a.zip": ADAS, "Hopper Grace/b.zip": hand_in(student="grace")},
    "again by Canvas": {"lovelaceada_11_22_a.zip": ADAS, "lovelaceada_LATE_11_29_a-1.zip": hand_in(b"2", minutes=3)},
}


@pytest.mark.parametrize("case", HONEST)
def test_honest_inboxes_are_taken_whole_and_twice_changes_nothing(tmp_path, case):
    folder, into = inbox(tmp_path, **HONEST[case]), tmp_path / "submitted"
    rows = collect(folder, into)
    assert all(row.checksum for row in rows), [row.remark for row in rows]
    assert {row.student.lower() for row in rows} <= {"ada", "grace"}
    before = tree(into)
    collect(folder, into)
    assert tree(into) == before


@pytest.mark.parametrize(("said", "file", "words"), [
    (DUE - timedelta(days=9), DUE - timedelta(days=2), "7 days before the file's"),
    (DUE - timedelta(hours=1), DUE + timedelta(hours=3), "it was due in between"),
    (DUE - timedelta(days=9), DUE + timedelta(days=1), "it was due in between"),
    (DUE + timedelta(days=1), DUE, "later than the file's"),
    (DUE - timedelta(days=2), DUE - timedelta(days=2) + timedelta(hours=20), ""),
    (DUE + timedelta(hours=1), DUE + timedelta(hours=9), ""),
    (DUE - timedelta(minutes=3), DUE - timedelta(minutes=1), ""),
])  # fmt: skip
def test_a_time_that_does_not_fit_the_files_is_named_and_costs_nobody_anything(tmp_path, course, said, file, words):
    plan = replace(course.plan, labs={**course.plan.labs, STEM: replace(course.plan.labs[STEM], due=DUE)})
    start = datetime(2026, 9, 1, tzinfo=UTC)
    folder = inbox(tmp_path, **{"a.zip": hand_in(minutes=int((said - start).total_seconds() // 60))})
    os.utime(folder / "a.zip", (file.timestamp(), file.timestamp()))
    (row,) = collect(folder, tmp_path / "submitted", plan=plan)
    assert words in row.remark and bool(words) == ("time" in row.remark)
    assert datetime.fromisoformat(row.time) == said  # the receipt's counts: a file's may be a download's


@pytest.mark.parametrize(("stray", "code"), [
    ({"notes.txt": b"ask ada"}, 0),
    ({"grace/notes.txt": b"x", ".DS_Store": b"x", "desktop.ini": b"", "Thumbs.db": b"", "__MACOSX/._a.zip": b""}, 0),
    ({f"ada_{STEM}.ipynb.txt": b"{}"}, 1),
    ({"notes.txt": b"", "grace/Untitled.ipynb": b"{}"}, 1),
    ({"notes.txt": b"", "b.zip": b"cut"}, 1),
    ({"ada/report.pdf": b""}, 1),
])  # fmt: skip
def test_what_is_no_hand_in_by_its_kind_is_named_and_no_error(tmp_path, stray, code):
    app = typer.Typer()
    add_commands(app)
    folder = inbox(tmp_path, **{"a.zip": ADAS, **stray})
    done = CliRunner().invoke(app, ["collect", str(folder), "--into", str(tmp_path / "submitted")])
    assert done.exit_code == code and "1 collected" in done.output
    assert ("1 left aside" in done.output) == any(name.endswith("notes.txt") for name in stray)
    assert all(name in done.output for name in stray if name.endswith("notes.txt"))
    (folder / "a.zip").unlink()
    assert CliRunner().invoke(app, ["collect", str(folder), "--into", str(tmp_path / "other")]).exit_code == 1


NASTY = "a\x1b[2J\x1b]0;x\x07[bold red]\u202egnp.=cmd :smile:"


def test_names_of_files_cannot_speak_to_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    app = typer.Typer()
    add_commands(app)
    folder = inbox(tmp_path, **{f"{NASTY}.zip": ADAS, f"{NASTY}.txt": b"", f"{NASTY}/{NOTEBOOK}": b"{}"})
    done = CliRunner().invoke(app, ["collect", str(folder), "--into", str(tmp_path / "submitted")])
    assert done.exit_code == 1 and "1 collected, 1 not" in done.output
    plain = re.sub(r"\s", "", done.output)
    assert plain.isprintable() and "[boldred]" in plain and "\\x1b[2J" in plain and ":smile:" in plain
    log = (tmp_path / "submitted" / ".collected" / "receipts.jsonl").read_text()
    assert log.isascii() and "\x1b" not in log
