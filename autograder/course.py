"""The course on disk and the term's secret."""

import hashlib
import importlib
import os
import secrets
import sys
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mlsys_course.errors import CourseProblem

if TYPE_CHECKING:  # torch takes seconds, and most questions about the course need none
    from .draw import Draw
    from .exercise import Exercise, Item

SAMPLE = "sample"
SAMPLE_SECRET = b"the sample term is fixed, and its draws are public"
MIN_SECRET = 16


class CourseError(CourseProblem):
    """Something about the course that a person must mend; the message says what and how."""


@dataclass(frozen=True)
class Term:
    """A term: a name, and the secret that its variants, public cases and sealed cases are drawn from."""

    name: str
    secret: bytes

    def draw(self, *purpose: str) -> "Draw":
        from .draw import Draw

        return Draw(self.secret, *purpose)


@dataclass(frozen=True)
class Lab:
    """One lab's sources in ``solutions/``, for one term."""

    stem: str
    component: str
    folder: Path
    term: Term

    @property
    def source(self) -> Path:
        return self.folder / f"{self.stem}.py"

    @cached_property
    def module(self) -> ModuleType:
        for name in (f"{self.stem}.py", "drivers.py", "exercises.py"):
            if not (self.folder / name).is_file():
                raise CourseError(
                    f"{self.folder / name} is missing; a lab has {self.stem}.py, drivers.py, exercises.py"
                )
        return load_package(self.folder)

    @cached_property
    def variants(self) -> dict:
        return self.module.variants(self.term.draw(self.stem, "variants"))

    @cached_property
    def items(self) -> "list[Item]":
        return list(self.module.exercises(self.variants))

    @cached_property
    def drivers(self) -> dict:
        from mlsys_course.check.edition import load_drivers

        return load_drivers(self.folder)

    @property
    def exercises(self) -> "list[Exercise]":
        from .exercise import Exercise

        return [item for item in self.items if isinstance(item, Exercise)]


@dataclass(frozen=True)
class Course:
    """A checkout of the course: ``course.toml``, ``solutions/``, ``labs/``."""

    root: Path
    name: str
    term: Term
    syllabus: dict[str, str]  # lab -> component, in order

    def stems(self) -> list[str]:
        """Labs that have sources, in the syllabus's order."""
        return [stem for stem in self.syllabus if (self.root / "solutions" / stem).is_dir()]

    def stem(self, name: str) -> str:
        """The full stem of ``lab02``, ``02`` or ``lab02_attention``."""
        found = [s for s in self.stems() if s == name or s.split("_")[0] in (name, f"lab{name}")]
        if not found:
            raise CourseError(
                f"no lab {name!r} in {self.root / 'solutions'}; there are {', '.join(self.stems()) or 'none'}"
            )
        return found[0]

    def lab(self, name: str) -> Lab:
        stem = self.stem(name)
        return Lab(stem, self.syllabus[stem], self.root / "solutions" / stem, self.term)

    def built(self, stem: str) -> Path:
        """Where this term's student edition of a lab is built."""
        base = self.root / "labs" if self.term.name == SAMPLE else self.root / "dist" / self.term.name
        return base / stem

    def withheld(self, stem: str) -> list[str]:
        """Components that this lab's edition leaves out: its own and every later one."""
        names = list(self.syllabus)
        return [self.syllabus[name] for name in names[names.index(stem) :]]


def load_package(folder: Path) -> ModuleType:
    """A lab's ``exercises.py``, as a module that may import its neighbours (``from .mistakes import ...``)."""
    name = f"mlsys_solutions_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    for stale in [known for known in sys.modules if known.startswith(f"{name}.")]:
        del sys.modules[stale]
    importlib.invalidate_caches()
    return importlib.import_module(f"{name}.exercises")


def find_root(start: Path | None = None) -> Path:
    """The folder with ``course.toml``: here, above, or the checkout that this package was installed from."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "course.toml").is_file() and (folder / "solutions").is_dir():
            return folder
    raise CourseError(f"no course.toml in {here} or above it; call this inside a checkout of the course")


def load_course(root: Path | None = None, term: str | None = None) -> Course:
    """The course at ``root`` in its own term, or in ``term``."""
    root = find_root(root)
    path = root / "course.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path}: {error}; correct that line") from None
    labs = table.get("labs")
    if not isinstance(labs, dict) or not all(isinstance(v, dict) and "component" in v for v in labs.values()):
        raise CourseError(f'{path}: [labs] must hold lines such as lab02_attention = {{ component = "attention" }}')
    name = term or table.get("term", SAMPLE)
    syllabus = {stem: lab["component"] for stem, lab in labs.items()}
    return Course(root, table.get("name", "the course"), Term(name, secret_of(name)), syllabus)


def secrets_folder() -> Path:
    """Where secrets of terms are kept: outside every repository."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mlsys" / "terms"


def secret_of(term: str) -> bytes:
    """The secret of a term."""
    if term == SAMPLE:
        return SAMPLE_SECRET
    path = secrets_folder() / f"{term}.secret"
    try:
        secret = path.read_bytes().strip()
    except OSError:
        raise CourseError(
            f"no secret of term {term!r} at {path}; make one with `mlsys term new {term}`, or restore your copy of it"
        ) from None
    if len(secret) < MIN_SECRET:
        raise CourseError(
            f"{path} holds {len(secret)} bytes, and a secret has at least {MIN_SECRET}; restore your copy"
        )
    return secret


def new_secret(term: str) -> Path:
    """Make the secret of a new term; an existing one is never overwritten."""
    if not term.replace("-", "").replace("_", "").isalnum() or term == SAMPLE:
        raise CourseError(f"{term!r} cannot name a term; use letters, digits and hyphens, such as 2027-spring")
    folder = secrets_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{term}.secret"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    except FileExistsError:
        raise CourseError(f"term {term!r} has a secret already, at {path}; grades depend on it, so it stays") from None
    return path
