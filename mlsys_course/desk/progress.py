"""How far a student is: the term's labs by row, from what the workspace remembers."""

import contextlib
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from ..substrate.errors import CourseProblem
from .lateness import state
from .points import counted_at, total
from .receipt import Receipt, receipt_from
from .release import due_of
from .workspace import DeskError, Workspace, read_edition

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

    def __repr__(self) -> str:
        return "\n".join(" | ".join(cells) for cells in self.cells())

    def cells(self) -> Iterator[tuple[str, ...]]:
        """Texts of each row: lab, due, points, carried and handed in, next."""
        for row in self.rows:
            due = f"{row.due:%d %b %H:%M}" if row.due else ""
            due += f", {row.state}" if row.state else ""
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
        return f'<table style="max-width:100%;border-collapse:collapse">{"".join(lines)}</table>'

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
    """Every lab of the syllabus that the newest edition names, and those that lie here besides."""
    record, receipts = workspace.record(RECORD), receipts_of(workspace)
    rows, known = [], syllabus(workspace)
    zone = next((entry["timezone"] for entry in known.values() if entry.get("timezone")), "")
    rule: Mapping = next((entry["late"] for entry in known.values() if entry.get("late")), {})
    for lab, entry in known.items():
        folder = workspace.root / lab
        points = _points(folder, record.get(lab))
        carried = (workspace.parts / f"{entry.get('component', '')}.py").is_file()
        handed = receipts.get(lab)
        submitted = f"handed in {_local(handed.time)} ({handed.short})" if handed else ""
        due, then = due_of({"timezone": zone, **entry}), _next(lab, points, carried, handed)
        late = "" if handed else state(due, datetime.now(UTC), rule)
        rows.append(Row(lab, due, _said(points), carried, submitted, then, late))
    return Progress(rows)


def syllabus(workspace: Workspace) -> dict[str, Mapping]:
    """Lab -> its component and due date, in the order of the term."""
    editions = []
    for folder in workspace.labs():
        with contextlib.suppress(DeskError):
            editions.append(read_edition(folder))
    rows: dict[str, Mapping] = {}
    for edition in sorted(editions, key=lambda e: str(e.get("due"))):
        rows |= {str(row["lab"]): row for row in edition.get("syllabus", []) if _exists(row)}
        rows[str(edition["lab"])] = edition
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


def _local(time: str) -> str:
    try:
        return f"{datetime.fromisoformat(time).astimezone():%d %b %H:%M}"
    except ValueError:
        return ""


def _next(lab: str, points: Mapping[str, tuple[float, float]], carried: bool, handed: Receipt | None) -> str:
    name = lab.split("_")[0]
    if not any(got for got, _ in points.values()):
        return f"mlsys start {name}"
    if not carried:
        return f"mlsys carry {name}"
    return "" if handed else f"mlsys submit {name}"
