"""From lab to lab: a student's own functions that pass, kept in ``my_mlsys/`` and taken from there later."""

import hashlib
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..substrate.errors import CourseProblem
from .check.reach import bound_names, parse_cell, reach, used_names_of
from .workbook import candidate_names, grade_id, mended_notebook, run_checks
from .workspace import HIDDEN, save

HEADER = '"""Your own parts from {stem}, written by `mlsys carry` ({digest}). Edit the notebook, not this file."""\n\n'
CARRIED = re.compile(r'"""Your own parts from \w+, written by `mlsys carry` \((\w+)\)\..*')
PACKAGE = '"""Parts of the course that are your own work."""\n'
SECONDS = 300  # for one check of the written file
VERIFY = """
import importlib, json, sys
from pathlib import Path
from mlsys_course.desk.check.cell import verdict_on
sys.path.insert(0, sys.argv[1])
module = importlib.import_module("my_mlsys." + sys.argv[2])
names = json.loads(sys.argv[4])
print(json.dumps([e for e, n in names.items() if verdict_on(e, eval(n, vars(module)), Path(sys.argv[3])).ok]))
"""


class CarryError(CourseProblem):
    """A part that cannot be carried, or is nowhere to be had."""


def carry(folder: Path, workspace: Path) -> dict[str, str]:
    """Write the passing functions of a lab to ``workspace/my_mlsys/<component>.py``; exercise -> what became of it.

    Each is carried with what it depends on, and checked once more from a written file in a clean process. What an
    earlier carry wrote is replaced only by what was checked; a file that somebody edited is kept beside it.
    """
    (notebook, _), stem = mended_notebook(folder), folder.name
    component = stem.split("_", 1)[1]
    names = candidate_names(notebook)
    checked = run_checks(folder)
    became = {found.exercise: found.status for found in checked}
    answers = [found.exercise for found in checked if found.recorded]
    skip = [c for c in notebook.cells if grade_id(c) in names or grade_id(c).startswith("experiment-")]
    sources = [c.source for c in notebook.cells if c.cell_type == "code" and c not in skip]
    passing = {e: names[e] for e, status in became.items() if status == "ok" and e not in answers}
    for exercise in [e for e in passing if not _is_code(sources, names[e])]:
        became[exercise] = f"passes, and is not carried: no cell defines {passing.pop(exercise)} by def, class or ="
    became |= dict.fromkeys(answers, "recorded; an answer is nothing to carry")
    while passing:
        body = module_text(sources, passing)
        kept = _verified(workspace, component, folder, passing, body)
        if set(kept) == set(passing):
            target = _write(workspace / "my_mlsys", component, stem, body)
            return {e: f"carried to {target.name}" if e in kept else s for e, s in became.items() if e in names}
        became |= dict.fromkeys(passing, "works only in the notebook: it needs names that its cells do not define")
        passing = {e: passing[e] for e in kept}
    return became


def module_text(sources: list[str], names: dict[str, str]) -> str:
    """The definitions that the named expressions reach, in notebook order, notebook-only lines left out."""
    roots = set().union(*(used_names_of(expression) for expression in names.values()))
    return reach(sources, roots).source()


def _is_code(sources: list[str], expression: str) -> bool:
    """Whether a cell gives the name a meaning: a function, a class, a lambda, an instance."""
    return expression in {name for text in sources for one in parse_cell(text) for name in bound_names(one)}


def _write(folder: Path, component: str, stem: str, body: str) -> Path:
    """Write the carried file; one that is not as ``mlsys carry`` left it is somebody's own work, kept beside."""
    if not (folder / "__init__.py").exists():
        save(folder / "__init__.py", PACKAGE.encode())
    target, data = folder / f"{component}.py", (HEADER.format(stem=stem, digest=_digest(body)) + body).encode()
    if target.exists() and not untouched(target.read_text(encoding="utf-8", errors="replace")):
        numbers = ["", *map(str, range(2, 1000))]
        mine = next(p for n in numbers if not (p := target.with_suffix(f".py.mine{n}")).exists())
        target.rename(mine)
    elif target.exists() and (old := target.read_bytes()) != data:  # it may hold more functions than pass today
        before = (
            folder.parent / HIDDEN / "before" / "my_mlsys" / f"{component}-{hashlib.sha256(old).hexdigest()[:8]}.py"
        )
        save(before, old)
    save(target, data)
    return target


def untouched(text: str) -> bool:
    """Whether a file of ``my_mlsys/`` is as ``mlsys carry`` wrote it."""
    first, _, body = text.partition("\n\n")
    match = CARRIED.fullmatch(first)
    return bool(match) and match[1] == _digest(body)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:12]


def _verified(workspace: Path, component: str, folder: Path, names: dict[str, str], body: str) -> list[str]:
    """Which of the named functions pass from a file that holds ``body``, with the other parts beside it."""
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "my_mlsys"
        if (workspace / "my_mlsys").is_dir():
            shutil.copytree(workspace / "my_mlsys", package, ignore=shutil.ignore_patterns("__pycache__"))
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        (package / f"{component}.py").write_text(body, encoding="utf-8", newline="\n")
        passing = _passing(scratch, component, folder, names)
        if passing is None:  # one of them ends Python or does not import: each for itself
            passing = [e for e, n in names.items() if _passing(scratch, component, folder, {e: n})]
    return passing


def _passing(scratch: str, component: str, folder: Path, names: dict[str, str]) -> list[str] | None:
    command = [sys.executable, "-c", VERIFY, scratch, component, str(folder.resolve()), json.dumps(names)]
    utf8 = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=utf8, capture_output=True, encoding="utf-8", check=False, timeout=SECONDS
        )
        return None if done.returncode else json.loads(done.stdout.strip().split("\n")[-1])
    except (subprocess.TimeoutExpired, ValueError):
        return None


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
        _record(f"{component}.{name}", whose)
        return part
    raise CarryError(f"no {component}.{name} in my_mlsys/ or mlsys_course; finish that lab and call `mlsys carry`")


def _record(part: str, whose: str) -> None:
    """Tell ``mlsys check``, where it runs the notebook, which part was taken from where."""
    from .check.cell import RESULTS

    if path := os.environ.get(RESULTS):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"part": part, "whose": whose}) + "\n")
