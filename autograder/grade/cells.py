"""From a notebook to what the engine runs."""

import ast
from collections.abc import Mapping

from nbformat import NotebookNode

from ..sandbox import Cell


def graded_cells(released: NotebookNode) -> dict[str, str]:
    """Graded code cells of a released notebook: exercise -> the candidate's expression."""
    found = {}
    for cell in released.cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade"):
            (statement,) = ast.parse(cell.source).body
            assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
            found[cell.metadata.nbgrader.grade_id] = ast.unparse(statement.value.args[1])
    return found


def grade_id(cell: NotebookNode) -> str:
    """nbgrader's id of a cell, or an empty string."""
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that the engine is given, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


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
