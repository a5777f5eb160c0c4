"""Mutants that are no mistakes: named beside the exercises, in ``equivalent.toml``, each with an argument.

[[attention]]
was = "scores = q @ k.mT"
now = "scores = (q @ k.mT).contiguous()"
because = "the same numbers in another layout, which the text leaves open"
"""

from dataclasses import dataclass
from pathlib import Path

import tomlkit

from ..errors import CourseError
from .mutants import Mutant

FILE = "equivalent.toml"
MOST = 0.1  # of an exercise's mutants; more is reported


@dataclass(frozen=True)
class Equivalent:
    """A change that leaves a right answer right, and why."""

    was: str
    now: str
    because: str


def equivalents(lab: Path) -> dict[str, list[Equivalent]]:
    """By exercise; none where the file is not there."""
    path = lab / FILE
    if not path.exists():
        return {}
    found = {}
    for exercise, rows in tomlkit.parse(path.read_text(encoding="utf-8")).unwrap().items():
        if bad := [row for row in rows if set(row) != {"was", "now", "because"} or not row["because"].strip()]:
            raise CourseError(f"{path}, {exercise}: {bad[0]} needs was, now and because, and nothing else")
        found[exercise] = [Equivalent(row["was"].strip(), row["now"].strip(), row["because"]) for row in rows]
    return found


def is_equivalent(mutant: Mutant, known: list[Equivalent]) -> bool:
    """Whether the change is one of those."""
    return any((mutant.was, mutant.now) == (one.was, one.now) for one in known)
