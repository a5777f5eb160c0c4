"""Submissions on disk: what is looked for, copied by allow-list and size, never through a link."""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlsys_course.errors import CourseProblem

from .repair import MOST_BYTES

STUDENT = re.compile(r"[\w@+\-. ]{1,100}")
PART_FILES, PART_BYTES = 64, 1 << 20  # of my_mlsys/


class IntakeError(CourseProblem):
    """No submissions where they should be; the message says what was looked for and where."""


@dataclass(frozen=True)
class Submission:
    """One student's folder, with the notebook's bytes; ``problem`` where there is none."""

    student: str
    folder: Path
    blob: bytes = b""
    problem: str = ""


def read_regular(path: Path, most: int) -> bytes | None:
    """Bytes of a regular file with one name, at most ``most`` and one more; None for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
            return None
        return file.read(most + 1)


def submissions(folder: Path, stem: str) -> list[Submission]:
    """Every ``folder/<student>/<lab>/<lab>.ipynb``, in order of the students' names."""
    if not folder.is_dir():
        raise IntakeError(f"{folder} is no folder; --submitted takes the one that holds <student>/{stem}/{stem}.ipynb")
    found = []
    for student in sorted(folder.iterdir(), key=lambda path: path.name):
        lab = student / stem
        if student.name.startswith(".") or student.is_symlink() or not student.is_dir():
            continue
        if lab.is_symlink() or not lab.is_dir():
            continue
        found.append(_submission(student.name, lab, stem))
    if not found:
        raise IntakeError(f"no submission of {stem} in {folder}; looked for <student>/{stem}/{stem}.ipynb")
    return found


def _submission(student: str, lab: Path, stem: str) -> Submission:
    if not STUDENT.fullmatch(student):
        return Submission(
            student, lab, problem="The folder's name is no student id: letters, digits and @ . + - _ only."
        )
    path = lab / f"{stem}.ipynb"
    blob = read_regular(path, MOST_BYTES)
    if blob is None:
        others = sorted(p.name for p in lab.glob("*.ipynb"))
        said = f"; there is {', '.join(others[:3])}" if others else ""
        return Submission(student, lab, problem=f"No file {path.name} was handed in{said}.")
    return Submission(student, lab, blob)


def read_files(lab: Path) -> dict[str, bytes]:
    """The student's own parts, ``my_mlsys/*.py``: regular files of modest size."""
    folder = lab / "my_mlsys"
    if folder.is_symlink() or not folder.is_dir():
        return {}
    files = {}
    for path in sorted(folder.glob("*.py"))[:PART_FILES]:
        blob = read_regular(path, PART_BYTES)
        if blob is not None and len(blob) <= PART_BYTES:
            files[f"my_mlsys/{path.name}"] = blob
    return files


def stage(submission: Submission, destination: Path, stem: str) -> Path:
    """Copy what may be handed in to ``destination/<student>/<lab>``, replacing what was there."""
    folder = destination / submission.student / stem
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / f"{stem}.ipynb").write_bytes(submission.blob)
    for name, blob in read_files(submission.folder).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(blob)
    for name, blob in _timestamp(submission.folder):
        (folder / name).write_bytes(blob)
    return folder


def _timestamp(lab: Path) -> Iterator[tuple[str, bytes]]:
    blob = read_regular(lab / "timestamp.txt", 200)
    if blob is not None and re.fullmatch(rb"[\w :+.\-]{8,60}\s*", blob):
        yield "timestamp.txt", blob
