"""The files of a release: the lab as built, the wheel, and ``edition.json``, which lists the others by checksum."""

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat

from mlsys_course import __version__

from ..build.edition import stage_edition
from ..course import Course
from ..exercise import adds, max_score
from .readme import environment, pinned, readme
from .wheel import wheel_of

FORMAT = 1  # of edition.json
LEFT_OUT = {"__pycache__", ".ipynb_checkpoints"}


def contents(course: Course, stem: str, number: int) -> dict[str, bytes]:
    """Every file by its path in the lab's folder. The same course and number give the same bytes."""
    with tempfile.TemporaryDirectory(prefix="mlsys-release-") as scratch:
        staged = stage_edition(course, stem, course.built(stem), Path(scratch))
        wheel, data = wheel_of(staged / "python" / "mlsys_course", f"{__version__}+{stem.split('_')[0]}.r{number}")
        files = {
            path.relative_to(staged / "lab").as_posix(): path.read_bytes()
            for path in (staged / "lab").rglob("*")
            if path.is_file() and not LEFT_OUT & set(path.relative_to(staged).parts)
        }
    items = course.lab(stem).items
    title, points = _title(files[f"{stem}.ipynb"], stem), sum(map(adds, items))
    files[wheel] = data
    files["requirements.txt"] = pinned(course, wheel).encode()
    files["environment.yml"] = environment(course).encode()
    files["README.md"] = readme(course, stem, title, course.lab(stem).points, wheel).encode()
    plan = course.plan.labs[stem]
    edition = {
        "format": FORMAT,
        "course": course.name,
        "term": course.term.name,
        "lab": stem,
        "component": plan.component,
        "release": number,
        "points": points,
        "due": _due(course, stem),
        "timezone": str(course.plan.zone),
        "late": asdict(course.plan.late),
        "exercises": [{"id": item.id, "kind": item.kind, "points": max_score(item)} for item in items],
        "syllabus": [_row(course, name) for name in course.syllabus],
        "withheld": course.withheld(stem),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    files["edition.json"] = (json.dumps(edition, indent=1, ensure_ascii=False) + "\n").encode()
    return files


def _row(course: Course, stem: str) -> dict[str, Any]:
    plan = course.plan.labs[stem]
    return {"lab": stem, "component": plan.component, "due": _due(course, stem), "points": plan.points}


def _due(course: Course, stem: str) -> str:
    """In ISO with the zone's offset; empty where the lab has no date."""
    due = course.plan.labs[stem].due
    return due.isoformat() if due else ""


def _title(notebook: bytes, stem: str) -> str:
    """The notebook's first heading."""
    for cell in nbformat.reads(notebook.decode(), as_version=4).cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            return cell.source.split("\n")[0].removeprefix("# ").strip()
    return stem
