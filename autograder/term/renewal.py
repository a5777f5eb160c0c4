"""From one term to the next: dates shifted, ``course.toml`` rewritten by lines, the last term archived.

Each step can be done again, and the last one makes the term the current one; so a stopped run is simply repeated.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from ..errors import CourseError
from .archive import archive, write_text
from .lines import Lines
from .secret import check_name, new_secret, secret_path
from .syllabus import Plan, read_plan

HALF_A_YEAR = 26  # weeks: the weekday stays
DUE = re.compile(r"(\bdue\s*=\s*)(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)?)")


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
        text = rewritten(path.read_text(encoding="utf-8"), old, name, new_starts)
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
    lines, rows = Lines(plan.path, text), text.split("\n")
    days = starts - plan.starts
    _replace(lines, rows, r"""(term\s*=\s*)("[^"]*"|'[^']*')""", f'"{name}"', "term")
    _replace(lines, rows, r"(starts\s*=\s*)(\d{4}-\d\d-\d\d)", starts.isoformat(), "starts")
    for stem, lab in plan.labs.items():
        if lab.due is not None:
            written = DUE.search(rows[lines.of("labs", stem, "due") - 1])
            literal = written[2] if written else ""
            _replace(lines, rows, DUE.pattern, shifted(literal, lab.due, days, plan), "labs", stem, "due")
    return "\n".join(rows)


def shifted(literal: str, due: datetime, days: timedelta, plan: Plan) -> str:
    """A due date later by days, at the same time on the clock, written as it was: with an offset or without."""
    if re.search(r"[Zz+]|-\d\d:\d\d$", literal):
        local = due.astimezone(plan.zone).replace(tzinfo=None) + days
        return local.replace(tzinfo=plan.zone).isoformat()
    return (due.replace(tzinfo=None) + days).isoformat()


def _replace(lines: Lines, rows: list[str], pattern: str, value: str, *path: str) -> None:
    number = lines.of(*path)
    row, count = re.subn(pattern, lambda match: match[1] + value, rows[number - 1], count=1)
    if not count:
        raise lines.error(f"{path[-1]} cannot be replaced here; write it as `{path[-1]} = {value}` on one line", *path)
    rows[number - 1] = row
