"""A handed-in zip, read with suspicion: by allow-list and size, nothing extracted, a hostile one hurts only itself."""

import os
import re
import stat
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlsys_course.desk.receipt import (
    NAME,
    NOTEBOOK_BYTES,
    PART,
    PART_BYTES,
    PART_FILES,
    Receipt,
    checksum,
    receipt_from,
)
from mlsys_course.substrate.errors import CourseProblem

from ..files import read_regular

MOST_BYTES = NOTEBOOK_BYTES + (32 << 20)  # of a zip
MOST_ENTRIES, LIST_BYTES = 500, 256 << 10  # of its list of contents
END = struct.Struct("<4s4H2LH")  # the end of a zip's list: signature, disks, entries, size and place of the list
NOTEBOOK = re.compile(r"lab\d\d_\w{1,60}\.ipynb", re.ASCII)


class ParcelError(CourseProblem):
    """A file that is no hand-in; the message says why."""


@dataclass(frozen=True)
class Parcel:
    """What one zip holds that may be graded; the receipt in it, None where there is none; what was left behind."""

    lab: str
    files: Mapping[str, bytes]
    receipt: Receipt | None
    left_out: tuple[str, ...]

    @property
    def checksum(self) -> str:
        return checksum(self.files)

    @property
    def state(self) -> str:
        """Whether the content is what its receipt says."""
        if self.receipt is None:
            return "no receipt"
        return "ok" if self.receipt.checksum == self.checksum and self.receipt.lab == self.lab else "changed"


def read_parcel(path: Path) -> Parcel:
    """The parcel in a zip. Never writes, never follows a link, and reads no more than its bounds."""
    _check_list(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _parcel(archive)
    except ParcelError:
        raise
    except Exception as error:  # whatever zipfile makes of a student's bytes
        raise ParcelError(f"it is no readable zip ({type(error).__name__}); ask for it again") from None


def _check_list(path: Path) -> None:
    """Look at the end of the file before zipfile reads a list of contents that may have millions of lines."""
    tail = read_regular(path, 0)
    if tail is None:
        raise ParcelError("it is a link, a file with several names, or no file at all")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ParcelError(f"it is {size >> 20} MiB large, and {MOST_BYTES >> 20} are read at most")
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - END.size - 20))
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END.size:
        raise ParcelError("it is no complete zip; ask for it again")
    entries, listed = END.unpack_from(tail, at)[4:6]
    if b"PK\6\7" in tail[max(0, at - 20) : at] or entries > MOST_ENTRIES or listed > LIST_BYTES:
        raise ParcelError(f"it lists {entries} files, and a hand-in has a few")


def _parcel(archive: zipfile.ZipFile) -> Parcel:
    entries: dict[str, zipfile.ZipInfo] = {}
    left_out: list[str] = []
    for entry in archive.infolist():
        name = _own_name(entry.filename)
        if entry.is_dir():
            continue
        if name is None or _unfit(entry) or name in entries:
            left_out.append(_shown(entry.filename))
        else:
            entries[name] = entry
    notebooks = [name for name in entries if NOTEBOOK.fullmatch(name)]
    if len(notebooks) != 1:
        raise ParcelError(f"it should hold one notebook such as lab02_attention.ipynb, and holds {len(notebooks)}")
    parts = sorted(name for name in entries if name.startswith("my_mlsys/"))
    left_out += parts[PART_FILES:]
    files = {notebooks[0]: _read(archive, entries[notebooks[0]], NOTEBOOK_BYTES)}
    files |= {name: _read(archive, entries[name], PART_BYTES) for name in parts[:PART_FILES]}
    receipt = None
    if NAME in entries:
        try:
            receipt = receipt_from(_read(archive, entries[NAME], PART_BYTES))
        except CourseProblem as error:
            left_out.append(str(error))
    return Parcel(notebooks[0].removesuffix(".ipynb"), files, receipt, tuple(left_out))


def _own_name(name: str) -> str | None:
    """The path that a file may have among what is graded; None for any other. One folder around all is let pass."""
    for candidate in (name, name.partition("/")[2]):
        folder, _, part = candidate.rpartition("/")
        if candidate == NAME or NOTEBOOK.fullmatch(candidate) or (folder == "my_mlsys" and PART.fullmatch(part)):
            return candidate
    return None


def _unfit(entry: zipfile.ZipInfo) -> bool:
    """Links, devices, encryption, and compressions that may unpack a few bytes to gigabytes at once."""
    mode = entry.external_attr >> 16
    kind = stat.S_IFMT(mode)
    plain = kind in (0, stat.S_IFREG)
    return (
        not plain or bool(entry.flag_bits & 1) or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    )


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(entry) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ParcelError(f"{_shown(entry.filename)} is larger than {most >> 20} MiB")
    return data


def _shown(name: str) -> str:
    """A name of a student's choice, as it may stand in a terminal."""
    return ascii(name)[1:-1][:80]


def modified(path: Path) -> float:
    """When a file was written, for staff who trust the system that received it more than the student's clock."""
    return os.stat(path, follow_symlinks=False).st_mtime
