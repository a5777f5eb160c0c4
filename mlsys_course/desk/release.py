"""A release of a lab: a zip or folder with ``edition.json``, which lists every other file and its checksum.

What comes from outside is read whole, judged, and written only then: no entry decides where it lands.
"""

import hashlib
import io
import json
import re
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .workspace import DeskError

NAME = re.compile(r"(lab\d\d_\w+)-(.+)-r(\d+)( ?\(\d+\))?\.zip")  # browsers add the "(1)"
MOST_BYTES, MOST_FILES = 512 << 20, 2000
FORMAT = 1
NEEDED: dict[str, type] = {"lab": str, "component": str, "term": str, "release": int, "due": str, "files": dict}


class ReleaseError(DeskError):
    """What should be a release is none, or is damaged."""


@dataclass(frozen=True)
class Release:
    """One release in memory: what ``edition.json`` says, and every file by its path in the lab's folder."""

    edition: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def stem(self) -> str:
        return self.edition["lab"]

    @property
    def term(self) -> str:
        return self.edition["term"]

    @property
    def number(self) -> int:
        return self.edition["release"]

    @property
    def name(self) -> str:
        return f"{self.stem}, {self.term}, release {self.number}"

    @property
    def wheel(self) -> str:
        """The wheel's name in the lab's folder; empty where there is none."""
        return next((name for name in sorted(self.files) if name.endswith(".whl")), "")

    def to_zip(self) -> bytes:
        return pack({f"{self.stem}/{name}": data for name, data in self.files.items()})


def read_release(path: Path) -> Release:
    """The release in a zip or in an unpacked folder, every file checked against its checksum."""
    if path.is_dir():
        return _judged(_folder_files(path), path)
    try:
        return _judged(_zip_files(path), path)
    except FileNotFoundError:
        raise ReleaseError(f"{path} is not there; give the zip of the lab with --from") from None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ReleaseError(f"{path} is no complete zip ({error}); download it again") from None


def _folder_files(folder: Path) -> dict[str, bytes]:
    """What a folder's own ``edition.json`` lists; links are not followed out of it."""
    try:
        data = (folder / "edition.json").read_bytes()
        listed = [str(name) for name in json.loads(data)["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise ReleaseError(f"{folder} holds no edition.json of a lab; give the zip or the unpacked folder") from None
    files = {"edition.json": data}
    for name in listed:
        _check_name(name, folder)
        path = folder / name
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            files[name] = path.read_bytes()
    return files


def _zip_files(path: Path) -> dict[str, bytes]:
    """The files of a zip's one folder, by their path in it."""
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_BYTES:
            raise ReleaseError(f"{path} is too large for a lab; download it again")
        for entry in entries:
            _check_name(entry.filename, path)
        tops = {entry.filename.split("/")[0] for entry in entries}
        if len(tops) != 1:
            raise ReleaseError(f"{path} should hold one folder, and holds {', '.join(sorted(tops)) or 'nothing'}")
        for entry in entries:
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise ReleaseError(f"{path} holds a link, {entry.filename}; it is no release of this course")
            files[entry.filename.split("/", 1)[-1]] = archive.read(entry)
    return files


def _check_name(name: str, path: Path) -> None:
    parts = PurePosixPath(name).parts
    bad = not parts or name.startswith("/") or ".." in parts or re.search(r'[\\:*?"<>|\x00-\x1f]', name)
    if bad or any(part.endswith((".", " ")) for part in parts):
        raise ReleaseError(f"{path} holds {name!r}, a name that leads outside its folder; it is no release of a lab")


def _judged(files: dict[str, bytes], path: Path) -> Release:
    try:
        edition = json.loads(files["edition.json"])
    except (KeyError, ValueError):
        raise ReleaseError(f"{path} holds no edition.json; it is no release of this course") from None
    if not isinstance(edition, dict) or edition.get("format") != FORMAT:
        raise ReleaseError(f"{path} is of another format; update the course: pip install the wheel that lies in it")
    wrong = [name for name, kind in NEEDED.items() if not isinstance(edition.get(name), kind)]
    if wrong or not re.fullmatch(r"lab\d\d_\w+", edition["lab"]) or not re.fullmatch(r"[\w.-]+", edition["term"]):
        raise ReleaseError(f"{path}: edition.json lacks {', '.join(wrong) or 'a proper name'}; download it again")
    if len({name.casefold() for name in files}) != len(files):
        raise ReleaseError(f"{path} holds names that differ only in case, which not every system can keep apart")
    listed = edition["files"]
    for name in sorted({*listed, *files} - {"edition.json"}):
        if name not in files:
            raise ReleaseError(f"{path} is incomplete: {name} is missing; download it again")
        if hashlib.sha256(files[name]).hexdigest() != listed.get(name):
            raise ReleaseError(f"{path} is damaged: {name} is not what edition.json lists; download it again")
    if f"{edition['lab']}.ipynb" not in files:
        raise ReleaseError(f"{path} holds no {edition['lab']}.ipynb; download it again")
    return Release(edition, files)


def pack(files: Mapping[str, bytes]) -> bytes:
    """A zip, the same bytes for the same files."""
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, files[name])
    return blob.getvalue()


def due_of(edition: Mapping[str, Any]) -> datetime | None:
    """When a lab is due, on the clock of the course; None where the edition does not say."""
    try:
        due = datetime.fromisoformat(str(edition["due"]))
        due = due if due.tzinfo else due.astimezone()
    except (KeyError, ValueError, OverflowError):
        return None
    try:
        return due.astimezone(ZoneInfo(edition["timezone"])) if edition.get("timezone") else due
    except (ZoneInfoNotFoundError, ValueError, TypeError):  # Windows has no list of zones: the offset will do
        return due


def said_due(due: datetime | None) -> str:
    """A due date as a student reads it."""
    return f"{due:%a %d %b %Y, %H:%M} ({due.tzname()})" if due else "no date yet"
