"""The assistant's page of a lab: everybody's points, what is common, and a way to each log, notebook and feedback."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from mlsys_course.desk.check import Verdict
from mlsys_course.desk.files import write_whole

from ..feedback.grades import Grades, machine_grades
from ..templates import templates_of
from .gradebook import Entry
from .standing import WAITS, marks_of, standing, together, total

UNREADABLE = "unreadable"
NOTHING_RAN = {"status": "", "seconds": 0, "cpu_seconds": 0, "peak_mib": 0}


def report_path(course: Path, stem: str) -> Path:
    """Where a lab's page is in a course folder."""
    return course / "report" / f"{stem}.html"


def write_report(
    course: Path,
    stem: str,
    entries: Sequence[Entry],
    order: Sequence[str] = (),
    grades: Mapping[str, Grades] | None = None,
) -> Path:
    """Write a lab's page from the journal and the gradebook's grades by student; its path.

    ``order`` is the exercises' in the notebook; open questions come last.
    """
    path, known = report_path(course, stem), grades or {}
    there = dict.fromkeys(name for entry in entries for name in entry.scores)
    names = [*(name for name in order if name in there), *(name for name in there if name not in order)]
    page = templates_of("autograder.grade").get_template("report.html")
    students = [_student(course, stem, entry, known.get(entry.student) or _scored(entry)) for entry in entries]
    names += dict.fromkeys(name for student in students for name in student["marks"] if name not in there)
    exercises = [_exercise(name, students) for name in names]
    write_whole(path, page.render(stem=stem, exercises=exercises, students=students))
    return path


def _scored(entry: Entry) -> Grades:
    return machine_grades(entry.student, {name: tuple(told["counted"]) for name, told in entry.scores.items()})


def _exercise(name: str, students: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page shows of an exercise over all students."""
    marks = [student["marks"][name] for student in students if name in student["marks"]]
    told = [student["scores"][name] for student in students if name in student["scores"]]
    given = [mark.score for mark in marks if not mark.waits]
    common: Counter[str] = Counter()
    for one in told:
        common.update(one["misconceptions"] or ([one["status"]] if one["status"] != "ok" else []))
    common.update(WAITS for mark in marks if mark.waits)
    return {
        "name": name,
        "mean": f"{mean(given):.1f}" if given else "",
        "max_score": marks[0].max_score,
        "bonus": any(one["kind"] == "extension" for one in told),
        "full": sum(score >= marks[0].max_score for score in given),
        "common": common.most_common(4),
    }


def _student(course: Path, stem: str, entry: Entry, grades: Grades) -> dict[str, Any]:
    """What the page shows of a student."""
    verdicts = {
        name: Verdict(name, told["kind"], told["status"], told["score"], told["max_score"])
        for name, told in entry.scores.items()
    }
    unread = bool(verdicts) and all(verdict.status == UNREADABLE for verdict in verdicts.values())
    return {
        "name": entry.student,
        "links": _links(course, stem, entry.student),
        "scores": entry.scores,
        "marks": marks_of(grades, verdicts),
        "total": total(grades),
        "run": NOTHING_RAN | dict(entry.run) | ({"status": UNREADABLE} if unread else {}),
        "remarks": [*standing(grades, verdicts), *_remarks(entry)],
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
    """What is said of several exercises in the same words is said once."""
    said = [entry.problem] if entry.problem else []
    said += [f"look at {name}: {why}" for name, reasons in entry.run.get("flags", {}).items() for why in reasons]
    noted: dict[str, list[str]] = {}
    for name, told in entry.scores.items():
        if told["note"] and told["note"] != entry.problem:
            noted.setdefault(told["note"], []).append(name)
    return said + [f"{together(names, len(entry.scores))}: {note}" for note, names in noted.items()]
