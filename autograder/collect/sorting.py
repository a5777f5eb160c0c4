"""From a folder of zips to ``submitted/<student>/<lab>/``: the last hand-in counts, earlier ones are kept aside.

Who handed in: the name in the receipt, which the student chose; or, where a learning platform sorted the zips into
``inbox/<student>/``, the folder's name. When: the receipt's time, by the student's clock; or the file's own.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from nbgrader.utils import parse_utc

from mlsys_course.desk.receipt import NOTEBOOK_BYTES, STUDENT, checksum
from mlsys_course.desk.workspace import write_whole
from mlsys_course.substrate.errors import CourseProblem

from ..files import read_regular
from .parcel import Parcel, ParcelError, modified, read_parcel

ASIDE = ".collected"  # in submitted/: earlier hand-ins, and what was collected
LOG = "receipts.jsonl"
SLACK = 600.0  # seconds by which a student's clock may run ahead of ours


@dataclass(frozen=True)
class Collected:
    """One zip: whose, what its checksum is, whether that is its receipt's, and what a person should know."""

    file: str
    student: str = ""
    lab: str = ""
    checksum: str = ""
    receipt: str = ""  # "ok", "changed", "no receipt"; empty where the zip could not be read
    time: str = ""
    remark: str = ""


def collect(folder: Path, into: Path, *, by_folder: bool = False, file_times: bool = False) -> list[Collected]:
    """Unpack every zip below ``folder`` to where ``mlsys grade`` looks. Called again, it changes nothing.

    ``by_folder``: the first folder below ``folder`` is the student. ``file_times``: a file's own time counts.
    """
    if not folder.is_dir():
        raise CourseProblem(f"{folder} is no folder; name the one that holds the zips that students handed in")
    paths = sorted(p for p in folder.rglob("*.zip") if p.name[0] != ".")
    if not paths:
        raise CourseProblem(f"no zip in {folder}; students make them with `mlsys submit`")
    read = sorted(
        (_opened(path, folder, by_folder, file_times) for path in paths), key=lambda pair: (pair[0].time, pair[0].file)
    )
    placed = [_placed(found, parcel, into) if parcel else found for found, parcel in read]
    known = {line["checksum"] + line["student"] for line in _log(into)}
    fresh = [found for found in placed if found.checksum and found.checksum + found.student not in known]
    _append(into, fresh)
    return sorted(placed, key=lambda found: (found.student, found.lab, found.time))


def find_receipt(checksum: str, into: Path) -> list[Collected]:
    """What was collected with a checksum that starts so."""
    return [Collected(**line) for line in _log(into) if line["checksum"].startswith(checksum.strip().lower())]


def _opened(path: Path, folder: Path, by_folder: bool, file_times: bool) -> tuple[Collected, Parcel | None]:
    """A zip as far as it can be read; anything wrong with it is its own remark."""
    name = path.relative_to(folder).as_posix()
    try:
        parcel = read_parcel(path)
        student = _student(path, folder, parcel, by_folder)
        when = _time(path, parcel, file_times)
    except (ParcelError, OSError) as error:
        return Collected(name, remark=f"not collected: {error}"), None
    remarks = [f"left out: {', '.join(parcel.left_out[:3])}"] if parcel.left_out else []
    receipt = parcel.receipt
    if parcel.state == "changed":
        remarks.append("the content is not what the receipt in it says")
    if receipt and receipt.student != student:
        remarks.append(f"its receipt says {receipt.student}")
    if receipt and not file_times and modified(path) < when.timestamp() - SLACK:
        remarks.append(f"the receipt's time is later than the file's, {_said(modified(path))}")
    text = when.isoformat(timespec="seconds")
    return Collected(name, student, parcel.lab, parcel.checksum, parcel.state, text, "; ".join(remarks)), parcel


