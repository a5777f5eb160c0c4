"""That a lab was proven, and of what: a release asks, so that nothing reaches students that was not.

A proof holds for exactly what it was made of. What is remembered lies in ``dist/``, outside git.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from ..course import Course
from ..files import digest_of_files, write_whole
from ..term.editions import package_folder

STAFF = Path(__file__).resolve().parents[1]
ENGINE = ("build/*", "sandbox/*", "scoring/*", "cases.py", "draw.py", "exercise.py", "parts.py")
LEFT_OUT = {"__pycache__", ".ipynb_checkpoints"}


def remember_proof(course: Course, stem: str) -> None:
    """Keep what a lab was proven of."""
    path = _record(course, stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(_made_of(course, stem), indent=1))


def why_unproven(course: Course, stem: str) -> str:
    """Why what lies in the lab's place is not what was proven; empty where it is."""
    try:
        proven = json.loads(_record(course, stem).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{stem} was never proven here"
    changed = [name for name, digest in _made_of(course, stem).items() if proven.get(name) != digest]
    return f"{' and '.join(changed)} changed since {stem} was proven" if changed else ""


def _record(course: Course, stem: str) -> Path:
    return course.root / "dist" / course.term.name / ".proven" / f"{stem}.json"


def _made_of(course: Course, stem: str) -> dict[str, str]:
    """A digest of each thing that a build and its proof depend on, by the name that a person knows."""
    facts = [course.term.name, hashlib.sha256(course.term.secret).hexdigest(), *course.withheld(stem)]
    sources = course.root / "solutions" / stem
    folders = {
        course.built(stem).relative_to(course.root).as_posix(): course.built(stem),
        sources.relative_to(course.root).as_posix(): sources,
        "mlsys_course": package_folder(),
    }
    known = {name: digest_of_files(_files(folder)) for name, folder in folders.items()}
    engine = [
        (path.name, path.read_bytes()) for pattern in ENGINE for path in sorted(STAFF.glob(pattern)) if path.is_file()
    ]
    known["autograder"] = digest_of_files(engine)
    return known | {"the term": digest_of_files([(fact, b"") for fact in facts])}


def _files(folder: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not LEFT_OUT & set(inside.parts):
            yield inside.as_posix(), path.read_bytes()
