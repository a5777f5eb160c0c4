"""A grading run as staff see it in the terminal: the table of points, and what to know beside it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Column, Table

from ..feedback.grades import Mark
from .run import Row
from .session import UNSAFE, Session
from .standing import marks_of, points, standing, together, total

NAME, WIDTH, LEAST_WORDS = 24, 7, 64  # columns of one exercise; of a student's name, total and remarks
STATUS = {"ok": "all right, but noted"}


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
        for name, reasons in row.flags.items():
            yield f"[yellow]{student}, {escape(name)}: for a person to look at:[/] {escape('; '.join(reasons))}"
    if known := sum(bool(row.earlier) for row in rows):
        yield f"{known} of {len(rows)} were graded before, and neither ran nor changed"
    for outdated, count in Counter(row.outdated for row in rows if row.outdated).items():
        since = f"[yellow]{count} of them before the lab changed[/] ({outdated})"
        yield f"{since}: --regrade grades them again and says what changes"
    if same := sum(row.same for row in rows):
        yield f"{same} of {len(rows)} were graded again, and nothing that the machine gave has changed"
    if waiting := sum(bool(row.grades.waiting) for row in rows):
        yield (
            f"{waiting} of {len(rows)} wait for a person: `jupyter lab` in {escape(str(into))}, there the Formgrader, "
            "and then this command again"
        )
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
        scored = [name for row in latest for name in row.verdicts]
        return list(dict.fromkeys(scored + [name for row in latest for name in row.grades.marks]))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = self.exercises
        wide = options.max_width >= LEAST_WORDS + WIDTH * len(names)
        yield self._wide(names) if wide else self._narrow()

    def _wide(self, names: Sequence[str]) -> Table:
        numbers = [str(number) for number in range(1, len(names) + 1)]
        table = Table(Column("student", max_width=NAME), *numbers, "total", "status and hint", title=self.stem)
        table.caption = ", ".join(f"{number} {name}" for number, name in zip(numbers, names, strict=True))
        for row in self.rows:
            marks = marks_of(row.grades, row.verdicts)
            cells = [_points(marks[name]) if name in marks else "" for name in names]
            table.add_row(self._student(row), *cells, _total(row), escape("\n".join(remarks(row))))
        return table

    def _narrow(self) -> Table:
        table = Table(Column("student", max_width=NAME), "total", "not all right, or noted", title=self.stem)
        for row in self.rows:
            table.add_row(self._student(row), _total(row), escape("\n".join(remarks(row, with_points=True))))
        return table

    def _student(self, row: Row) -> str:
        did = self.did.get(row.student)
        return escape(row.student) + (f"\n[dim]{escape(did)}[/]" if did else "")


def results_table(stem: str, rows: Sequence[Row], did: Mapping[str, str] | None = None) -> ResultsTable:
    """Everybody's points, and what is not all right with its status and hint."""
    return ResultsTable(stem, rows, did or {})


def _points(mark: Mark) -> str:
    if mark.waits:
        return "[yellow]waits[/]"
    colour = "green" if mark.score >= mark.max_score else "yellow" if mark.score else "red"
    return f"[{colour}]{mark.score:g}[/]"


def _total(row: Row) -> str:
    return total(row.grades) if row.graded else "[red]not graded[/]"


def remarks(row: Row, *, with_points: bool = False) -> list[str]:
    """How the lab stands, and what is not all right: exercises of one kind of trouble together, with the first hint."""
    groups: dict[tuple[str, str], list[str]] = {}
    for v in row.verdicts.values():
        if (mark := row.grades.marks.get(v.exercise)) and mark.by_person:
            continue
        words = (v.hints[0] if v.hints else v.note.replace(UNSAFE, "").strip()) if not v.ok or v.note else ""
        if not v.ok or (words and v.kind != "choice"):
            own = points(v.score, v.max_score, bonus=v.kind == "extension")
            groups.setdefault((v.status, words), []).append(f"{v.exercise} {own}" if with_points else v.exercise)
    told = [(together(names, len(row.verdicts)), *said) for said, names in groups.items()]
    troubles = [f"{names}: {STATUS.get(status, status)}{'. ' if words else ''}{words}" for names, status, words in told]
    return [*standing(row.grades, row.verdicts), *troubles]
