"""Submissions on disk: what is looked for, copied by allow-list and size, never through a link."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dateutil.parser
from nbgrader.utils import parse_utc

from mlsys_course.desk.receipt import PART, PART_BYTES, PART_FILES, check_student
from mlsys_course.desk.screen import printable
from mlsys_course.substrate.errors import CourseProblem

from ..files import digest_of_files, read_regular
from ..nbgrader_config import SECRET
from .repair import MOST_BYTES

HOURS = {"UTC": 0, "GMT": 0, "EDT": -4, "EST": -5, "CDT": -5, "CST": -6, "MDT": -6, "MST": -7, "PDT": -7, "PST": -8,
         "AKDT": -8, "AKST": -9, "HST": -10, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3}  # fmt: skip
ZONES = {name: 3600 * hours for name, hours in HOURS.items()}  # abbreviations that mean one thing in a class

EXAMPLE = "2026-09-29 04:30:00 UTC"


class IntakeError(CourseProblem):
    """No submissions where they should be; the message says what was looked for and where."""


@dataclass(frozen=True)
class Submission:
    """One student's folder for a lab; what it holds is read when its turn comes."""

    student: str
    folder: Path
    stem: str

    def read(self) -> "HandedIn":
        """What may be handed in, at this moment. OSError where this machine cannot read it."""
        try:
            check_student(self.student)
        except CourseProblem as error:
            return HandedIn(self.student, problem=str(error))
        return self._read()

    def _read(self) -> "HandedIn":
        name = f"{self.stem}.ipynb"
        blob, refused = read_regular(self.folder / name, MOST_BYTES), []
        files, left_out = read_parts(self.folder)
        refused += left_out
        timestamp = read_regular(self.folder / "timestamp.txt", 200) or b""
        problem = ""
        if blob is None:
            others = sorted(entry.name for entry in self.folder.iterdir() if entry.suffix == ".ipynb")
            there = f"; there is {', '.join(others[:3])}" if others and name not in others else ""
            problem = f"No file {name} was handed in{there}."
            if name in others:
                problem = (
                    f"{name} is a link, a file with several names, or no file at all; hand in the notebook itself."
                )
        if timestamp and not in_utc(timestamp):
            said = printable(timestamp.decode("utf-8", "replace")[:60])
            refused.append(f"timestamp.txt: {said!r} is no time that is understood; write it as {EXAMPLE}")
        timestamp = in_utc(timestamp)
        secret = read_regular(self.folder / SECRET, 200) or b""
        return HandedIn(self.student, blob or b"", files, timestamp, problem, tuple(refused), secret)


@dataclass(frozen=True)
class HandedIn:
    """The bytes of one submission: notebook, own parts, time; why there is none; what was left behind."""

    student: str
    blob: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    timestamp: bytes = b""
    problem: str = ""
    refused: tuple[str, ...] = ()
    secret: bytes = b""

    @property
    def digest(self) -> str:
        """Names the content: equal for equal submissions, whoever hands them in."""
        named = {"": self.blob, **self.files, "timestamp.txt": self.timestamp, "problem": self.problem.encode()}
        return digest_of_files(sorted(named.items()))

    def copy_to(self, folder: Path, stem: str) -> None:
        """Write it below ``folder``, as nbgrader expects a submission."""
        beside = {"timestamp.txt": self.timestamp, SECRET: self.secret}
        written = {f"{stem}.ipynb": self.blob, **self.files, **{name: data for name, data in beside.items() if data}}
        for name, data in written.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def _writable(name: str) -> str:
    """A file name that no table or text file can hold, since its bytes are no text, spelt out."""
    return name.encode("utf-8", "backslashreplace").decode()


def in_utc(text: bytes) -> bytes:
    """A time in whatever spelling, as nbgrader reads it: without a zone it is UTC; empty where it is not understood."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # dateutil takes a zone that it does not know for none
            when = dateutil.parser.parse(text.decode("utf-8-sig").strip(), tzinfos=ZONES)
        return f"{parse_utc(when):%Y-%m-%d %H:%M:%S.%f} UTC".encode()
    except Exception:  # whatever dateutil makes of it
        return b""


def submissions(folder: Path, stem: str) -> list[Submission]:
    """Every ``folder/<student>/<lab>/``, in order of the students' names."""
    if not folder.is_dir():
        raise IntakeError(f"{folder} is no folder; --submitted takes the one that holds <student>/{stem}/{stem}.ipynb")
    found = []
    for student in sorted(folder.iterdir(), key=lambda path: path.name):
        lab = student / stem
        if student.name.startswith(".") or student.is_symlink() or not student.is_dir():
            continue
        if lab.is_symlink() or not lab.is_dir():
            continue
        found.append(Submission(_writable(student.name), lab, stem))
    if not found:
        raise IntakeError(f"no submission of {stem} in {folder}; looked for <student>/{stem}/{stem}.ipynb")
    return found


def read_parts(lab: Path) -> tuple[dict[str, bytes], list[str]]:
    """The student's own parts, ``my_mlsys/*.py``: regular files of modest size; and what was left behind."""
    folder, files, refused = lab / "my_mlsys", {}, []
    if folder.is_symlink():
        return {}, ["my_mlsys: a link"]
    if not folder.is_dir():
        return {}, []
    for path in sorted(folder.glob("*.py")):
        blob = read_regular(path, PART_BYTES) if PART.fullmatch(path.name) else None
        if blob is not None and len(blob) <= PART_BYTES and len(files) < PART_FILES:
            files[f"my_mlsys/{path.name}"] = blob
        else:
            refused.append(
                f"my_mlsys/{_writable(path.name)}: no regular file of at most {PART_BYTES >> 20} MiB, or too many"
            )
    return files, refused
