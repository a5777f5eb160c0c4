"""A grading run as staff see it in the terminal: the table of points, and what to know beside it."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Column, Table

from mlsys_course.desk.check import Verdict

from .run import Row
from .session import UNSAFE, Session

NAME, WIDTH, LEAST_WORDS = 24, 7, 64  # columns of one exercise; of a student's name, total and remarks


def protections_line(session: Session) -> str:
    """Which protections of the sandbox are active, in one line."""
    line = session.protections
    return f"[red]{line}[/]" if session.unsafe else line


def closing_lines(rows: Sequence[Row], into: Path) -> Iterator[str]:
    """What a person should know beside the table: problems, changes, flags, what was done before."""
    for row in rows:
        student = escape(row.student)
        if row.problem:
            yield f"[yellow]{student}:[/] {escape(row.problem)}"
        if row.change:
            yield f"[yellow]{student} changed:[/] {escape(row.change)}"
        if row.late_seconds > 0:
            yield f"[yellow]{student}:[/] late by {timedelta(seconds=round(row.late_seconds))}"
        for name, reasons in row.flags.items():
            yield f"[yellow]{student}, {escape(name)}: for a person to look at:[/] {escape('; '.join(reasons))}"
    if known := sum(bool(row.earlier) for row in rows):
        yield f"{known} of {len(rows)} were graded before, and neither ran nor changed"
    for outdated, count in Counter(row.outdated for row in rows if row.outdated).items():
        since = f"[yellow]{count} of them before the lab changed[/] ({outdated})"
        yield f"{since}: --regrade grades them again and says what changes"
    if left := sum(not row.graded for row in rows):
        yield f"[red]{left} of {len(rows)} were not graded[/], which is no zero: mend what is said above, call again"
    yield f"everybody's points, logs and notebooks: {escape(str(into / 'report'))}"


@dataclass(frozen=True)
class ResultsTable:
    """Students by exercises where the terminal is wide enough; else what is not all right, with its points."""

    stem: str
    rows: Sequence[Row]
    did: Mapping[str, str] = field(default_factory=dict)  # what a student is known to have done

    @property
    def exercises(self) -> list[str]:
        """Of all rows: those of the lab as it is come first, in its order."""
        latest = sorted(self.rows, key=lambda row: (not row.graded, bool(row.outdated)))
        return list(dict.fromkeys(name for row in latest for name in row.verdicts))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = self.exercises
        wide = options.max_width >= LEAST_WORDS + WIDTH * len(names)
        yield self._wide(names) if wide else self._narrow()

    def _wide(self, names: Sequence[str]) -> Table:
        numbers = [str(number) for number in range(1, len(names) + 1)]
        table = Table(Column("student", max_width=NAME), *numbers, "total", "status and hint", title=self.stem)
        table.caption = ", ".join(f"{number} {name}" for number, name in zip(numbers, names, strict=True))
        for row in self.rows:
            cells = [_points(row.verdicts[name]) if name in row.verdicts else "" for name in names]
            table.add_row(self._student(row), *cells, _total(row), escape("\n".join(remarks(row.verdicts.values()))))
        return table

    def _narrow(self) -> Table:
        table = Table(Column("student", max_width=NAME), "total", "not all right", title=self.stem)
        for row in self.rows:
            said = remarks(row.verdicts.values(), points=True)
            table.add_row(self._student(row), _total(row), escape("\n".join(said)))
        return table

    def _student(self, row: Row) -> str:
        did = self.did.get(row.student)
        return escape(row.student) + (f"\n[dim]{escape(did)}[/]" if did else "")


def results_table(stem: str, rows: Sequence[Row], did: Mapping[str, str] | None = None) -> ResultsTable:
    """Everybody's points, and what is not all right with its status and hint."""
    return ResultsTable(stem, rows, did or {})


def _points(v: Verdict) -> str:
    colour = "green" if v.ok else "yellow" if v.score else "red"
    return f"[{colour}]{v.score:g}[/]"


def _total(row: Row) -> str:
    most = sum(most for _, most in row.counted.values())
    return f"{row.score:g}/{most:g}" if row.graded else "[red]not graded[/]"


def remarks(verdicts: Collection[Verdict], *, points: bool = False) -> list[str]:
    """What is not all right, exercises of one kind of trouble together, with the first hint or note."""
    groups: dict[tuple[str, str], list[str]] = {}
    for v in verdicts:
        words = (v.hints[0] if v.hints else v.note.replace(UNSAFE, "").strip()) if not v.ok or v.note else ""
        if not v.ok or (words and v.kind != "choice"):
            name = f"{v.exercise} {v.score:g}/{v.max_score:g}" if points else v.exercise
            groups.setdefault((v.status, words), []).append(name)
    everything = len(verdicts)
    return [
        f"{'all' if len(names) == everything else ', '.join(names)}: {status}{'. ' if words else ''}{words}"
        for (status, words), names in groups.items()
    ]
