"""The leading stage: any bytes that a student hands in become a notebook that nbgrader can read.

Everything that nbgrader believes (points, locks, graded sources) is taken from the released notebook, never from
the submission. What was mended is told to the student.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nbformat
from nbformat import NotebookNode

from mlsys_course.desk.mend import mend
from mlsys_course.desk.receipt import NOTEBOOK_BYTES

from ..build.notebook import duplicate
from ..scoring.cells import grade_id
from .passive import attached, shown

MOST_BYTES = NOTEBOOK_BYTES
TYPES = ("code", "markdown", "raw")


@dataclass
class Repaired:
    """A submission's notebook, what was mended by exercise ("" for the whole), or why it cannot be read."""

    notebook: NotebookNode
    notes: dict[str, str] = field(default_factory=dict)
    unreadable: str = ""
    places: list[int] = field(default_factory=list)  # of each cell the number of the student's own that it is

    def to_notebook(self) -> NotebookNode:
        """With the notes in the notebook's metadata, where the run stage finds them."""
        about = {"notes": self.notes, "unreadable": self.unreadable, "places": self.places}
        self.notebook.metadata["mlsys"] = about
        return self.notebook


class Unreadable(ValueError):
    """The submitted file is no notebook; the message can be forwarded to the student."""


def repair(blob: bytes, released: NotebookNode) -> Repaired:
    """Mend a submission against the released notebook, as the desk does. Never raises on a student's bytes."""
    try:
        cells = read_cells(blob)
    except Unreadable as error:
        return Repaired(duplicate(released), {}, str(error))
    mended = mend([_node(cell) for cell in cells], released.cells)
    for index, cell in enumerate(mended.cells):
        if not grade_id(cell):
            cell.id, cell.metadata = f"cell-{index:05d}", NotebookNode()
    metadata = copy.deepcopy(released.metadata)
    notebook = NotebookNode(nbformat=4, nbformat_minor=5, metadata=metadata, cells=mended.cells)
    return Repaired(notebook, mended.notes, places=mended.places)


def _node(plain: dict[str, Any]) -> NotebookNode:
    """A cell of checked parts: nbformat's own functions validate each, for a millisecond."""
    about = {"nbgrader": NotebookNode(grade_id=plain["grade_id"])} if plain["grade_id"] else {}
    node = NotebookNode(id=plain["id"], cell_type=plain["cell_type"], metadata=NotebookNode(about))
    node.source = plain["source"]
    if plain["cell_type"] == "code":
        node.update(outputs=plain["outputs"], execution_count=None)
    elif plain["attachments"]:
        node.attachments = plain["attachments"]
    return node


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
    return [plain for number, cell in enumerate(cells, 1) if (plain := _plain_cell(cell, number)) is not None]


def _plain_cell(cell: Any, number: int) -> dict[str, Any] | None:
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
    name = name if isinstance(name, str) else ""
    own = (metadata.get("id") if isinstance(metadata, Mapping) else None) or cell.get("id")  # the first is Colab's
    text, pictures = attached(text, cell.get("attachments"), number) if cell["cell_type"] != "code" else (text, {})
    plain = {"cell_type": str(cell["cell_type"]), "source": text, "grade_id": name, "attachments": pictures}
    return {**plain, "id": own if isinstance(own, str) else "", "outputs": shown(cell.get("outputs"))}
