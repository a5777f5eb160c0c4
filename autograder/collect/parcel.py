"""A hand-in, read with suspicion: by allow-list and size, nothing extracted, a hostile one hurts only itself.

It is a zip of ``mlsys submit``, what such a zip becomes when somebody unpacks it, or a bare notebook.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlsys_course.desk.receipt import (
    NAME,
    NOTEBOOK_BYTES,
    PART,
    PART_BYTES,
    PART_FILES,
    Receipt,
    check_student,
    checksum,
    receipt_from,
)
from mlsys_course.substrate.errors import CourseProblem

from ..untrusted import spelt
from .archive import NO_LINK, Member, ParcelError, archive_members, modified, on_disk
from .names import NOTEBOOK, lab_of, no_lab, platform_name

MOST_BYTES = NOTEBOOK_BYTES + (32 << 20)  # of a zip with one hand-in
DROPPINGS = ("__MACOSX", ".ipynb_checkpoints", "__pycache__", ".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Parcel:
    """What one hand-in holds that may be graded; the receipt in it, None where there is none; what was left behind."""

    lab: str
    files: Mapping[str, bytes]
    receipt: Receipt | None
    left_out: tuple[str, ...] = ()
    renamed: str = ""  # what the notebook was called

    @property
    def checksum(self) -> str:
        return checksum(self.files)

    @property
    def state(self) -> str:
        """Whether the content is what its receipt says."""
        if self.receipt is None:
            return "no receipt"
        return "ok" if self.receipt.checksum == self.checksum and self.receipt.lab == self.lab else "changed"


def read_parcel(path: Path, labs: Collection[str] = ()) -> Parcel:
    """The parcel in an archive. Never writes, never follows a link, and reads no more than its bounds."""
    member = on_disk(path, path.name)
    member.read(0)  # refuses what is no plain file
    with archive_members(member, MOST_BYTES) as members:
        return parcel_of(members, labs, size=path.stat().st_size)


def parcel_of(members: Sequence[Member], labs: Collection[str], *, size: int = 0) -> Parcel:
    """The parcel in what an archive holds."""
    if size > MOST_BYTES:
        raise ParcelError(f"it is {size >> 20} MiB large, and {MOST_BYTES >> 20} are read at most")
    entries: dict[str, Member] = {}
    left_out: list[str] = []
    for member in members:
        name = _own_name(member.name)
        if name is None or not member.fit or name in entries:
            left_out.append(member.name)
        else:
            entries[name] = member
    notebooks = [name for name in entries if NOTEBOOK.fullmatch(name)]
    renamed = ""
    if not notebooks and len(others := _other_names(members, labs)) == 1:
        renamed = others[0].name
        left_out.remove(renamed)
        notebooks = [f"{lab_of(_file_name(renamed), labs)}.ipynb"]
        entries[notebooks[0]] = others[0]
    if len(notebooks) != 1:
        named = next((name for name in left_out if name.lower().endswith(".ipynb") and not is_dropping(name)), "")
        why = f"; of {spelt(_file_name(named))}, {no_lab(_file_name(named), labs)}" if named and not notebooks else ""
        raise ParcelError(f"it should hold one notebook such as lab02_attention.ipynb, and holds {len(notebooks)}{why}")
    return assembled(notebooks[0], entries, [spelt(name) for name in left_out], renamed, labs)


def assembled(
    notebook: str, entries: Mapping[str, Member], left_out: Sequence[str], renamed: str, labs: Collection[str]
) -> Parcel:
    """The parcel of a notebook and what stands beside it, read."""
    lab, left_out = notebook.removesuffix(".ipynb"), list(left_out)
    if labs and lab not in labs:
        raise ParcelError(f"of {spelt(notebook)}, {no_lab(notebook, labs)}")
    parts = sorted(name for name in entries if name.startswith("my_mlsys/"))
    left_out += parts[PART_FILES:]
    files = {notebook: _read(entries[notebook], NOTEBOOK_BYTES)}
    files |= {name: _read(entries[name], PART_BYTES) for name in parts[:PART_FILES]}
    receipt = None
    if NAME in entries:
        try:
            said = receipt_from(_read(entries[NAME], PART_BYTES))
            check_student(said.student)
            receipt = said
        except CourseProblem as error:
            left_out.append(str(error))
    return Parcel(lab, files, receipt, tuple(left_out), spelt(_file_name(renamed)))


def _own_name(name: str) -> str | None:
    """The path that a file may have among what is graded; None for any other. One folder around all is let pass."""
    for candidate in (name, name.partition("/")[2]):
        folder, _, part = candidate.rpartition("/")
        if candidate == NAME or NOTEBOOK.fullmatch(candidate) or (folder == "my_mlsys" and PART.fullmatch(part)):
            return candidate
    return None


def _other_names(members: Sequence[Member], labs: Collection[str]) -> list[Member]:
    """Notebooks of a lab under another name than the lab's."""
    fit = [member for member in members if member.fit and not is_dropping(member.name) and member.name.count("/") < 2]
    return [member for member in fit if lab_of(_file_name(member.name), labs)]


def _file_name(path: str) -> str:
    """The last part of a path, without what a platform put before it."""
    name = path.rpartition("/")[2]
    said = platform_name(name)
    return said[1] if said else name


def is_dropping(name: str) -> bool:
    """What systems and JupyterLab leave in folders, which nobody hands in."""
    parts = name.split("/")
    return any(part in DROPPINGS for part in parts) or parts[-1].startswith("._")


def _read(member: Member, most: int) -> bytes:
    if not member.fit:
        raise ParcelError(NO_LINK)
    data = member.read(most)
    if len(data) > most:
        raise ParcelError(f"{spelt(member.name)} is larger than {most >> 20} MiB")
    return data


__all__ = ["MOST_BYTES", "Parcel", "ParcelError", "assembled", "is_dropping", "modified", "parcel_of", "read_parcel"]
