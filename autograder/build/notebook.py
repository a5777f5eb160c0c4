"""The middle stages: variants into the text, nbgrader's metadata, answers out with nbgrader's own preprocessors."""

import copy
import re
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)
from traitlets.config import Config

from ..course import Lab
from ..exercise import Item, adds, by_id
from .colab import with_colab_cell
from .source import BuildError, SourceCell

STUB = 'raise NotImplementedError("Write this part, then run the cell again.")'
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def render(path: Path, cells: list[SourceCell], variants: dict) -> None:
    """Put the term's drawn values where the text says ``{{ name }}``."""
    for cell in cells:

        def value(match: re.Match, cell: SourceCell = cell) -> str:
            if match[1] not in variants:
                line = cell.line + cell.source[: match.start()].count("\n") + 1
                known = ", ".join(variants) or "nothing"
                raise BuildError(path, line, f"{match[0]} is not drawn; variants() in exercises.py draws {known}")
            return str(variants[match[1]])

        cell.source = re.sub(r"\{\{ (\w+) \}\}", value, cell.source)


def nbgrader_metadata(cell: SourceCell, items: dict[str, Item]) -> dict | None:
    """nbgrader's words for a cell: its id, and whether it is graded, a solution, locked."""
    if cell.kind in ("text", "code"):
        return None
    graded = cell.kind in ("check", "question")
    names = {"exercise": f"solution-{cell.id}", "experiment": f"experiment-{cell.id}"}
    metadata = {
        "grade": graded,
        "grade_id": names.get(cell.kind, cell.id),
        "locked": cell.kind in ("check", "experiment"),
        "schema_version": 3,
        "solution": cell.kind in ("exercise", "question"),
        "task": False,
    }
    if graded:
        metadata["points"] = adds(items[cell.id])
    return metadata


def to_notebook(cells: list[SourceCell], items: list[Item]) -> NotebookNode:
    """The solution notebook: everything in, ids from the grade ids, no outputs."""
    notebook = nbformat.v4.new_notebook(metadata=METADATA)
    known = by_id(items)
    for number, cell in enumerate(cells):
        new = nbformat.v4.new_markdown_cell if cell.markdown else nbformat.v4.new_code_cell
        node = new(cell.source)
        node.id = f"{cell.kind}-{number:03d}"
        if metadata := nbgrader_metadata(cell, known):
            node.metadata["nbgrader"] = metadata
            node.id = metadata["grade_id"]
        if cell.kind == "experiment":
            node.metadata["tags"] = ["experiment"]
        notebook.cells.append(node)
    return notebook


def duplicate(notebook: NotebookNode) -> NotebookNode:
    """A copy of its own."""
    return nbformat.notebooknode.from_dict(copy.deepcopy(dict(notebook)))  # type: ignore[return-value]


def strip(notebook: NotebookNode) -> NotebookNode:
    """The student's notebook. In nbgrader's order: checksums come after everything that changes a cell."""
    config = Config()
    config.ClearSolutions.code_stub = {"python": STUB}
    config.ClearSolutions.text_stub = "*Your answer: replace this line.*"
    notebook = duplicate(notebook)
    resources: Any = ResourcesDict()
    for stage in (
        LockCells,
        ClearSolutions,
        ClearOutput,
        CheckCellMetadata,
        ClearHiddenTests,
        ClearMarkScheme,
        ComputeChecksums,
        CheckCellMetadata,
    ):
        notebook, resources = stage(config=config).preprocess(notebook, resources)
    notebook.metadata.pop("celltoolbar", None)
    nbformat.validate(notebook)
    return notebook


def to_bytes(notebook: NotebookNode) -> bytes:
    """Byte-stable: keys sorted, one newline at the end."""
    return (nbformat.writes(notebook).rstrip("\n") + "\n").encode()


def notebooks_of(lab: Lab, cells: list[SourceCell]) -> tuple[NotebookNode, NotebookNode]:
    """(solution, student) notebooks of rendered cells."""
    solution = with_colab_cell(to_notebook(cells, lab.items), lab.stem)
    return solution, strip(solution)
