"""From a folder of hand-ins to ``submitted/<student>/<lab>/``: the last one counts, earlier ones are kept aside.

Every file there is accounted for. Whose a hand-in is: ``whose.py``. When: the receipt's time, by the student's clock;
or the file's own.
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nbgrader.utils import parse_utc

from mlsys_course.desk.receipt import NOTEBOOK_BYTES, checksum
from mlsys_course.desk.workspace import disk_trouble, save
from mlsys_course.substrate.errors import CourseProblem

from ..course import find_root
from ..errors import CourseError
from ..files import read_regular
from ..lock import only_one
from ..term import LabPlan, Plan, read_plan
from ..untrusted import spelt
from .archive import ParcelError
from .intake import Found, found_in
from .parcel import Parcel
from .whose import Owners, is_own

ASIDE = ".collected"  # in submitted/: earlier hand-ins, and what was collected
LOG = "receipts.jsonl"
SLACK = 600.0  # seconds by which a student's clock may run ahead of ours
LONG = timedelta(days=1)  # between packing and handing in; who is late by less is named where a due date lies between
WAIT_SECONDS = 120.0  # for another `mlsys collect`


@dataclass(frozen=True)
class Collected:
    """One file: whose, what its checksum is, whether that is its receipt's, and what a person should know."""

    file: str
    student: str = ""
    lab: str = ""
    checksum: str = ""
    receipt: str = ""  # "ok", "changed", "no receipt"; empty where it is no hand-in
    time: str = ""
    remark: str = ""
    person: str = ""  # by whose folder it came, or by whose name on a platform
    stray: bool = False  # no hand-in by its kind, so that nothing is missing without it


def collect(
    folder: Path,
    into: Path,
    *,
    by_folder: bool = False,
    by_receipt: bool = False,
    file_times: bool = False,
    plan: Plan | None = None,
) -> list[Collected]:
    """Bring every hand-in below ``folder`` to where ``mlsys grade`` looks. Called again, it changes nothing.

    ``by_folder``: where folder and receipt differ the folder says whose it is; ``by_receipt``: the receipt.
    ``file_times``: a file's own time counts. ``plan``: of the labs there are; default: the course's from here.
    """
    plan = plan or _plan_here()
    labs = plan.labs if plan else {}
    if not folder.is_dir():
        raise CourseProblem(f"{folder} is no folder; name the one that holds what students handed in")
    inbox = list(found_in(folder, labs))
    if not inbox:
        raise CourseProblem(f"nothing in {folder}; students make zips with `mlsys submit`")
    with disk_trouble(into):
        (into / ASIDE).mkdir(parents=True, exist_ok=True)
        with only_one(into / ASIDE / "lock", f"collecting to {into}", wait_seconds=WAIT_SECONDS):
            owners = Owners.of(inbox, _kept(into))
            how = {"by_folder": by_folder, "by_receipt": by_receipt}
            read = [_opened(found, owners, labs, how, file_times=file_times) for found in inbox]
            read.sort(key=lambda pair: (pair[0].time, pair[0].file))
            placed = [_placed(found, parcel, into) if parcel else found for found, parcel in read]
            known = {line["checksum"] + line["student"] for line in _log(into)}
            fresh = [found for found in placed if found.checksum and found.checksum + found.student not in known]
            _append(into, fresh)
    return sorted(placed, key=lambda found: (found.student, found.lab, found.time))


def _plan_here() -> Plan | None:
    try:
        root = find_root()
    except CourseError:
        return None
    return read_plan(root / "course.toml")


def find_receipt(checksum: str, into: Path) -> list[Collected]:
    """What was collected with a checksum that starts so."""
    return [Collected(**line) for line in _log(into) if line["checksum"].startswith(checksum.strip().lower())]


def _kept(into: Path) -> Mapping[str, Collection[str]]:
    """Whose hand-ins are there already, and by whose folder or name they came."""
    kept: dict[str, set[str]] = defaultdict(set)
    for line in _log(into):
        kept[line["student"]].add(line.get("person", ""))
    return kept


