"""How far a student is: the term's labs by row, from what the workspace remembers."""

import contextlib
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from ..substrate.errors import CourseProblem
from .fetch import labs_at_hand
from .lateness import state
from .points import counted_at, read_points, total
from .receipt import Receipt, receipt_from
from .release import due_of
from .workspace import DeskError, Workspace, other_terms, read_edition

RECORD = "progress"
STYLE = "text-align:left;padding:.3em .6em;vertical-align:top"


@dataclass(frozen=True)
class Row:
    """One lab: points on public cases when last looked at, what was carried and handed in, what to do next."""

    lab: str
    due: datetime | None
    points: str
    carried: bool
    submitted: str
    next: str
    state: str = ""  # "overdue" or "closed"


@dataclass(frozen=True)
class Progress:
    """The rows, shown as a table in a notebook and as lines elsewhere."""

    rows: Sequence[Row]
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        return "\n".join([*(" | ".join(cells) for cells in self.cells()), *self.notes])

    def cells(self) -> Iterator[tuple[str, ...]]:
        """Texts of each row: lab, due, points, carried and handed in, next."""
        for row in self.rows:
            due = _day(row.due) if row.due else ""
            due += f", {row.state}" if row.state else ""
            due += ": earns nothing now" if row.state == "closed" and not row.submitted else ""
            done = ", ".join(text for text in ("carried" if row.carried else "", row.submitted) if text)
            yield row.lab, due, row.points, done, row.next

    def _repr_html_(self) -> str:
        """Narrow enough for a phone: what belongs together stands below each other in one cell."""
        lines = [
            "<tr>" + "".join(f'<th scope="col" style="{STYLE}">{t}</th>' for t in ("lab", "so far", "next")) + "</tr>"
        ]
        for lab, due, points, done, then in self.cells():
            first = html.escape(lab).replace("_", "_<wbr>") + (
                f"<br><small>due {html.escape(due)}</small>" if due else ""
            )
            so_far = "<br>".join(html.escape(text) for text in (points, done) if text)
            cells = (first, so_far, html.escape(then))
            lines.append("<tr>" + "".join(f'<td style="{STYLE}">{cell}</td>' for cell in cells) + "</tr>")
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self.notes)
        return f'<table style="max-width:100%;border-collapse:collapse">{"".join(lines)}</table>{notes}'

    def table(self, width: int) -> Table:
        """For the terminal; a narrow one gets fewer columns with the same facts."""
        if width >= 90:
            table = Table("lab", "due", "points", "done", "next")
            for cells in self.cells():
                table.add_row(*cells)
            return table
        table = Table("lab", "so far, and next")
        for lab, due, points, done, then in self.cells():
            so_far = [f"due {due}" if due else "", points, done, f"[bold]{then}[/]" if then else ""]
            table.add_row(lab.replace("_", "\n", 1), "\n".join(filter(None, so_far)))
        return table


def remember(workspace: Workspace, folder: Path, points: Mapping[str, tuple[float, float]]) -> None:
    """Keep what a check came to. A checkout of the course, or a disk that is full, remembers nothing."""
    if not read_edition(folder) and not workspace.hidden.is_dir():
        return
    record = workspace.record(RECORD)
    now = datetime.now(UTC).isoformat()
    record[folder.name] = {"time": now, "points": {name: list(p) for name, p in points.items()}}
    with contextlib.suppress(DeskError):
        workspace.write_record(RECORD, record)


def progress(workspace: Workspace) -> Progress:
    """Every lab of the syllabus that the newest edition names, and those that lie here besides; dates of each lab are
    those of its own release."""
    record, receipts = workspace.record(RECORD), receipts_of(workspace)
    rows, now = [], datetime.now(UTC)
    for lab, entry in syllabus(workspace).items():
        folder = workspace.root / lab
        points = _points(folder, record.get(lab))
        carried = (workspace.parts / f"{entry.get('component', '')}.py").is_file()
        handed = receipts.get(lab)
        submitted = f"handed in {_local(handed.time)} ({handed.short})" if handed else ""
        due, rule = due_of(entry), entry.get("late", {})
        late = state(due, now, rule)
        if handed and late == "overdue":  # not by the clock, but by when it was handed in
            late = state(due, _moment(handed.time) or now, rule)
        then = _next(folder, points, carried, bool(handed), late == "closed")
        rows.append(Row(lab, due, _said(points), carried, submitted, then, late))
    newest = max(editions_of(workspace).items(), key=lambda pair: str(pair[1].get("due")), default=None)
    return Progress(rows, list(other_terms(newest[0], workspace)) if newest else [])


