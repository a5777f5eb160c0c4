"""Sealed specifications from one grading run to the next: references and misconceptions run once for a fingerprint.

They lie in ``dist/TERM/.sealed``, for the one who grades alone. Whatever is wrong with a file there, it is made anew.
"""

import contextlib
from pathlib import Path

import torch

from mlsys_course.desk.check import Specification, decode, encode
from mlsys_course.desk.check.edition import specification_from_tree, specification_to_tree
from mlsys_course.desk.check.tree import TreeError
from mlsys_course.desk.files import write_whole

from ..cases import sealed_specification
from ..course import Course
from ..exercise import Choice, Exercise
from ..files import read_regular
from ..fingerprint import Fingerprint
from .score import Scorer

MOST_BYTES = 64 << 20  # of an exercise


def scorer_of(course: Course, stem: str, group: int, made_of: Fingerprint) -> Scorer:
    """The scorer of a group of students, from what is kept of the same fingerprint and PyTorch."""
    lab, folder, name = course.lab(stem), _folder(course, stem, group), _name(made_of)

    def specification(item: Exercise | Choice) -> Specification:
        if (kept := _read(folder / f"{item.id}.safetensors", name)) is not None:
            return kept
        made = sealed_specification(lab, item, group)
        _write(folder, name, made)
        return made

    return Scorer.for_lab(lab, group, specification)


def keep(course: Course, stem: str, group: int, made_of: Fingerprint, scorer: Scorer) -> None:
    """What a proof has worked out need not be again when the lab is graded."""
    for specification in scorer.specifications.values():
        _write(_folder(course, stem, group), _name(made_of), specification)


def _folder(course: Course, stem: str, group: int) -> Path:
    return course.root / "dist" / course.term.name / ".sealed" / f"{stem}-{group}"


def _name(made_of: Fingerprint) -> str:
    return f"{made_of.digest} {torch.__version__}"


def _read(path: Path, name: str) -> Specification | None:
    with contextlib.suppress(OSError, TreeError, KeyError, TypeError, ValueError):
        kept = decode(read_regular(path, MOST_BYTES) or b"")
        if kept["name"] == name:
            return specification_from_tree(kept["specification"])
    return None


def _write(folder: Path, name: str, made: Specification) -> None:
    with contextlib.suppress(OSError, TreeError):  # it can be had again
        blob = encode({"name": name, "specification": specification_to_tree(made)})
        if len(blob) <= MOST_BYTES:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(folder / f"{made.id}.safetensors", blob)
