"""A student's copy of a lab: where it is, and a run of it from the top in a clean process."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .check.cell import RESULTS
from .check.edition import load_specification
from .errors import CourseProblem


class WorkbookError(CourseProblem):
    """The lab is not where it was looked for, or its notebook cannot be read."""


@dataclass(frozen=True)
class Found:
    """What one check came to on the public cases."""

    exercise: str
    status: str
    score: float
    max_score: float
    hints: Sequence[str] = ()


def find_lab(name: str, start: Path | None = None) -> Path:
    """The folder of ``lab02`` or ``lab02_attention``: here, below, or in ``labs/``."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *sorted(here.glob("*/")), *sorted((here / "labs").glob("*/"))):
        fits = folder.name == name or folder.name.split("_")[0] == name
        if fits and (folder / f"{folder.name}.ipynb").is_file() and (folder / "cases").is_dir():
            return folder
    raise WorkbookError(f"no lab {name!r} in {here}; call this in the folder that holds the labs, or in the lab's own")


def read_notebook(folder: Path) -> NotebookNode:
    """The notebook of a lab's folder."""
    path = folder / f"{folder.name}.ipynb"
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:
        raise WorkbookError(
            f"{path} is no readable notebook ({type(error).__name__}); restore it from .ipynb_checkpoints/ or your copy"
        ) from None


def grade_id(cell: NotebookNode) -> str:
    """nbgrader's id of a cell, or an empty string."""
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def graded_ids(notebook: NotebookNode) -> list[str]:
    """Ids of the graded code cells, in order."""
    return [
        grade_id(cell)
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade")
    ]


def candidate_names(notebook: NotebookNode) -> dict[str, str]:
    """Exercise -> the expression that its graded cell checks."""
    found = {}
    for cell in notebook.cells:
        if match := re.fullmatch(r'check\("(\w+)", (.+)\)', cell.source.strip()):
            found[match[1]] = match[2]
    return found


def run_checks(
    folder: Path, *, experiments: bool = False, seconds: int = 300, progress: Callable[[int, int], None] | None = None
) -> list[Found]:
    """Run the notebook from the top in a clean kernel; what each graded cell found, in order."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    notebook = read_notebook(folder)
    wanted = graded_ids(notebook)
    if not experiments:
        notebook.cells = [c for c in notebook.cells if not grade_id(c).startswith("experiment-")]
    total = len(notebook.cells)
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results.jsonl"
        client = NotebookClient(
            notebook,
            timeout=seconds,
            kernel_name="python3",
            extra_arguments=["--log-level=40"],  # errors only
            allow_errors=True,
            interrupt_on_timeout=True,
            resources={"metadata": {"path": str(folder)}},
            on_cell_start=(lambda cell, cell_index: progress(cell_index, total)) if progress else None,
        )
        try:
            client.execute(env={**os.environ, RESULTS: str(results)})
        except (CellTimeoutError, DeadKernelError) as error:
            raise WorkbookError(f"{folder.name}: a cell did not end ({type(error).__name__}); run it by hand") from None
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    rows = {row["exercise"]: row for row in map(json.loads, lines)}
    return [_found(folder, name, rows.get(name)) for name in wanted]


def _found(folder: Path, name: str, row: dict | None) -> Found:
    if row is None:  # the candidate's name was not defined, so the cell never reached check()
        return Found(name, "missing", 0.0, load_specification(folder, name).max_score)
    return Found(name, row["status"], row["score"], row["max_score"], row["hints"])