def _opened(
    found: Found, owners: Owners, labs: Mapping[str, LabPlan], how: Mapping[str, bool], *, file_times: bool
) -> tuple[Collected, Parcel | None]:
    """A file as far as it is a hand-in; anything wrong with it is its own remark."""
    name, parcel = spelt_path(found.file), found.parcel
    try:
        if parcel is None:
            raise ParcelError(found.why)
        student = owners.student(found, **how)
        when = _time(found, parcel, file_times)
    except (CourseProblem, OSError) as error:
        return Collected(name, remark=f"not collected: {error}", stray=found.is_stray), None
    remarks = [f"left out: {', '.join(parcel.left_out[:3])}"] if parcel.left_out else []
    remarks += [f"{parcel.renamed} is taken for {parcel.lab}.ipynb"] if parcel.renamed else []
    if parcel.state == "changed":
        remarks.append("the content is not what the receipt in it says")
    if parcel.receipt and parcel.receipt.student != student:
        remarks.append(f"its receipt says {parcel.receipt.student}")
    elif found.claim.person and not is_own(student, found.claim.person):
        remarks.append(f"by {spelt(found.claim.person)}")
    remarks += [f"{other} differs in capitals only" for other in owners.alike(student)]
    if parcel.receipt and not file_times:
        due = labs[parcel.lab].due if parcel.lab in labs else None
        remarks += _of_times(when, datetime.fromtimestamp(found.modified, UTC), due)
    text = when.isoformat(timespec="seconds")
    told = Collected(name, student, parcel.lab, parcel.checksum, parcel.state, text, "; ".join(remarks))
    return replace(told, person=found.claim.person), parcel


def spelt_path(name: str) -> str:
    """A path of students' choice: ends of long names are cut, and signs that a terminal obeys are spelt out."""
    return "/".join(part if part.isprintable() and part.isascii() else spelt(part) for part in name.split("/"))[-200:]


def _of_times(said: datetime, file: datetime, due: datetime | None) -> Iterator[str]:
    """Where a receipt's time and the file's differ so that somebody should look.

    The receipt's counts: a file's time may be that of a download or of a copy, and nobody is late by that.
    """
    if file < said - timedelta(seconds=SLACK):
        yield f"the receipt's time is later than the file's, {file:%Y-%m-%d %H:%M} UTC"
    between = due is not None and said <= due < file
    if file > said + LONG or between:
        gap = file - said
        apart = f"{gap.days} days" if gap.days > 1 else f"{gap.total_seconds() / 3600:.0f} hours"
        late = ", and it was due in between" if between else ""
        yield (
            f"the receipt's time is {apart} before the file's, {file:%Y-%m-%d %H:%M} UTC{late}: the receipt's counts; "
            "where the platform says otherwise, collect it with --file-times"
        )


def _time(found: Found, parcel: Parcel, file_times: bool) -> datetime:
    try:
        if parcel.receipt and not file_times:
            return datetime.fromisoformat(parcel.receipt.time).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ParcelError("the time in its receipt is no time; collect it with --file-times") from None
    return datetime.fromtimestamp(found.modified, UTC)


def _placed(found: Collected, parcel: Parcel, into: Path) -> Collected:
    """Put one hand-in in place; what another one was there is kept aside, and an older one goes there itself."""
    target = into / found.student / found.lab
    earlier = _present(target)
    if earlier is None:
        _write(target, found, parcel)
        return found
    if earlier[0] == found.checksum:  # the same content: its first time stands
        return found
    if earlier[1] >= found.time and not _by_somebody_else(earlier[0], found, into):
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


def _by_somebody_else(checksum: str, found: Collected, into: Path) -> bool:
    """Whether what lies there came by another person, and this one by the student: then it cannot be the later."""
    persons = {line.get("person", "") for line in _log(into) if line["checksum"] == checksum}
    own = is_own(found.student, found.person)
    return own and bool(persons) and not any(not person or is_own(found.student, person) for person in persons)


def _remark(found: Collected, text: str) -> Collected:
    return replace(found, remark="; ".join(filter(None, (found.remark, text))))


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
        save(into / ASIDE / LOG, "".join(json.dumps(line) + "\n" for line in lines).encode())
