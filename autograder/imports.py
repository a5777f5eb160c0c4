"""What Python text imports of a package, by dotted names."""

import ast
from functools import cache

from mlsys_course.desk.syntax import parse


@cache
def imports_of(source: str, package: tuple[str, ...] = ()) -> frozenset[str]:
    """Dotted names of what Python text imports, or takes of ``mlsys_course``; of what is no Python, its import lines.

    ``from a import b`` gives ``a.b``, a module or not. ``package`` resolves relative imports, of files that lie
    directly in it.
    """
    try:
        tree = parse(source)
    except SyntaxError:  # a notebook's magic, or a mistake that the build names
        tree = parse("\n".join(line for line in source.split("\n") if _starts_import(line)))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "take" and node.args:
            component = node.args[0]
            found.update({f"mlsys_course.{component.value}"} if isinstance(component, ast.Constant) else ())
    return frozenset(found)


def _starts_import(line: str) -> bool:
    """Whether a line is an import that stands alone and parses."""
    if not line.startswith(("import ", "from ")):
        return False
    try:
        parse(line)
    except SyntaxError:
        return False
    return True
