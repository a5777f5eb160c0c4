"""What would lose points: looked for before a hand-in. Each is a warning; the student decides."""

import ast
import builtins
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .lateness import ago, cost
from .mend import COPY
from .outside import outside
from .recognise import STUBS, bare, grade_id
from .release import due_of, read_release, said_due
from .workbook import ALL_PASS, Found, Ran, stored_lines, stored_points
from .workspace import Workspace, read_edition


def warnings(folder: Path, notebook: NotebookNode, ran: Ran | None, workspace: Workspace) -> list[str]:
    """Everything that a student should know before handing in; ``ran`` is a clean run, None where there was none."""
    released = released_sources(folder, workspace)
    blank = blanks(notebook, released)
    found = [line for name, line in failing(notebook, ran) if name not in blank]
    found += [f"Still blank: {', '.join(blank)}."] if blank else []
    found += [*tampered(notebook, released, expected_ids(folder)), *out_of_order(notebook)]
    if ran is not None:
        found += ran.sentences
        found += disagreements(notebook, ran)
    found += outside(notebook, folder)
    return [*found, *not_in_sequence(notebook), *of_the_edition(folder, workspace)]


def expected_ids(folder: Path) -> list[str]:
    """Ids of the graded cells as released: from the edition, or from the cases in a checkout of the course."""
    listed = [str(row["id"]) for row in read_edition(folder).get("exercises", [])]
    return listed or sorted(path.stem for path in (folder / "cases").glob("*.safetensors"))


def released_sources(folder: Path, workspace: Workspace) -> dict[str, str]:
    """nbgrader's id -> the cell's text as released, from the kept release; empty where none was kept."""
    edition = read_edition(folder)
    path = workspace.kept(folder.name, edition["term"], edition["release"]) if edition else None
    if path is None or not path.is_file():
        return {}
    cells = nbformat.reads(read_release(path).files[f"{folder.name}.ipynb"].decode(), as_version=4).cells
    return {grade_id(cell): cell.source for cell in cells if grade_id(cell)}


def failing(notebook: NotebookNode, ran: Ran | None) -> Iterator[tuple[str, str]]:
    """Exercises that do not pass, each with what is said of it: in a clean run, else in the notebook as saved."""
    lines = stored_lines(notebook)
    saved = [Found(name, "as saved", *points) for name, points in stored_points(notebook).items()]
    for row in saved if ran is None else ran.found:
        if row.status == "not run":
            yield row.exercise, f"{row.exercise} was not run, so nobody knows whether it passes."
        elif row.status != "ok" and not ALL_PASS.match(lines.get(row.exercise, "")):  # that is a disagreement
            points = f"{row.score:g} of {row.max_score:g} points"
            yield row.exercise, f"{row.exercise} does not pass ({row.status}): {points} on public cases."


def blanks(notebook: NotebookNode, released: Mapping[str, str]) -> list[str]:
    """Exercises and open questions that nobody has written into."""
    cells = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    return [_exercise(c) for c in cells if any(stub in c.source for stub in STUBS) or _as_released(c, released)]


def tampered(notebook: NotebookNode, released: Mapping[str, str], expected: list[str]) -> Iterator[str]:
    """Graded cells that were edited, deleted or copied."""
    names = Counter(grade_id(cell) or cell.metadata.get(COPY, "") for cell in notebook.cells)
    for cell in notebook.cells:
        facts = cell.metadata.get("nbgrader", {})
        told = grade_id(cell) in released or "checksum" in facts  # else nobody knows how it was released
        if facts.get("locked") and facts.get("grade") and told and not _as_released(cell, released):
            yield f"The graded cell of {_exercise(cell)} was edited; grading uses the released one."
    for name in expected:
        if not names[name]:
            yield f"The graded cell of {name} is gone; grading puts it back. Check that {name} is still there."
        elif names[name] > 1:
            yield f"There are {names[name]} cells of {name}; the last one counts. Delete the others."


