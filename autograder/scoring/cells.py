"""From a notebook to what the engine runs."""

import ast
from collections.abc import Mapping

from nbformat import NotebookNode

from mlsys_course.desk.syntax import parse
from mlsys_course.desk.workbook import grade_id

from ..sandbox import Cell

__all__ = ["cells_of", "code_cells", "grade_id", "graded_cells", "numbers_of"]


def graded_cells(released: NotebookNode) -> dict[str, str]:
    """Graded code cells of a released notebook: exercise -> the candidate's expression."""
    found = {}
    for cell in released.cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade"):
            (statement,) = parse(cell.source).body
            assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
            found[cell.metadata.nbgrader.grade_id] = ast.unparse(statement.value.args[1])
    return found


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that the engine is given, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def numbers_of(notebook: NotebookNode) -> list[int]:
    """Of each code cell of a repaired notebook, the number of the student's own cell that it is or stands behind."""
    places = notebook.metadata.get("mlsys", {}).get("places") or range(1, len(notebook.cells) + 1)
    return [n for n, cell in zip(places, notebook.cells, strict=False) if cell.cell_type == "code"]


def cells_of(notebook: NotebookNode, candidates: Mapping[str, str]) -> list[Cell]:
    """A repaired notebook's code cells: graded ones by id, experiments skipped."""
    cells = []
    for cell in code_cells(notebook):
        name = grade_id(cell)
        if name in candidates:
            cells.append(Cell(cell.source, exercise=name, candidate=candidates[name]))
        else:
            cells.append(Cell(cell.source, skip=name.startswith("experiment-")))
    return cells
