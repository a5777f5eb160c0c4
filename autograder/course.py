"""The course on disk: its term, its labs' sources, and where their editions are."""

import hashlib
import importlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mlsys_course.desk.points import BONUS, LabPoints

from .errors import CourseError
from .term import LabPlan, Plan, read_plan, withheld
from .term.needs import check_needs
from .term.secret import SAMPLE, new_secret, secret_of

if TYPE_CHECKING:  # torch takes seconds, and most questions about the course need none
    from .draw import Draw
    from .exercise import Exercise, Item


@dataclass(frozen=True)
class Term:
    """A term: a name, and the secret that its variants, public cases and sealed cases are drawn from."""

    name: str
    secret: bytes

    def draw(self, *purpose: str, group: int | None = None) -> "Draw":
        from .draw import Draw

        return Draw(self.secret, *purpose, group=group)


@dataclass(frozen=True)
class Lab:
    """One lab's sources in ``solutions/``, for one term."""

    stem: str
    component: str
    folder: Path
    term: Term
    plan: LabPlan | None = None  # its line in course.toml

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
        from mlsys_course.desk.check.edition import load_drivers

        return load_drivers(self.folder)

    @property
    def points(self) -> LabPoints:
        """What each item is worth, and how the term counts it."""
        from .exercise import max_score

        kinds = {item.id: item.kind for item in self.items}
        bonus = BONUS if self.plan is None else self.plan.bonus
        return LabPoints(kinds, {item.id: max_score(item) for item in self.items}, bonus)

    @property
    def exercises(self) -> "list[Exercise]":
        from .exercise import Exercise

        return [item for item in self.items if isinstance(item, Exercise)]


@dataclass(frozen=True)
class Course:
    """A checkout of the course: ``course.toml``, ``solutions/``, ``labs/``."""

    root: Path
    term: Term
    plan: Plan

    @property
    def name(self) -> str:
        """What the course is called."""
        return self.plan.name

    @cached_property
    def syllabus(self) -> Mapping[str, str]:
        """Lab -> component, in order."""
        return {stem: lab.component for stem, lab in self.plan.labs.items()}

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
        return Lab(stem, self.syllabus[stem], self.root / "solutions" / stem, self.term, self.plan.labs[stem])

    def built(self, stem: str) -> Path:
        """Where this term's student edition of a lab is built."""
        base = self.root / "labs" if self.term.name == SAMPLE else self.root / "dist" / self.term.name
        return base / stem

    def withheld(self, stem: str) -> list[str]:
        """Components that this lab's edition leaves out; the rule stands in ``term/editions.py``."""
        return withheld(self.syllabus, stem, self.plan.labs[stem].withholds)


def load_package(folder: Path) -> ModuleType:
    """A lab's ``exercises.py``, as a module that may import its neighbours (``from .mistakes import ...``)."""
    name = f"mlsys_solutions_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    for stale in [known for known in list(sys.modules) if known.startswith(f"{name}.")]:
        del sys.modules[stale]
    importlib.invalidate_caches()
    try:
        return importlib.import_module(f"{name}.exercises")
    except ImportError as error:
        at = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename][-1]
        if Path(at.filename).parent != folder:
            raise
        where = f"{at.filename}:{at.lineno}"
        raise CourseError(f"{where}: {error}; define and export it there, or mend the import") from None


def find_root(start: Path | None = None) -> Path:
    """The folder with ``course.toml``: here, above, or the checkout that this package was installed from."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "course.toml").is_file() and (folder / "solutions").is_dir():
            return folder
    raise CourseError(f"no course.toml in {here} or above it; call this inside a checkout of the course")


def load_course(root: Path | None = None, term: str | None = None) -> Course:
    """The course at ``root`` in its own term, or in ``term``: an archived one by its own dates."""
    root = find_root(root)
    plan = read_plan(root / "course.toml")
    name = term or plan.term
    archived = root / "archive" / name / "course.toml"
    if name != plan.term and archived.is_file():
        plan = read_plan(archived)
    check_needs(plan, root / "solutions")
    return Course(root, Term(name, secret_of(name)), plan)


__all__ = ["SAMPLE", "Course", "CourseError", "Lab", "Term", "find_root", "load_course", "load_package", "new_secret"]
