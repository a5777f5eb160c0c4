"""The assistant's page of a lab: everybody's points, what is common, and a way to each log, notebook and feedback."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from mlsys_course.desk.files import write_whole

from ..templates import templates_of
from .gradebook import Entry

NOTHING_RAN = {"status": "", "seconds": 0, "cpu_seconds": 0, "peak_mib": 0}


def report_path(course: Path, stem: str) -> Path:
    """Where a lab's page is in a course folder."""
    return course / "report" / f"{stem}.html"


def write_report(course: Path, stem: str, entries: Sequence[Entry], order: Sequence[str] = ()) -> Path:
    """Write a lab's page from the journal; its path. ``order`` is the exercises' in the notebook."""
    path = report_path(course, stem)
    there = dict.fromkeys(name for entry in entries for name in entry.scores)
    names = [*(name for name in order if name in there), *(name for name in there if name not in order)]
    page = templates_of("autograder.grade").get_template("report.html")
    exercises = [_exercise(name, entries) for name in names]
    students = [_student(course, stem, entry) for entry in entries]
    write_whole(path, page.render(stem=stem, exercises=exercises, students=students))
    return path


def _exercise(name: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """What the page shows of an exercise over all students."""
    scores = [entry.scores[name] for entry in entries if name in entry.scores]
    common: Counter[str] = Counter()
    for told in scores:
        common.update(told["misconceptions"] or ([told["status"]] if told["status"] != "ok" else []))
    return {
        "name": name,
        "mean": mean(told["score"] for told in scores),
        "max_score": scores[0]["max_score"],
        "bonus": scores[0]["kind"] == "extension",
        "full": sum(told["status"] == "ok" for told in scores),
        "common": common.most_common(4),
    }


def _student(course: Path, stem: str, entry: Entry) -> dict[str, Any]:
    """What the page shows of a student."""
    return {
        "name": entry.student,
        "links": _links(course, stem, entry.student),
        "scores": entry.scores,
        "total": sum(told["counted"][0] for told in entry.scores.values()),
        "run": NOTHING_RAN | dict(entry.run),
        "remarks": _remarks(entry),
    }


def _links(course: Path, stem: str, student: str) -> Mapping[str, str]:
    files = {
        "log": course / "logs" / student / stem / "log.txt",
        "notebook": course / "autograded" / student / stem / f"{stem}.ipynb",
        "feedback": course / "feedback" / student / stem / f"{stem}.html",
    }
    there = {name: Path(os.path.relpath(path, course / "report")) for name, path in files.items() if path.exists()}
    return {name: path.as_posix() for name, path in there.items()}


def _remarks(entry: Entry) -> list[str]:
    said = [entry.problem] if entry.problem else []
    said += [f"look at {name}: {why}" for name, reasons in entry.run.get("flags", {}).items() for why in reasons]
    return said + [f"{name}: {told['note']}" for name, told in entry.scores.items() if told["note"]]
