"""From one term to the next: dates shifted, ``course.toml`` rewritten around its comments, the last term archived.

Each step can be done again, and the last one makes the term the current one; so a stopped run is simply repeated.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import tomlkit

from ..errors import CourseError
from .archive import archive, write_text
from .secret import check_name, new_secret, secret_path
from .syllabus import Plan, read_plan

HALF_A_YEAR = 26  # weeks: the weekday stays


@dataclass(frozen=True)
class Renewed:
    """What came of a change of term."""

    plan: Plan
    days: int  # by which everything was shifted
    secret: Path
    archived: Path


def renew(root: Path, name: str, starts: date | None = None, gradebooks: tuple[Path, ...] = ()) -> Renewed:
    """Make ``name`` the course's term. Its labs are built and proven afterwards, as any term's.

    CourseError, with nothing changed, where the term exists or a shifted date does not.
    """
    check_name(name)
    path = root / "course.toml"
    old = read_plan(path)
    if name == old.term or (root / "archive" / name).exists():
        raise CourseError(f"term {name!r} exists already; name another, or set `term` in {path} to go back to it")
    new_starts = starts or next_start(old, date.today())
    try:
        text = rewritten(path.read_bytes().decode(), old, name, new_starts)
        plan = read_plan(path, text)
    except CourseError as error:
        raise CourseError(f"{name} would start on {new_starts}: {error}. Nothing has changed") from None
    archived = archive(root, old, gradebooks)
    secret = secret_path(name) if secret_path(name).exists() else new_secret(name)
    write_text(path, text)
    return Renewed(plan, (new_starts - old.starts).days, secret, archived)


def next_start(plan: Plan, today: date) -> date:
    """Half a year after the last start, on the same weekday; another half where that is past or the term still on."""
    last = max([plan.starts, *(lab.due.date() for lab in plan.labs.values() if lab.due)])
    starts = plan.starts
    while starts <= max(last, today):
        starts += timedelta(weeks=HALF_A_YEAR)
    return starts


def rewritten(text: str, plan: Plan, name: str, starts: date) -> str:
    """``course.toml`` for the next term: term, start and due dates replaced where they stand, all else as it is."""
    document: Any = tomlkit.parse(text)
    document["term"], document["starts"] = name, starts
    for stem, lab in plan.labs.items():
        if lab.due is not None:
            line = document["labs"][stem]
            line["due"] = shifted(lab.due, starts - plan.starts, plan, offset=line["due"].tzinfo is not None)
    return tomlkit.dumps(document)


def shifted(due: datetime, days: timedelta, plan: Plan, *, offset: bool) -> datetime:
    """A due date later by days, at the same time on the clock of the course; with an offset where it had one."""
    if not offset:
        return due.replace(tzinfo=None) + days
    return (due.astimezone(plan.zone).replace(tzinfo=None) + days).replace(tzinfo=plan.zone)
