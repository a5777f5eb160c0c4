"""A hand-in and its receipt: the same listing and checksum for the student who packs and the staff who unpack."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .points import total
from .workspace import DeskError, to_json

FORMAT = 1
NAME = "receipt.json"
STUDENT = re.compile(r"[A-Za-z0-9][\w.@-]*( [\w.@-]+)*(?<!\.)", re.ASCII)
STUDENT_LENGTH = 64
PART = re.compile(r"\w[\w.\-]{0,80}\.py", re.ASCII)  # of my_mlsys/
PART_FILES, PART_BYTES, NOTEBOOK_BYTES = 64, 1 << 20, 20 << 20  # more than this is not graded


@dataclass(frozen=True)
class Receipt:
    """What was handed in. Only the checksum is proof; all else is what the student's machine said."""

    lab: str
    student: str
    checksum: str
    time: str  # ISO 8601, UTC
    term: str = ""
    release: int = 0
    points: Mapping[str, list[float]] = field(default_factory=dict)  # exercise -> points, of how many; public cases
    format: int = FORMAT

    @property
    def short(self) -> str:
        return self.checksum[:8]

    def lines(self) -> list[str]:
        """The receipt as a student reads and keeps it."""
        points = {name: (score, worth) for name, (score, worth) in self.points.items()}
        release = f", {self.term} release {self.release}" if self.term else ""
        return [
            f"Receipt of {self.student} for {self.lab}{release}",
            f"  time      {self.time}",
            f"  points    {total(points)}, on public cases" if self.points else "  points    not run",
            f"  checksum  {self.checksum}",
        ]

    def to_bytes(self) -> bytes:
        return to_json(asdict(self))


def checksum(files: Mapping[str, bytes]) -> str:
    """SHA-256 of the files' listing, written as ``sha256sum`` writes it, in the order of the paths."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def receipt_from(data: bytes) -> Receipt:
    """A receipt from bytes that anybody may have written."""
    try:
        tree: dict[str, Any] = json.loads(data)
        known = {name: tree[name] for name in Receipt.__dataclass_fields__ if name in tree}
        receipt = Receipt(**known)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DeskError(f"{NAME} is no receipt of `mlsys submit`") from None
    texts = (receipt.lab, receipt.student, receipt.checksum, receipt.time, receipt.term)
    if not all(isinstance(text, str) for text in texts):
        raise DeskError(f"{NAME} is no receipt of `mlsys submit`: a name in it is no name")
    return receipt


def check_student(name: str) -> str:
    """The id that a student is known by, at the desk, in a receipt and as a folder; DeskError where it is none."""
    if len(name) > STUDENT_LENGTH or not STUDENT.fullmatch(name):
        raise DeskError(
            f"The name {ascii(name)[:30]} is no student id: letters a to z and digits, between them . _ - @ and "
            f"single spaces, {STUDENT_LENGTH} at most; choose another with `mlsys submit LAB --student NAME`."
        )
    return name
