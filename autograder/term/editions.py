"""What a lab's edition leaves out, and whether the lab can do without it.

**The rule.** A lab's edition withholds its own component and that of every later lab that ``course.toml`` names,
unless the lab's line says ``withholds``. It also withholds every component that imports a withheld one, taught or not:
it would be broken, and may show how the withheld one is used. All else is in the edition. So an instructor may leave
labs out: what a lab that is not taught would have built is in every edition, as a reference. What a lab's notebook and
drivers import (or ``take``) must be in its edition; ``exercises.py`` stays with the staff and may import everything.
"""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import mlsys_course
from mlsys_course.desk.syntax import parse

ROOMS = ("desk", "substrate")  # what is not taught, and what components stand on: in every edition


def package_folder() -> Path:
    """Where the full ``mlsys_course`` is installed."""
    return Path(mlsys_course.__file__).parent


def components() -> list[str]:
    """The components there are."""
    rooms = [path.parent.name for path in package_folder().glob("*/__init__.py")]
    return sorted(room for room in rooms if room not in ROOMS)


def withheld(taught: Mapping[str, str], stem: str, named: Iterable[str] | None = None) -> list[str]:
    """Components that a lab's edition leaves out. ``taught`` is lab -> component in order, ``named`` its ``withholds``.

    In the order of the syllabus; what follows from an import stands behind.
    """
    later = list(taught)[list(taught).index(stem) :]
    found = [taught[lab] for lab in later] if named is None else list(dict.fromkeys(named))
    users = _users()
    for component in found:  # grows while it is walked
        found += sorted(users.get(component, frozenset()) - set(found))
    return found


@cache
def _users() -> dict[str, frozenset[str]]:
    """Component -> the components that import it."""
    known = components()
    used = {name: _imported_by(name) & set(known) for name in known}
    return {name: frozenset(user for user in known if name in used[user] and user != name) for name in known}


def _imported_by(component: str) -> set[str]:
    files = (package_folder() / component).rglob("*.py")
    return set().union(*(imported(path.read_text(encoding="utf-8"), ("mlsys_course", component)) for path in files))


def imported(source: str, package: tuple[str, ...] = ()) -> set[str]:
    """Rooms of ``mlsys_course`` that Python text imports or takes; none where it is no Python.

    ``package`` resolves relative imports, of files that lie directly in it.
    """
    try:
        tree = parse(source)
    except SyntaxError:  # a notebook's magic, or a mistake that the build names
        tree = parse("\n".join(line for line in source.split("\n") if _starts_import(line)))
    found: set[str] = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "take" and node.args:
            names = [f"mlsys_course.{node.args[0].value}"] if isinstance(node.args[0], ast.Constant) else []
        found |= {parts[1] for name in names if (parts := name.split("."))[0] == "mlsys_course" and len(parts) > 1}
    return found


def _starts_import(line: str) -> bool:
    """Whether a line is an import that stands alone and parses."""
    if not line.startswith(("import ", "from ")):
        return False
    try:
        parse(line)
    except SyntaxError:
        return False
    return True
