"""The first stages: read the percent source, and check its markers, ids and points."""

import ast
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import jupytext

from mlsys_course.desk.syntax import parse
from mlsys_course.substrate.errors import CourseProblem

from ..exercise import Exercise, Item, by_id

KINDS = ("exercise", "check", "experiment", "question")
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


class BuildError(CourseProblem):
    """A mistake in a lab's sources: file, line and remedy."""

    def __init__(self, path: Path, line: int, message: str):
        super().__init__(f"{path}:{line}: {message}")


@dataclass
class SourceCell:
    """One cell of the source: ``kind`` is one of KINDS, "text" or "code"; ``id`` the exercise that it is about."""

    kind: str
    id: str
    source: str
    line: int
    markdown: bool = False
    metadata: dict = field(default_factory=dict)


def read_source(path: Path) -> list[SourceCell]:
    """Cells of a percent notebook, with the line that each starts on."""
    text = path.read_text(encoding="utf-8")
    lines = [i for i, line in enumerate(text.split("\n"), 1) if re.match(r"# %%(\s|$)", line)]
    notebook = jupytext.reads(text, fmt="py:percent")
    if len(notebook.cells) != len(lines):
        raise BuildError(path, 1, "text before the first `# %%`; start the file with `# %% [markdown]`")
    cells = []
    for cell, line in zip(notebook.cells, lines, strict=True):
        metadata = {key: value for key, value in cell.metadata.items() if key != "lines_to_next_cell"}  # jupytext's own
        named = [kind for kind in KINDS if kind in metadata]
        unknown = set(metadata) - set(KINDS) - {"tags"}
        if unknown or len(named) > 1:
            raise BuildError(path, line, f"`{sorted(metadata)}` beside `# %%`; use one of {', '.join(KINDS)}")
        markdown = cell.cell_type == "markdown"
        kind = named[0] if named else ("text" if markdown else "code")
        cells.append(SourceCell(kind, metadata.get(kind, ""), cell.source, line, markdown))
    return cells


def check_source(path: Path, cells: list[SourceCell], items: list[Item], drivers: dict) -> None:
    """Raise BuildError on the first thing that would make a broken lab."""
    known = by_id(items)
    repeated = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if repeated:
        raise BuildError(path.with_name("exercises.py"), 1, f"id {repeated[0]!r} is used twice; give each its own")
    for item in items:
        _check_item(path, item, drivers)
    seen: dict[tuple[str, str], int] = {}
    for cell in cells:
        if cell.kind in ("text", "code"):
            _check_markers(path, cell)
            continue
        if (first := seen.setdefault((cell.kind, cell.id), cell.line)) != cell.line:
            raise BuildError(path, cell.line, f'{cell.kind}="{cell.id}" stands on line {first} too; ids are used once')
        _check_markers(path, cell)
        if cell.kind != "experiment" and cell.id not in known:
            names = ", ".join(known)
            raise BuildError(path, cell.line, f"{cell.id!r} is not in exercises.py, which has {names}; add it there")
        if cell.kind == "check":
            candidate_of(path, cell)
            if ("exercise", cell.id) not in seen:
                raise BuildError(path, cell.line, f'no cell exercise="{cell.id}" before this check; write it above')
    for item in items:
        asked = [("question", item.id)] if item.kind == "open" else [("exercise", item.id), ("check", item.id)]
        for key in asked:
            if key not in seen:
                raise BuildError(
                    path, 1, f'{item.id!r} is in exercises.py, but no cell is {key[0]}="{item.id}"; add one'
                )


def _check_item(path: Path, item: Item, drivers: dict) -> None:
    sealed = path.with_name("exercises.py")
    if not re.fullmatch(r"\w{1,50}", item.id):
        raise BuildError(sealed, 1, f"id {item.id!r}: use letters, digits and underscores")
    if item.points is None or not item.points:
        raise BuildError(sealed, 1, f"{item.id!r} has no points; give it some")
    if not isinstance(item, Exercise):
        return
    if not callable(item.reference):
        raise BuildError(sealed, 1, f"exercise {item.id!r} has no reference; name the function or class")
    if item.id not in drivers:
        raise BuildError(
            path.with_name("drivers.py"), 1, f"no driver for {item.id!r}; write `@driver def {item.id}(...)`"
        )
    missing = set(drivers[item.id].parts) ^ set(item.parts)
    if missing:
        raise BuildError(sealed, 1, f"{item.id!r}: part {sorted(missing)[0]!r} needs a stand-in in both files")


def _check_markers(path: Path, cell: SourceCell) -> None:
    depth = 0
    for offset, line in enumerate(cell.source.split("\n"), 1):
        text = line.strip()
        if text == BEGIN:
            depth += 1
        elif text == END:
            depth -= 1
        elif "BEGIN SOLUTION" in text or "END SOLUTION" in text:
            raise BuildError(
                path, cell.line + offset, f"a marker reads exactly `{BEGIN}` or `{END}`, alone on its line"
            )
        if depth not in (0, 1):
            marker = f"a second `{BEGIN}`" if depth > 1 else f"`{END}` without `{BEGIN}`"
            raise BuildError(path, cell.line + offset, f"{marker}; regions open and close in turn")
    if depth:
        raise BuildError(path, cell.line, f"`{BEGIN}` is never closed in this cell; add `{END}`")
    has_region = BEGIN in cell.source
    if cell.kind in ("exercise", "question") and not has_region:
        raise BuildError(path, cell.line, f"{cell.kind}={cell.id!r} has no `{BEGIN}`; students would get the answer")
    if cell.kind not in ("exercise", "question") and has_region:
        raise BuildError(path, cell.line, 'a solution outside an exercise; mark the cell `# %% exercise="..."`')


def candidate_of(path: Path, cell: SourceCell) -> str:
    """The candidate's expression in ``check("id", expression)``, which must be all there is in the cell."""
    try:
        (statement,) = parse(cell.source).body
        call = statement.value  # type: ignore[attr-defined]
        name, expression = call.args
        if call.func.id == "check" and name.value == cell.id and not call.keywords:
            return ast.unparse(expression)
    except (SyntaxError, ValueError, AttributeError):
        pass
    raise BuildError(path, cell.line, f'a graded cell is one line, `check("{cell.id}", candidate)`')


def solution_regions(source: str) -> list[str]:
    """The text between the markers."""
    return re.findall(rf"{re.escape(BEGIN)}\n(.*?)\n[ \t]*{re.escape(END)}", source, flags=re.S)
