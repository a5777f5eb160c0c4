"""The student edition: ``mlsys_course`` without the references that a lab and later ones ask for, and the lab."""

import itertools
import shutil
from pathlib import Path

from ..course import Course
from ..term.editions import package_folder

SKIP = shutil.ignore_patterns("__pycache__", "*.pyc")


def stage_edition(course: Course, stem: str, lab_folder: Path, destination: Path) -> Path:
    """Write ``destination/python/mlsys_course`` and ``destination/lab``; return ``destination``."""
    package = destination / "python" / "mlsys_course"
    shutil.copytree(package_folder(), package, ignore=SKIP)
    for component in course.withheld(stem):
        shutil.rmtree(package / component, ignore_errors=True)
    shutil.copytree(lab_folder, destination / "lab", ignore=SKIP)
    return destination


def answers_left(course: Course, stem: str, regions: list[str], edition: Path) -> list[str]:
    """Where answer text still stands in an edition: two lines in a row of a solution or of a withheld reference."""
    withheld = [
        path.read_text(encoding="utf-8")
        for component in course.withheld(stem)
        for path in (package_folder() / component).rglob("*.py")
    ]
    files = [p for p in edition.rglob("*") if p.suffix in (".py", ".ipynb", ".md", ".json") and p.is_file()]
    text = {p: _lines(_source_of(p)) for p in files}
    found = []
    for region in regions:
        pairs = _pairs(_lines(region))
        found += [
            f"{p.relative_to(edition)}: {' / '.join(pair)}" for p, t in text.items() for pair in pairs & _pairs(t)
        ]
    for body in withheld:
        pairs = _pairs([line for line in _lines(body) if not line.startswith(("import", "from", '"""', "def "))])
        lab = {p: t for p, t in text.items() if "lab" in p.relative_to(edition).parts[:1]}
        found += [f"{p.relative_to(edition)}: {' / '.join(pair)}" for p, t in lab.items() for pair in pairs & _pairs(t)]
    return sorted(set(found))


def _source_of(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def _lines(text: str) -> list[str]:
    """Lines that carry an answer: no comments, nothing too short to be one's own."""
    stripped = [line.strip() for line in text.split("\n")]
    return [line for line in stripped if len(line) > 8 and not line.startswith("#")]


def _pairs(lines: list[str]) -> set[tuple[str, ...]]:
    """Neighbouring lines; a text of one line stands for itself."""
    if len(lines) == 1:
        return {(lines[0],)}
    return set(itertools.pairwise(lines))
