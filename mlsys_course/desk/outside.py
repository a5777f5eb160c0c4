"""What a notebook uses that grading does not have: packages of one's own, files beside the notebook."""

import ast
import functools
import importlib.metadata
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nbformat import NotebookNode

from .environment import PACKAGES
from .recognise import grade_id

FROM = re.compile(r"^[ \t]*(?:from|import)[ \t]+([^#\n]+)", re.MULTILINE)
OURS = {"mlsys_course", "my_mlsys", "drivers"}
WINDOWS = re.compile(
    r"^[ \t]*%matplotlib[ \t]+(?!inline\b|agg\b|-)(\w+)|matplotlib\.use\([\"'](?!module:|agg|Agg)(\w+)", re.MULTILINE
)


def outside(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    """In words, by cell, what is imported and will not be there when the lab is graded."""
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code" or grade_id(cell).startswith("experiment-"):
            continue
        for module in dict.fromkeys(imported(cell.source)):
            beside = f"{module}.py" if (folder / f"{module}.py").is_file() else module
            if (folder / beside).exists() and module not in OURS:
                yield (
                    f"Cell {number} imports {beside}, which lies beside the notebook and is not handed in: "
                    "move what you use of it into a cell."
                )
            elif not graded_with(module):
                yield (
                    f"Cell {number} imports {module}, which is no part of the course's environment: "
                    "grading does not have it, and what the cell defines is lost there."
                )
        if match := WINDOWS.search(cell.source):
            yield (
                f"Cell {number} asks for windows ({match[1] or match[2]}), which grading does not have: "
                "use %matplotlib inline."
            )


def imported(source: str) -> list[str]:
    """Modules that a cell imports when it runs, by their first name; not those that it can do without."""
    named = {word.split(".")[0] for line in FROM.findall(source) for word in re.findall(r"[\w.]+", line)}
    if all(map(graded_with, named)):
        return []
    from .check.reading import read  # it imports torch, which takes seconds

    found, waiting = list[str](), list[ast.AST](read(source).statements)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import):
            found += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module.split(".")[0])
        elif not isinstance(node, ast.Try):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


def graded_with(module: str) -> bool:
    """Whether a module is Python's, the course's, or of a package that the course needs."""
    if module in sys.stdlib_module_names or module in OURS:
        return True
    owners = _owners().get(module, [])
    return any(_plain(name) in _needed() for name in owners)


@functools.cache
def _owners() -> Mapping[str, Sequence[str]]:
    return importlib.metadata.packages_distributions()


@functools.cache
def _needed() -> set[str]:
    """The course's packages, and all that these need."""
    found: set[str] = set()
    waiting = [*PACKAGES, "mlsys-course"]
    while waiting:
        name = _plain(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            wants = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [match[0] for want in wants if (match := re.match(r"[\w.-]+", want)) and _applies(want)]
    return found


def _applies(want: str) -> bool:
    """Of extras only the course's data counts."""
    extra = re.search(r"extra\s*==\s*[\"'](\w+)", want)
    return extra is None or extra[1] == "data"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
