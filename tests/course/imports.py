"""What a file imports, for the rules of who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path


def imports_of(path: Path, package: Path) -> list[str]:
    """Dotted names that a file imports when it runs, relative ones resolved against ``package``'s own name."""
    here = [package.name, *path.relative_to(package).parts[:-1]]
    found = []
    for node in _running(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _running(child)
