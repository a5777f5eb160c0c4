"""From lab to lab: a student's own functions that pass, kept in ``my_mlsys/`` and taken from there later."""

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .check.reach import parse_cell, reach, used_names_of
from .errors import CourseProblem
from .workbook import candidate_names, grade_id, read_notebook, run_checks

HEADER = '"""Your own parts from {stem}, written by `mlsys carry`. Edit the notebook, not this file."""\n\n'
VERIFY = """
import importlib, json, sys
from pathlib import Path
from mlsys_course.check.cell import verdict_on
sys.path.insert(0, sys.argv[1])
module = importlib.import_module("my_mlsys." + sys.argv[2])
names = json.loads(sys.argv[4])
print(json.dumps([e for e, n in names.items() if verdict_on(e, eval(n, vars(module)), Path(sys.argv[3])).ok]))
"""


class CarryError(CourseProblem):
    """A part that cannot be carried, or is nowhere to be had."""


def carry(folder: Path, workspace: Path) -> dict[str, str]:
    """Write the passing functions of a lab to ``workspace/my_mlsys/<component>.py``; exercise -> what became of it.

    Each is carried with what it depends on, and checked once more from the written file in a clean process.
    """
    notebook, stem = read_notebook(folder), folder.name
    component = stem.split("_", 1)[1]
    names = candidate_names(notebook)
    became = {found.exercise: found.status for found in run_checks(folder)}
    skip = [c for c in notebook.cells if grade_id(c) in names or grade_id(c).startswith("experiment-")]
    sources = [c.source for c in notebook.cells if c.cell_type == "code" and c not in skip]
    passing = {e: names[e] for e, status in became.items() if status == "ok" and _is_code(sources, names[e])}
    while passing:
        text = HEADER.format(stem=stem) + module_text(sources, passing)
        target = _write(workspace / "my_mlsys", component, text)
        kept = _verified(workspace, component, folder, passing)
        if set(kept) == set(passing):
            return {e: f"carried to {target.name}" if e in kept else s for e, s in became.items() if e in names}
        became |= dict.fromkeys(passing, "works only in the notebook: it needs names that its cells do not define")
        passing = {e: passing[e] for e in kept}
    return became


def module_text(sources: list[str], names: dict[str, str]) -> str:
    """The definitions that the named expressions reach, in notebook order, notebook-only lines left out."""
    roots = set().union(*(used_names_of(expression) for expression in names.values()))
    return reach(sources, roots).source()


def _is_code(sources: list[str], expression: str) -> bool:
    """Whether an expression is a function or class of the notebook's, not a choice's answer."""
    defined = {s.name for t in sources for s in parse_cell(t) if isinstance(s, ast.FunctionDef | ast.ClassDef)}
    return expression in defined


def _write(folder: Path, component: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    package = folder / "__init__.py"
    if not package.exists():
        package.write_text('"""Parts of the course that are your own work."""\n', encoding="utf-8")
    target = folder / f"{component}.py"
    if target.exists():
        old = target.read_text(encoding="utf-8")
        if "`mlsys carry`" not in old.split("\n", 1)[0]:  # somebody's own file: kept beside
            target.rename(target.with_suffix(".py.mine"))
    scratch = target.with_suffix(".py.writing")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(target)
    return target


def _verified(workspace: Path, component: str, folder: Path, names: dict[str, str]) -> list[str]:
    command = [sys.executable, "-c", VERIFY, str(workspace), component, str(folder), json.dumps(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        if len(names) == 1:
            return []
        return [e for e, n in names.items() if _alone(workspace, component, folder, e, n)]
    return json.loads(done.stdout.strip().split("\n")[-1])


def _alone(workspace: Path, component: str, folder: Path, exercise: str, name: str) -> bool:
    return bool(_verified(workspace, component, folder, {exercise: name}))


def take(component: str, name: str, *, quiet: bool = False) -> Any:
    """A part by name: the student's own from ``my_mlsys/`` where it is, else the course's; says which."""
    for package, whose in (("my_mlsys", "your own"), ("mlsys_course", "the course's")):
        if not package.startswith("mlsys") and str(Path.cwd().parent) not in sys.path:
            sys.path.append(str(Path.cwd().parent))  # my_mlsys/ lies beside the labs' folders
        try:
            part = getattr(importlib.import_module(f"{package}.{component}"), name)
        except (ImportError, AttributeError):
            continue
        if not quiet:
            print(f"{component}.{name}: {whose}")
        return part
    raise CarryError(f"no {component}.{name} in my_mlsys/ or mlsys_course; finish that lab and call `mlsys carry`")
