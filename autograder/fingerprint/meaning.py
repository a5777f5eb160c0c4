"""Text without what changes nothing: equal for two texts that differ in comments, docstrings and layout only."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mlsys_course.desk.syntax import parse

DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def meaning_of(path: Path) -> bytes:
    """Of a Python file its code; any other file is its bytes."""
    return meaning(path.read_text(encoding="utf-8")).encode() if path.suffix == ".py" else path.read_bytes()


@cache
def meaning(text: str) -> str:
    """What Python text does, the same on every version of Python; what does not parse is itself."""
    try:
        return _said(parse(text))
    except SyntaxError:
        return text


@cache
def meaning_of_notebook(text: str) -> str:
    """Of a percent notebook: code by what it does, Markdown as it stands, since students read it."""
    cells = re.split(r"^(?=# %%)", text, flags=re.MULTILINE)
    return "".join(map(_meaning_of_cell, cells))


def _meaning_of_cell(cell: str) -> str:
    head, _, body = cell.partition("\n")
    return f"{head}\n{meaning(body)}\n" if head.startswith("# %%") and "[markdown]" not in head else cell


def _said(node: Any) -> str:
    """A tree as text. ``ast.dump`` and ``ast.unparse`` write other texts in other versions."""
    if isinstance(node, ast.AST):
        return f"{type(node).__name__}({', '.join(f'{name}={_said(value)}' for name, value in _fields(node))})"
    return f"[{', '.join(map(_said, node))}]" if isinstance(node, list) else repr(node)


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """All that says something; a later version's new fields are empty in what an earlier one can parse."""
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            value = value[1:]
        if isinstance(node, ast.JoinedStr):  # Python 3.12 leaves empty texts in it
            value = [part for part in value if not (isinstance(part, ast.Constant) and part.value == "")]
        if value is not None and value != []:
            yield name, value
