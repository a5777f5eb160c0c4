"""A grading run as staff see it in the terminal: the table of points, and what to know beside it."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from mlsys_course.desk.check import Verdict

from .run import Row
from .session import UNSAFE, Session


def protections_line(session: Session) -> str:
    """Which protections of the sandbox are active, in one line."""
    line = session.protections
    return f"[red]{line}[/]" if session.unsafe else line


def closing_lines(rows: Sequence[Row], into: Path) -> Iterator[str]:
    """What a person should know beside the table: problems, changes, flags, what was done before."""
    for row in rows:
        if row.problem:
            yield f"[yellow]{row.student}:[/] {escape(row.problem)}"
        if row.change:
            yield f"[yellow]{row.student} changed:[/] {escape(row.change)}"
        if row.late_seconds > 0:
            yield f"[yellow]{row.student}:[/] late by {timedelta(seconds=round(row.late_seconds))}"
        for name, reasons in row.flags.items():
            yield f"[yellow]{row.student}, {name}: for a person to look at:[/] {escape('; '.join(reasons))}"
    if known := sum(bool(row.earlier) for row in rows):
        yield f"{known} of {len(rows)} were graded before, and neither ran nor changed"
    for outdated, count in Counter(row.outdated for row in rows if row.outdated).items():
        since = f"[yellow]{count} of them before the lab changed[/] ({outdated})"
        yield f"{since}: --regrade grades them again and says what changes"
    yield f"everybody's points, logs and notebooks: {into / 'report'}"


def results_table(stem: str, rows: Sequence[Row]) -> Table:
    """Students by exercises: points, and what is not all right with its status and hint."""
    names = list(rows[0].verdicts) if rows else []
    legend = ", ".join(f"{number} {name}" for number, name in enumerate(names, 1))
    table = Table("student", *(str(n) for n in range(1, len(names) + 1)), "total", "status and hint", title=stem)
    table.caption = legend
    for row in rows:
        verdicts = row.verdicts.values()
        colours = ["green" if v.ok else "yellow" if v.score else "red" for v in verdicts]
        cells = [f"[{c}]{v.score:g}[/]" for c, v in zip(colours, verdicts, strict=True)]
        total = f"{row.score:g}/{sum(most for _, most in row.counted.values()):g}"
        table.add_row(row.student, *cells, total, "\n".join(remarks(row.verdicts.values())))
    return table


def remarks(verdicts: Collection[Verdict]) -> list[str]:
    """What is not all right, exercises of one kind of trouble together, with the first hint or note."""
    groups: dict[tuple[str, str], list[str]] = {}
    for v in verdicts:
        words = (v.hints[0] if v.hints else v.note.replace(UNSAFE, "").strip()) if not v.ok or v.note else ""
        if not v.ok or (words and v.kind != "choice"):
            groups.setdefault((v.status, words), []).append(v.exercise)
    everything = len(verdicts)
    return [
        f"{'all' if len(names) == everything else ', '.join(names)}: {status}{'. ' if words else ''}{words}"
        for (status, words), names in groups.items()
    ]
