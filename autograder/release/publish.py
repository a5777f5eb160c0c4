"""Writing a release: proven or not at all, searched for what is sealed, numbered by content, whole or not at all."""

import contextlib
import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlsys_course.desk.files import write_whole
from mlsys_course.desk.release import pack

from ..build.leaks import leaks
from ..build.proven import why_unproven
from ..course import SAMPLE, Course, CourseError
from .contents import contents


@dataclass(frozen=True)
class Released:
    """Where a release is, its number, and whether it says anything that the last one did not."""

    path: Path
    number: int
    changed: bool


def release(course: Course, stem: str, into: Path, *, unpacked: bool = False) -> Released:
    """Write a lab's release into a folder: a zip, or with ``unpacked`` the lab's folder itself.

    The number goes up when the content differs from the last release there. CourseError where the lab is stale or
    unproven, where something sealed would get out, and where the folder cannot be written.
    """
    if why := why_unproven(course, stem):
        option = "" if course.term.name == SAMPLE else f" --term {course.term.name}"
        raise CourseError(f"{why}, and only what is proven is released; call `mlsys build {stem}{option}` first")
    earlier = _earlier(course, stem, into)
    number = max(earlier, default=1)
    files = contents(course, stem, number)
    changed = earlier.get(number) != files["edition.json"]
    if changed and earlier:
        number += 1
        files = contents(course, stem, number)
    if changed and (found := leaks(course, stem, files)):
        raise CourseError(f"{stem} is not released, since it would give away: {'; '.join(found[:3])}")
    with _writing(into):
        path = _write_folder(into, stem, files) if unpacked else _write_zip(into, course, stem, number, files)
    return Released(path, number, changed)


def zip_name(stem: str, term: str, number: int) -> str:
    """What a release is called."""
    return f"{stem}-{term}-r{number}.zip"


def _earlier(course: Course, stem: str, into: Path) -> dict[int, bytes]:
    """By number, ``edition.json`` of the releases of this lab and term that are there."""
    found: dict[int, bytes] = {}
    pattern = re.compile(re.escape(f"{stem}-{course.term.name}-r") + r"(\d+)\.zip")
    for path in into.glob(f"{stem}-*.zip"):
        if match := pattern.fullmatch(path.name):
            with contextlib.suppress(OSError, KeyError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
                found[int(match[1])] = archive.read(f"{stem}/edition.json")
            found.setdefault(int(match[1]), b"")  # damaged: its number is used up all the same
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        data = (into / stem / "edition.json").read_bytes()
        edition = json.loads(data)
        if edition["term"] == course.term.name:
            found.setdefault(int(edition["release"]), data)
    return found


@contextlib.contextmanager
def _writing(into: Path) -> Iterator[None]:
    try:
        into.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise CourseError(
            f"{into} cannot be written ({error.strerror}): nothing was released and nothing there has changed; free "
            "space, or name another folder with --into"
        ) from None


def _write_zip(into: Path, course: Course, stem: str, number: int, files: Mapping[str, bytes]) -> Path:
    path = into / zip_name(stem, course.term.name, number)
    write_whole(path, pack({f"{stem}/{name}": data for name, data in files.items()}))
    return path


def _write_folder(into: Path, stem: str, files: Mapping[str, bytes]) -> Path:
    """The folder as nbgitpuller and nbgrader's exchange want it; only an untouched release is replaced."""
    target = into / stem
    if target.exists() and (touched := _touched(target)):
        raise CourseError(f"{target} is not as a release wrote it ({touched}); move it away, and release again")
    with tempfile.TemporaryDirectory(dir=into, prefix=".releasing-") as scratch:
        fresh = Path(scratch) / stem
        for name, data in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(data)
        if target.exists():
            target.rename(Path(scratch) / "before")
        fresh.rename(target)
    return target


def _touched(folder: Path) -> str:
    """What in an unpacked release is not the release's; empty where all is."""
    try:
        listed = dict(json.loads((folder / "edition.json").read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "it holds no edition.json"
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name, path in there.items():
        if name == "edition.json" or any(part in (".ipynb_checkpoints", "__pycache__") for part in path.parts):
            continue
        if listed.get(name) != hashlib.sha256(path.read_bytes()).hexdigest():
            return f"{name} was added" if name not in listed else f"{name} was changed"
    return ""