def no_lab(workspace: Workspace) -> str:
    """What to do where no lab has been started: with a zip at hand, start that one."""
    if zipped := labs_at_hand(workspace):
        return f"No lab here yet, but the zip of {zipped[0]}: mlsys start {zipped[0].split('_')[0]}"
    return "No lab here yet. Call this in the folder that holds your labs, or begin: mlsys start lab00"


def editions_of(workspace: Workspace) -> dict[Path, Mapping]:
    """Folder -> edition of each lab here, as far as it can be read."""
    found: dict[Path, Mapping] = {}
    for folder in workspace.labs():
        with contextlib.suppress(DeskError):
            found[folder] = read_edition(folder)
    return found


def syllabus(workspace: Workspace) -> dict[str, Mapping]:
    """Lab -> its component, due date and rule for late work: from its own release, else from the newest here."""
    editions = sorted(editions_of(workspace).values(), key=lambda edition: str(edition.get("due")))
    rows: dict[str, Mapping] = {}
    for edition in editions:
        clock = {name: edition[name] for name in ("timezone", "late") if name in edition}
        rows |= {str(row["lab"]): {**clock, **row} for row in edition.get("syllabus", []) if _exists(row)}
    rows |= {str(edition["lab"]): edition for edition in editions}
    for notebook in sorted(workspace.root.glob("lab*/lab*.ipynb")):
        if notebook.stem == notebook.parent.name:
            rows.setdefault(notebook.stem, {"component": notebook.stem.split("_", 1)[-1]})
    return dict(sorted(rows.items()))


def _exists(row: Mapping) -> bool:
    """Whether a lab of the syllabus has been written: one that has not has no points."""
    return "lab" in row and row.get("points", 0) is not None


def receipts_of(workspace: Workspace) -> dict[str, Receipt]:
    """Lab -> the latest receipt."""
    found: dict[str, Receipt] = {}
    for path in (workspace.hidden / "receipts").glob("*.json"):
        with contextlib.suppress(DeskError, OSError):
            receipt = receipt_from(path.read_bytes())
            if receipt.lab not in found or found[receipt.lab].time < receipt.time:
                found[receipt.lab] = receipt
    return found


def _points(folder: Path, entry: Mapping | None) -> dict[str, tuple[float, float]]:
    """From the last check, or from what the notebook shows where it was saved later than that."""
    notebook, checked, when = folder / f"{folder.name}.ipynb", {}, 0.0
    with contextlib.suppress(KeyError, TypeError, ValueError):  # a record that somebody wrote over
        when = datetime.fromisoformat(entry["time"]).timestamp() if entry else 0.0
        checked = {name: (float(got), float(most)) for name, (got, most) in (entry or {})["points"].items()}
    with contextlib.suppress(OSError, CourseProblem):  # a notebook that cannot be read has nothing to tell
        if notebook.stat().st_mtime > when:
            from .workbook import read_notebook, stored_points

            checked |= counted_at(folder, checked | stored_points(read_notebook(folder)))
    return checked


def _said(points: Mapping[str, tuple[float, float]]) -> str:
    return total(points) if points else ""


def _moment(time: str) -> datetime | None:
    """When a receipt says that it was written; None of one that somebody wrote over."""
    try:
        return datetime.fromisoformat(time).astimezone()
    except ValueError:
        return None


def _local(time: str) -> str:
    when = _moment(time)
    return _day(when) if when else ""


def _day(when: datetime) -> str:
    """A date and time; with the year where it is not this one."""
    year = "" if when.year == datetime.now(when.tzinfo).year else f" {when.year}"
    return f"{when:%d %b}{year} {when:%H:%M}"


def _next(folder: Path, points: Mapping[str, tuple[float, float]], carried: bool, handed: bool, closed: bool) -> str:
    name = folder.name.split("_")[0]
    if not (folder / f"{folder.name}.ipynb").is_file():
        return "" if closed or handed else f"mlsys start {name}"
    failing, open_still = _first_failing(folder, points), not (closed or handed)
    if failing is not None and open_still:
        return f"{failing}, then mlsys check {name}" if failing else f"mlsys check {name}"
    if not carried and any(got for got, _ in points.values()):
        return f"mlsys carry {name}"
    return f"mlsys submit {name}" if open_still else ""


def _first_failing(folder: Path, points: Mapping[str, tuple[float, float]]) -> str | None:
    """The first core exercise that lacks points; None where none does, empty where nobody knows which there are."""
    with contextlib.suppress(DeskError):
        known = read_points(folder)
        core = [name for name, kind in known.kinds.items() if kind == "core"]
        return next((name for name in core if points.get(name, (0.0, 0.0))[0] < known.worth[name]), None)
    missing = [name for name, (got, most) in points.items() if got < most]
    return missing[0] if missing else (None if points else "")
