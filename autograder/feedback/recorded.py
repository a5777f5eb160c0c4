"""What grading recorded in a student's notebook: their text, our facts, what their own cells stopped with."""

from functools import cached_property
from typing import Any

from nbformat import NotebookNode

from mlsys_course.desk.workbook import grade_id

MOST_LINE = 200  # characters
NO_FACTS: dict[str, Any] = {"kind": "open", "status": "", "hints": [], "note": "", "line": None, "parts": []}


class Recorded:
    """A notebook from ``autograded/``. ``unreadable`` says why, where what was handed in could not be read."""

    def __init__(self, notebook: NotebookNode):
        about = notebook.metadata.get("mlsys", {})
        self.unreadable: str = about.get("unreadable", "")
        self.first: str = about.get("stopped", "")
        self.note: str = about.get("notes", {}).get("", "")
        self.cells = notebook.cells

    @cached_property
    def _named(self) -> dict[str, NotebookNode]:
        return {name: cell for cell in self.cells if (name := grade_id(cell))}

    def source(self, name: str) -> str:
        """The text of the cell with this grade id."""
        return self._named[name].source if name in self._named else ""

    def pictures(self, name: str) -> list[str]:
        """The pictures in an answer, which intake made PNG, as base64."""
        bundles = self._named[name].get("attachments", {}).values() if name in self._named else ()
        return [bundle["image/png"] for bundle in bundles]

    def facts(self, name: str) -> dict[str, Any]:
        """What grading told of a graded cell; nothing of one that a person grades."""
        return next((o.metadata.mlsys for o in self._outputs(name) if "mlsys" in o.get("metadata", {})), NO_FACTS)

    def error(self, name: str) -> str:
        """What a student's own cell stopped with when it ran, in our words."""
        return self._named[name].metadata.get("mlsys", {}).get("stopped", "") if name in self._named else ""

    def stopped(self, own: str, place: list | None) -> tuple[int, str]:
        """The line of an exercise's own cell where its code stopped; or 0, and the text of a line of another cell."""
        cell_id, line = place or ("", 0)
        cell = next((cell for cell in self.cells if cell.get("id") == cell_id), None)
        lines = cell.source.split("\n") if cell is not None else []
        if cell is None or not 1 <= line <= len(lines):
            return 0, ""
        return (line, "") if grade_id(cell) == own else (0, lines[line - 1].strip()[:MOST_LINE])

    def _outputs(self, name: str) -> list[NotebookNode]:
        return self._named[name].get("outputs", []) if name in self._named else []
