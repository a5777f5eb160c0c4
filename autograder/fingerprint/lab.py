"""A lab's fingerprint: its sources, its line, its term, the components it imports, the engine and PyTorch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ..course import Course
from ..files import digest_of_files
from ..term.editions import package_folder
from .engine import ENGINE
from .meaning import meaning_of, meaning_of_notebook
from .modules import modules_of

LEFT_OUT = {"__pycache__", ".ipynb_checkpoints"}
MOST_NAMES = 4  # of changed things, in a sentence


@dataclass(frozen=True)
class Fingerprint:
    """A digest, or a version, of each thing by the name that a person knows."""

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """One name for all of it."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()

    def changed_since(self, before: "Fingerprint") -> str:
        """What is not as it was, in words: "drivers.py and PyTorch"; empty where all is."""
        names = dict.fromkeys([*self.parts, *before.parts])
        changed = [name for name in names if self.parts.get(name) != before.parts.get(name)]
        if len(changed) > MOST_NAMES:
            changed[MOST_NAMES - 1 :] = [f"{len(changed) - MOST_NAMES + 1} more"]
        return " and ".join(filter(None, [", ".join(changed[:-1]), *changed[-1:]]))


def fingerprint(course: Course, stem: str, package: Path | None = None) -> Fingerprint:
    """Everything that the points of a submission of this lab depend on, but for the submission.

    Of code only what it does: comments and docstrings do not count. ``package``: where ``mlsys_course`` lies.
    """
    lab = course.lab(stem)
    sources = files_of(lab.folder)
    texts = [path.read_text(encoding="utf-8") for path in sources.values() if path.suffix == ".py"]
    modules = modules_of(texts, package or package_folder())
    plan = course.plan.labs[stem]
    line = [plan.component, plan.points, plan.bonus, course.withheld(stem)]
    term = [course.term.name, hashlib.sha256(course.term.secret).hexdigest()]
    read = {name: _meaning(path, lab.source) for name, path in {**sources, **modules}.items()}
    read |= {"its line in course.toml": json.dumps(line).encode(), "the term": json.dumps(term).encode()}
    known = {name: digest_of_files([(name, data)]) for name, data in read.items()}
    return Fingerprint(known | {"the engine": str(ENGINE), "PyTorch": ".".join(version("torch").split(".")[:2])})


def files_of(folder: Path) -> dict[str, Path]:
    """A lab's files, by their paths in its folder."""
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {inside.as_posix(): path for inside, path in paths.items() if not LEFT_OUT & set(inside.parts)}


def _meaning(path: Path, notebook: Path) -> bytes:
    return meaning_of_notebook(path.read_text(encoding="utf-8")).encode() if path == notebook else meaning_of(path)