def _as_released(cell: NotebookNode, released: Mapping[str, str]) -> bool:
    """Whether a cell is as it came: by the kept release, or in a checkout of the course by nbgrader's checksum."""
    if grade_id(cell) in released:
        return bare(cell.source) == bare(released[grade_id(cell)])
    from nbgrader.utils import compute_checksum  # it takes seconds to import

    facts = cell.metadata.get("nbgrader", {})
    try:
        return facts.get("checksum") == compute_checksum(cell)
    except (KeyError, AttributeError, TypeError, ValueError):  # metadata that was written over
        return False


def _exercise(cell: NotebookNode) -> str:
    return grade_id(cell).removeprefix("solution-") or "a cell"


def out_of_order(notebook: NotebookNode) -> Iterator[str]:
    """Names that a cell uses at once and only a later cell defines: from the top, it fails."""
    from .check.reach import bound_names, parse_cell  # it imports torch, which takes seconds

    cells = [(n, parse_cell(c.source)) for n, c in enumerate(notebook.cells, 1) if c.cell_type == "code"]
    first: dict[str, int] = {}
    for number, statements in cells:
        for name in set().union(*map(bound_names, statements)):
            if not hasattr(builtins, name):
                first.setdefault(name, number)
    for number, statements in cells:
        later = sorted(n for s in statements for n in _read_at_once(s) if first.get(n, number) > number)
        for name in dict.fromkeys(later):
            yield f"Cell {number} uses {name}, which only cell {first[name]} defines: run from the top, it fails."


def _read_at_once(statement: ast.stmt) -> set[str]:
    """Names that a statement itself reads when it runs, not those that a function in it reads when called."""
    from .check.reach import nodes_of

    inner = {
        id(node)
        for outer in nodes_of(statement)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for part in (outer.body if isinstance(outer.body, list) else [outer.body])
        for node in ast.walk(part)
    }
    named = (node for node in nodes_of(statement) if isinstance(node, ast.Name) and id(node) not in inner)
    return {node.id for node in named if isinstance(node.ctx, ast.Load)}


def disagreements(notebook: NotebookNode, ran: Ran) -> Iterator[str]:
    """Checks whose saved output is not what a clean run finds."""
    stored = stored_lines(notebook)
    for row in ran.found:
        line = stored.get(row.exercise, "")
        shown = bool(ALL_PASS.match(line))
        if shown and row.status != "ok":
            yield (
                f"{row.exercise} passes in the notebook as saved, and not from the top ({row.status}): "
                "call Kernel > Restart and Run All, and look."
            )
        elif line and not shown and row.status == "ok":
            yield f"What the notebook shows of {row.exercise} is older than its code; it passes now."


def not_in_sequence(notebook: NotebookNode) -> Iterator[str]:
    """Cells that were run in another order than they stand in."""
    counts = [c.get("execution_count") for c in notebook.cells if c.cell_type == "code"]
    counts = [count for count in counts if count]
    if any(after <= before for before, after in pairwise(counts)):
        yield "Cells were run in another order than they stand in, so what is shown may be older than the code."


def of_the_edition(folder: Path, workspace: Workspace) -> Iterator[str]:
    """Files that are not the edition's, an old release, another term, a late hand-in."""
    edition = read_edition(folder)
    if not edition:
        return
    for name, digest in edition.get("files", {}).items():
        path = folder / name
        shipped = name == "drivers.py" or name.startswith("cases/")
        if shipped and (not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest):
            yield f"{name} is not as released, so your checks may mislead you; grading uses the released one."
    kept = workspace.hidden / "editions" / folder.name
    numbers = [int(path.stem.rpartition("-r")[2]) for path in kept.glob(f"{edition['term']}-r*.zip")]
    if max(numbers, default=0) > edition["release"]:
        yield f"This is release {edition['release']}, and release {max(numbers)} is known: mlsys update {folder.name}"
    others = {read_edition(lab)["term"] for lab in workspace.labs()} - {edition["term"]}
    if others:
        yield f"This is the edition of {edition['term']}; other labs here are of {', '.join(sorted(others))}."
    due = due_of(edition)
    if due and due < datetime.now(UTC):
        now = datetime.now(UTC)
        yield f"It was due {said_due(due)}, {ago(now - due)}; {cost(due, now, edition.get('late', {}))}."
