"""Folders and archives that anybody may have made, as lists of members: nothing is extracted, nothing is followed."""

import io
import os
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mlsys_course.substrate.errors import CourseProblem

from ..files import read_regular

MOST_ENTRIES, LIST_BYTES = 5000, 2 << 20  # of a zip's list of contents
MOST_TAR = 64 << 20  # of a tar, unpacked
MOST_UNPACKED = 1 << 30  # of all that lies in one file of the inbox
END = struct.Struct("<4s4H2LH")  # the end of a zip's list: signature, disks, entries, size and place of the list
TARS = (".tar", ".tar.gz", ".tgz")
NO_LINK = "it is a link, a file with several names, or no file at all"


class ParcelError(CourseProblem):
    """A file that is no hand-in; the message says why."""


@dataclass
class Allowance:
    """Bytes that may still be unpacked of one file of the inbox, however deep archives lie in it."""

    left: int = MOST_UNPACKED

    def spend(self, size: int) -> None:
        """ParcelError where there are no more."""
        self.left -= size
        if self.left < 0:
            raise ParcelError(f"it unpacks to more than {MOST_UNPACKED >> 20} MiB; unpack it by hand")


@dataclass(frozen=True)
class Member:
    """A file in a folder or an archive. ``read`` gives at most so many bytes and one more; ``fit``: a plain file."""

    name: str
    read: Callable[[int], bytes]
    fit: bool = True
    modified: float | None = None
    path: Path | None = None  # where it lies in a folder
    allowance: Allowance = field(default_factory=Allowance, compare=False)


def folder_members(folder: Path) -> list[Member]:
    """Every file below a folder; through no link."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return [on_disk(path, path.relative_to(folder).as_posix()) for path in paths]


def on_disk(path: Path, name: str) -> Member:
    """A file as a member; whether it is a plain one shows when it is read."""

    def read(most: int) -> bytes:
        data = read_regular(path, most)
        if data is None:
            raise ParcelError(NO_LINK)
        return data

    return Member(name, read, modified=modified(path), path=path)


def modified(path: Path) -> float:
    """When a file was written, for staff who trust the system that received it more than the student's clock."""
    return os.stat(path, follow_symlinks=False).st_mtime


def is_archive(name: str) -> bool:
    """Whether a file is to be looked into, by its name."""
    return name.lower().endswith((".zip", *TARS))


@contextmanager
def archive_members(member: Member, most: int) -> Iterator[list[Member]]:
    """What an archive holds, if that is not too much; one that lies in another is read to memory, up to ``most``."""
    try:
        with _opened(member, most) as file:
            kind = _tar if member.name.lower().endswith(TARS) else _zip
            with kind(file, member) as found:
                yield found
    except CourseProblem:
        raise
    except Exception as error:  # whatever is made of a student's bytes
        raise ParcelError(f"it is no readable archive ({type(error).__name__}); ask for it again") from None


@contextmanager
def _opened(member: Member, most: int) -> Iterator[BinaryIO]:
    if member.path is not None:
        member.read(0)  # refuses what is no plain file
        with member.path.open("rb") as file:
            yield file
        return
    data = member.read(most)
    if len(data) > most:
        raise ParcelError(f"it is larger than {most >> 20} MiB; unpack what it lies in by hand")
    yield io.BytesIO(data)


@contextmanager
def _zip(file: BinaryIO, member: Member) -> Iterator[list[Member]]:
    _check_list(file)
    with zipfile.ZipFile(file) as archive:
        yield [_zipped(archive, entry, member) for entry in archive.infolist() if not entry.is_dir()]


def _check_list(file: BinaryIO) -> None:
    """Look at the end of the file before zipfile reads a list of contents that may have millions of lines."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - END.size - 20))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END.size:
        raise ParcelError("it is no complete zip; ask for it again")
    entries, listed = END.unpack_from(tail, at)[4:6]
    if b"PK\6\7" in tail[max(0, at - 20) : at] or entries > MOST_ENTRIES or listed > LIST_BYTES:
        raise ParcelError(f"it lists {entries} files, and at most {MOST_ENTRIES} are looked at")


def _zipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, outer: Member) -> Member:
    def read(most: int) -> bytes:
        with archive.open(entry) as file:
            data = file.read(most + 1)
        outer.allowance.spend(len(data))
        return data

    written = time.mktime((*entry.date_time, 0, 0, -1)) if entry.date_time[0] > 1980 else outer.modified
    return Member(entry.filename, read, not _unfit(entry), written, allowance=outer.allowance)


def _unfit(entry: zipfile.ZipInfo) -> bool:
    """Links, devices, encryption, and compressions that may unpack a few bytes to gigabytes at once."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    known = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return kind not in (0, stat.S_IFREG) or bool(entry.flag_bits & 1) or not known


@contextmanager
def _tar(file: BinaryIO, member: Member) -> Iterator[list[Member]]:
    data = file.read(MOST_TAR + 1)
    if data[:2] == b"\x1f\x8b":
        data = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, MOST_TAR + 1)
    member.allowance.spend(len(data))
    if len(data) > MOST_TAR:
        raise ParcelError(f"it unpacks to more than {MOST_TAR >> 20} MiB; unpack it by hand")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        yield [_tarred(archive, entry, member) for entry in _entries(archive) if not entry.isdir()]


def _entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for number, entry in enumerate(archive):
        if number == MOST_ENTRIES:
            raise ParcelError(f"it holds more than {MOST_ENTRIES} files")
        yield entry


def _tarred(archive: tarfile.TarFile, entry: tarfile.TarInfo, outer: Member) -> Member:
    def read(most: int) -> bytes:
        file = archive.extractfile(entry)
        return b"" if file is None else file.read(most + 1)

    plain = entry.isreg() and not entry.issparse()
    return Member(entry.name, read, plain, float(entry.mtime), allowance=outer.allowance)
