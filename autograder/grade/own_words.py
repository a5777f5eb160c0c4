"""What a student reads of the grading run of a cell: our own words, and none that the run could choose.

Whatever a run shows might have been told to it by another submission that saw sealed inputs. So of a run there is only
whether a cell stopped, and at what: a class from a fixed list, a module that the cell's own text imports.
"""

import ast
import re
from collections.abc import Sequence

from mlsys_course.desk.syntax import bound, parse

from ..sandbox import Cell, CellRun
from ..sandbox.said import EXCEPTIONS

KNOWN = EXCEPTIONS | {"OutOfMemoryError", "LinAlgError", "AcceleratorError", "DistBackendError"}  # and PyTorch's
IMPORTS = ("ImportError", "ModuleNotFoundError")
OWN = "an exception of its own"
STOPPED = {"timeout": "longer than grading allows", "error": "more than grading allows, or the end of its process"}


def stopped(source: str, run: CellRun | None) -> str:
    """At what a cell stopped; empty where it did not."""
    if run is None or run.status not in STOPPED:
        return ""
    error = next((output for output in run.outputs if output.get("output_type") == "error"), None)
    if error is None or run.status == "timeout":
        return STOPPED[run.status]
    name = error["ename"] if error["ename"] in KNOWN else OWN
    if name == "SyntaxError" and (message := _unparsable(source)):
        return f"SyntaxError: {message}"  # as we read the text, whatever the run said
    named = [module for module in _imported(source) if f"'{module}'" in error["evalue"]]
    return f"{name}: {named[0]}" if named and name in IMPORTS else name


def first_stopped(cells: Sequence[Cell], runs: Sequence[CellRun], numbers: Sequence[int]) -> str:
    """The first cell that stopped and whose names are used elsewhere: its number in the notebook, and at what."""
    for at, (cell, run, number) in enumerate(zip(cells, runs, numbers, strict=False)):
        if cell.exercise or cell.skip or not (words := stopped(cell.source, run)):
            continue
        others = " ".join(f"{other.source} {other.candidate}" for n, other in enumerate(cells) if n != at)
        if run.status == "timeout" or bound(cell.source) & set(re.findall(r"\w+", others)):
            return f"cell {number} stopped first: {words}"
    return ""


def _unparsable(source: str) -> str:
    try:
        parse(source)
    except SyntaxError as error:
        return error.msg
    except (ValueError, RecursionError, MemoryError):
        pass
    return ""


def _imported(source: str) -> list[str]:
    """Modules by the names that import statements give, and the packages that they lie in."""
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return [".".join(name.split(".")[:depth]) for name in found for depth in range(1, name.count(".") + 2)]
