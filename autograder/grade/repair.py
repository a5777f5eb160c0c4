"""The leading stage: any bytes that a student hands in become a notebook that nbgrader can read.

Everything that nbgrader believes (points, locks, graded sources) is taken from the released notebook, never from
the submission. What was mended is told to the student.
"""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nbformat
from nbformat import NotebookNode

from mlsys_course.desk.receipt import NOTEBOOK_BYTES

from ..build.notebook import duplicate
from ..scoring.cells import grade_id

MOST_BYTES = NOTEBOOK_BYTES
TYPES = ("code", "markdown", "raw")


@dataclass
class Repaired:
    """A submission's notebook, what was mended by exercise ("" for the whole), or why it cannot be read."""

    notebook: NotebookNode
    notes: dict[str, str] = field(default_factory=dict)
    unreadable: str = ""

    def to_notebook(self) -> NotebookNode:
        """With the notes in the notebook's metadata, where the run stage finds them."""
        self.notebook.metadata["mlsys"] = {"notes": self.notes, "unreadable": self.unreadable}
        return self.notebook


class Unreadable(ValueError):
    """The submitted file is no notebook; the message can be forwarded to the student."""


def repair(blob: bytes, released: NotebookNode) -> Repaired:
    """Mend a submission against the released notebook. Never raises on a student's bytes."""
    try:
        cells = read_cells(blob)
    except Unreadable as error:
        return Repaired(duplicate(released), {}, str(error))
    notes: dict[str, str] = {}
    known = {grade_id(cell): cell for cell in released.cells if grade_id(cell)}
    claimed = _claims(cells, known, notes)
    notebook = NotebookNode(nbformat=4, nbformat_minor=5, metadata=copy.deepcopy(released.metadata), cells=[])
    for index, cell in enumerate(cells):
        notebook.cells.append(_mend(cell, known.get(claimed.get(index, "")), f"cell-{index:05d}", notes))
    _put_back(notebook, released, known, notes)
    return Repaired(notebook, notes)


def read_cells(blob: bytes) -> list[dict[str, Any]]:
    """The cells of a submitted file as plain dicts with string sources, or Unreadable."""
    if len(blob) > MOST_BYTES:
        raise Unreadable(f"The file is {len(blob) >> 20} MiB large; clear the outputs and hand it in again.")
    if not blob.strip():
        raise Unreadable("The file is empty; save the notebook and hand it in again.")
    try:
        tree = json.loads(blob.decode("utf-8-sig", errors="replace"))
        if isinstance(tree, dict) and "worksheets" in tree:  # nbformat 2 and 3
            tree = nbformat.convert(nbformat.from_dict(tree), 4)
        cells = tree["cells"]
        if not isinstance(cells, list):
            raise TypeError
    except (ValueError, RecursionError):
        raise Unreadable(
            "The file is no complete notebook: its JSON does not parse. Open it in JupyterLab and hand it in again."
        ) from None
    except Exception:
        raise Unreadable("The file is JSON, but no notebook: it has no list of cells.") from None
    return [cell for cell in map(_plain_cell, cells) if cell is not None]


def _plain_cell(cell: Any) -> dict[str, Any] | None:
    if not isinstance(cell, Mapping) or cell.get("cell_type") not in TYPES:
        return None
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    if not isinstance(source, str):
        return None
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
    name = nbgrader.get("grade_id") if isinstance(nbgrader, Mapping) else ""
    text = source.encode("utf-8", errors="replace").decode().replace("\0", "").replace("\r\n", "\n")
    return {"cell_type": str(cell["cell_type"]), "source": text, "grade_id": name if isinstance(name, str) else ""}


def _claims(cells: list[dict], known: Mapping[str, NotebookNode], notes: dict[str, str]) -> dict[int, str]:
    """Which cell stands for which id: the last of several; one without its metadata is known by its text."""
    claimed: dict[str, int] = {}
    for index, cell in enumerate(cells):
        name = cell["grade_id"]
        if name in known:
            if name in claimed:
                notes[_exercise(name)] = "This notebook had several copies of a graded cell; the last one counts."
            claimed[name] = index
    taken = set(claimed.values())
    for name, original in known.items():
        if name not in claimed and original.metadata.nbgrader.locked:
            text = original.source.strip()
            found = [i for i, c in enumerate(cells) if i not in taken and c["source"].strip() == text]
            if found:
                claimed[name] = found[-1]
                taken.add(found[-1])
    return {index: name for name, index in claimed.items()}


def _mend(cell: dict, original: NotebookNode | None, cell_id: str, notes: dict[str, str]) -> NotebookNode:
    kind = original.cell_type if original is not None else cell["cell_type"]
    # nbformat's own functions validate each cell, for a millisecond; this one is made of checked parts.
    node = NotebookNode(id=cell_id, cell_type=kind, metadata=NotebookNode(), source=cell["source"])
    if kind == "code":
        node.update(outputs=[], execution_count=None)
    if original is None:
        return node
    node.id, node.metadata = original.id, copy.deepcopy(original.metadata)
    if original.metadata.nbgrader.locked and node.source != original.source:
        if original.metadata.nbgrader.grade:
            notes[_exercise(grade_id(original))] = "This graded cell had been edited; it was put back as released."
        node.source = original.source
    return node


def _put_back(
    notebook: NotebookNode, released: NotebookNode, known: Mapping[str, NotebookNode], notes: dict[str, str]
) -> None:
    """Insert graded cells that are gone: after the exercise's own cell where that is there, else at the end."""
    for name, original in known.items():
        there = {grade_id(cell): i for i, cell in enumerate(notebook.cells)}
        if name in there or not original.metadata.nbgrader.grade:
            continue
        at = there.get(f"solution-{name}", len(notebook.cells) - 1) + 1
        notebook.cells.insert(at, copy.deepcopy(original))
        notes[name] = "This graded cell was missing; it was put back."


def _exercise(name: str) -> str:
    return re.sub(r"^(solution|experiment)-", "", name)
