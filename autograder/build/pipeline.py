"""``mlsys build``: the stages in order, and the comparison of a fresh build with the committed one."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nbformat import NotebookNode

from mlsys_course.desk import points
from mlsys_course.desk.check import Case, Outcome, Specification
from mlsys_course.desk.check.compare import TOLERANCE, compare
from mlsys_course.desk.check.edition import specification_from_bytes, specification_to_bytes
from mlsys_course.desk.check.tree import TreeError
from mlsys_course.desk.check.verdict import alike, same_words

from ..cases import public_specification, quiet_torch
from ..course import Course, CourseError, Lab
from ..exercise import Choice, Exercise, adds
from .edition import stage_edition
from .notebook import notebooks_of, render, to_bytes
from .proof import Line, prove, proven
from .proven import remember_proof
from .source import check_source, read_source

MISTAKES = 10  # tolerances between two machines: a mistake may compute in float32, and large numbers may cancel in it


@dataclass(frozen=True)
class Built:
    """A lab's student edition on disk, with what the proof needs."""

    lab: Lab
    folder: Path
    solution: NotebookNode
    student: NotebookNode


@dataclass(frozen=True)
class Made:
    """What came of building and proving a lab."""

    lab: Lab
    place: Path
    lines: Sequence[Line]
    differences: Sequence[str]  # between what is there and a fresh build

    @property
    def good(self) -> bool:
        """Whether all is proven, and nothing stale."""
        return proven(self.lines) and not self.differences


def build(lab: Lab, destination: Path) -> Built:
    """Build a lab's student edition at ``destination``, replacing what is there only when every stage went well."""
    quiet_torch()
    cells = read_source(lab.source)
    check_source(lab.source, cells, lab.items, lab.drivers)  # before rendering: line numbers are the source's
    check_points(lab)
    render(lab.source, cells, lab.variants)
    solution, student = notebooks_of(lab, cells)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".building-") as scratch:
        folder = Path(scratch) / lab.stem
        (folder / "cases").mkdir(parents=True)
        (folder / f"{lab.stem}.ipynb").write_bytes(to_bytes(student))
        shutil.copyfile(lab.folder / "drivers.py", folder / "drivers.py")
        (folder / points.NAME).write_bytes(lab.points.to_bytes())
        for item in lab.items:
            if isinstance(item, Exercise | Choice):
                name = f"cases/{item.id}.safetensors"
                blob = specification_to_bytes(public_specification(lab, item))
                (folder / name).write_bytes(_settled(destination / name, blob))
        if destination.exists():
            shutil.rmtree(destination)
        folder.rename(destination)
    return Built(lab, destination, solution, student)


def _settled(place: Path, fresh: bytes) -> bytes:
    """What stands there where a fresh build differs only in the last bits, as it may on another processor."""
    there = place.read_bytes() if place.is_file() else b""
    return there if _same_specification(fresh, there) else fresh


def check_points(lab: Lab) -> None:
    """CourseError where ``course.toml`` says other points than the lab's exercises add up to."""
    stated = lab.plan.points if lab.plan else None
    total = sum(map(adds, lab.items))
    if lab.plan and stated is not None and stated != total:
        each = ", ".join(f"{item.id} {adds(item):g}" for item in lab.items if adds(item))
        said = f"{lab.plan.where}: {lab.stem} has points = {stated:g}, and its exercises add up to {total:g} ({each})"
        raise CourseError(f"{said}; write points = {total:g}, or correct exercises.py")


def build_and_prove(course: Course, stem: str, *, check: bool = False, unsafe: bool = False) -> Made:
    """Build a lab where the term has its editions, prove it, and remember that it is proven.

    With ``check`` nothing is written there: a fresh build is proven, and compared with what is there.
    """
    lab, place = course.lab(stem), course.built(stem)
    with tempfile.TemporaryDirectory(prefix="mlsys-build-") as scratch:
        built = build(lab, Path(scratch) / stem if check else place)
        lines = prove_built(course, built, unsafe=unsafe)
        made = Made(lab, place, lines, stale(built.folder, place) if check else [])
    if made.good:
        remember_proof(course, stem)
    return made


def prove_built(course: Course, built: Built, *, unsafe: bool = False) -> Sequence[Line]:
    """The proof of a built lab, in a staged student edition."""
    with tempfile.TemporaryDirectory(prefix="mlsys-proof-") as scratch:
        edition = stage_edition(course, built.lab.stem, built.folder, Path(scratch) / "edition")
        return prove(course, built.lab, built.solution, built.student, edition, unsafe)


def stale(fresh: Path, committed: Path) -> list[str]:
    """What differs between a fresh build and a committed one: notebooks by bytes, arrays by tolerance."""
    new = {p.relative_to(fresh) for p in fresh.rglob("*") if p.is_file()}
    old = {p.relative_to(committed) for p in committed.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    old = {p for p in old if ".ipynb_checkpoints" not in p.parts}
    found = [f"{path} is missing" for path in sorted(new - old)] + [
        f"{path} is left over" for path in sorted(old - new)
    ]
    for path in sorted(new & old):
        if path.suffix == ".safetensors":
            same = _same_specification((fresh / path).read_bytes(), (committed / path).read_bytes())
        else:
            same = (fresh / path).read_bytes() == (committed / path).read_bytes()
        if not same:
            found.append(f"{path} differs")
    return found


def _same_specification(fresh: bytes, there: bytes) -> bool:
    """Whether two files of cases ask and expect the same, each case within the tolerance that it is judged by."""
    try:
        new, old = specification_from_bytes(fresh), specification_from_bytes(there)
    except (TreeError, KeyError, TypeError):
        return False
    alike = replace(new, cases=()) == replace(old, cases=()) and len(new.cases) == len(old.cases)
    return alike and all(_same_case(*pair, new) for pair in zip(new.cases, old.cases, strict=True))


def _same_case(new: Case, old: Case, specification: Specification) -> bool:
    asked = [
        {**vars(case), "misconceptions": {}, "inputs": dict(case.inputs), "limits": dict(case.limits)}
        for case in (old, new)
    ]
    tolerance = specification.tolerance_for(new.inputs)
    same_names = new.misconceptions.keys() == old.misconceptions.keys()
    if not (same_names and all(leaf.ok for leaf in compare(asked[0], asked[1], tolerance))):
        return False
    coarse = MISTAKES * max(tolerance, TOLERANCE["float32"])
    return all(_same_outcome(outcome, old.misconceptions[name], coarse) for name, outcome in new.misconceptions.items())


def _same_outcome(new: Outcome, old: Outcome, tolerance: float) -> bool:
    """As who recognises a misconception compares: words but for numbers, costs that are measured by likeness."""
    told = new.problem == old.problem and same_words(new.detail, old.detail) and alike(new.costs, old.costs)
    return told and all(leaf.ok for leaf in compare(new.outputs, old.outputs, tolerance))


__all__ = ["Built", "Made", "build", "build_and_prove", "prove_built", "proven", "stale"]
