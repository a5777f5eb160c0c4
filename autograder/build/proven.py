"""That a lab was proven, and of what: a release asks, so that nothing reaches students that was not.

A proof holds for exactly what it was made of: the lab's fingerprint, and the edition byte for byte. What is remembered
lies in ``dist/``, outside git.
"""

import json
from pathlib import Path

from mlsys_course.desk.files import write_whole

from ..course import Course
from ..files import digest_of_files
from ..fingerprint import Fingerprint, files_of, fingerprint


def remember_proof(course: Course, stem: str) -> None:
    """Keep what a lab was proven of."""
    path = _record(course, stem)
    write_whole(path, json.dumps(_made_of(course, stem).parts, indent=1))


def why_unproven(course: Course, stem: str) -> str:
    """Why what lies in the lab's place is not what was proven; empty where it is."""
    try:
        proven = json.loads(_record(course, stem).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{stem} was never proven here"
    if "the engine" not in proven:
        return f"{stem} was proven here before it was noted of what"
    changed = _made_of(course, stem).changed_since(Fingerprint(proven))
    return f"{changed} changed since {stem} was proven" if changed else ""


def _record(course: Course, stem: str) -> Path:
    return course.root / "dist" / course.term.name / ".proven" / f"{stem}.json"


def _made_of(course: Course, stem: str) -> Fingerprint:
    """The fingerprint, and the edition as it lies there."""
    built = course.built(stem)
    edition = digest_of_files((name, path.read_bytes()) for name, path in files_of(built).items())
    return Fingerprint({built.relative_to(course.root).as_posix(): edition, **fingerprint(course, stem).parts})