def _student(path: Path, folder: Path, parcel: Parcel, by_folder: bool) -> str:
    inner = path.relative_to(folder).parts[:-1]
    if parcel.receipt and not (by_folder and inner):
        return parcel.receipt.student
    if not inner:
        raise ParcelError("it has no receipt, so nobody knows whose it is; put it in a folder with the student's name")
    if not STUDENT.fullmatch(inner[0]):
        raise ParcelError(f"{inner[0]!r} cannot name a student: letters, digits and @ + - _ . only")
    return inner[0]


def _time(path: Path, parcel: Parcel, file_times: bool) -> datetime:
    try:
        if parcel.receipt and not file_times:
            return datetime.fromisoformat(parcel.receipt.time).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ParcelError("the time in its receipt is no time; collect it with --file-times") from None
    return datetime.fromtimestamp(modified(path), UTC)


def _said(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _placed(found: Collected, parcel: Parcel, into: Path) -> Collected:
    """Put one hand-in in place; what another one was there is kept aside, and an older one goes there itself."""
    target = into / found.student / found.lab
    earlier = _present(target)
    if earlier is None:
        _write(target, found, parcel)
        return found
    if earlier[0] == found.checksum:  # the same content: its first time stands
        return found
    if earlier[1] > found.time:
        _write(_aside(into, found, (found.checksum, found.time)), found, parcel)
        return _remark(found, "a later hand-in counts")
    aside = _aside(into, found, earlier)
    aside.parent.mkdir(parents=True, exist_ok=True)
    if aside.exists():  # the same content at the same time was set aside before
        shutil.rmtree(target)
    else:
        target.rename(aside)
    _write(target, found, parcel)
    return _remark(found, f"replaces an earlier one, kept in {os.path.relpath(aside, into)}")


def _remark(found: Collected, text: str) -> Collected:
    return Collected(**{**asdict(found), "remark": "; ".join(filter(None, (found.remark, text)))})


def _present(target: Path) -> tuple[str, str] | None:
    """(checksum, time) of what lies in a submission's folder, however it came there; None where there is none."""
    if not target.is_dir():
        return None
    paths = [target / f"{target.name}.ipynb", *sorted((target / "my_mlsys").glob("*.py"))]
    files = {path.relative_to(target).as_posix(): read_regular(path, NOTEBOOK_BYTES) or b"" for path in paths}
    stamp = read_regular(target / "timestamp.txt", 200)
    try:
        when = parse_utc((stamp or b"").decode().strip()).replace(tzinfo=UTC)
    except Exception:  # whatever dateutil makes of it
        when = datetime.fromtimestamp(target.stat().st_mtime, UTC)
    return checksum(files), when.isoformat(timespec="seconds")


def _aside(into: Path, found: Collected, content: tuple[str, str]) -> Path:
    """Where a hand-in that does not count is kept, by its checksum and time."""
    digest, time = content
    return into / ASIDE / found.student / found.lab / f"{''.join(c for c in time if c.isalnum())}-{digest[:8]}"


def _write(target: Path, found: Collected, parcel: Parcel) -> None:
    """The folder whole or not at all, with the time as nbgrader reads it."""
    if target.exists():
        return
    scratch = _scratch(target)
    try:
        for name, data in parcel.files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(data)
        when = datetime.fromisoformat(found.time)
        (scratch / "timestamp.txt").write_text(f"{when:%Y-%m-%d %H:%M:%S.%f} UTC\n", encoding="utf-8", newline="\n")
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch(target: Path) -> Path:
    """A folder beside the target that grading does not look into."""
    scratch = target.with_name(f".{target.name}.writing")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return scratch


def _log(into: Path) -> Iterator[dict]:
    try:
        lines = (into / ASIDE / LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    yield from map(json.loads, lines)


def _append(into: Path, fresh: list[Collected]) -> None:
    if fresh:
        lines = [*_log(into), *map(asdict, fresh)]
        write_whole(into / ASIDE / LOG, "".join(json.dumps(line) + "\n" for line in lines).encode())
