"""A student at the notebook: edits a released lab as somebody in JupyterLab would."""

import nbformat
from nbformat import NotebookNode

from ..build.notebook import duplicate
from ..scoring.cells import grade_id


class Student:
    """One copy of the released notebook, and what is typed into it."""

    def __init__(self, released: NotebookNode, solution: NotebookNode):
        self.notebook: NotebookNode = duplicate(released)
        self.answers = {grade_id(cell): cell.source for cell in solution.cells if grade_id(cell)}

    def _index(self, name: str) -> int:
        return next(i for i, cell in enumerate(self.notebook.cells) if grade_id(cell) == name)

    def exercises(self) -> list[str]:
        """Ids of the solution cells, in order."""
        names = [grade_id(cell) for cell in self.notebook.cells]
        return [name.removeprefix("solution-") for name in names if name.startswith("solution-")]

    def write(self, exercise: str, source: str) -> "Student":
        """Type into an exercise's cell."""
        self.notebook.cells[self._index(f"solution-{exercise}")].source = source
        return self

    def solve(self, *exercises: str) -> "Student":
        """Type the right answer into the named exercises; all of them where none is named."""
        for exercise in exercises or self.exercises():
            answer = self.answers[f"solution-{exercise}"]
            lines = [line for line in answer.split("\n") if not line.strip().startswith("### ")]
            self.write(exercise, "\n".join(lines))
        return self

    def replace(self, exercise: str, old: str, new: str) -> "Student":
        """Change a piece of what stands in an exercise's cell."""
        cell = self.notebook.cells[self._index(f"solution-{exercise}")]
        assert old in cell.source, f"{old!r} is not in {exercise}"
        cell.source = cell.source.replace(old, new)
        return self

    def insert_after(self, name: str, source: str) -> "Student":
        """A new code cell below the cell with this nbgrader id."""
        self.notebook.cells.insert(self._index(name) + 1, nbformat.v4.new_code_cell(source, id=f"own-{name[:40]}"))
        return self

    def delete(self, name: str) -> "Student":
        """Delete a cell."""
        del self.notebook.cells[self._index(name)]
        return self

    def paste_copy(self, name: str) -> "Student":
        """Copy a cell and paste it below: JupyterLab keeps its metadata."""
        index = self._index(name)
        copied = duplicate(self.notebook.cells[index])
        copied.id = f"{name[:40]}-copy"
        self.notebook.cells.insert(index + 1, copied)
        return self

    def edit(self, name: str, source: str) -> "Student":
        """Write over any cell, a locked one too: a text editor can."""
        self.notebook.cells[self._index(name)].source = source
        return self

    def hand_in(self) -> bytes:
        """The file's bytes."""
        return nbformat.writes(self.notebook).encode()
