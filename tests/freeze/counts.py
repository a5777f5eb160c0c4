"""How much the tests assert, counted in their syntax trees, by room: the first folder below ``tests/``."""

import ast
from collections import defaultdict
from pathlib import Path

CONTEXTS = ("raises", "warns")


def rooms_of(tests: Path) -> dict[str, dict[str, int]]:
    """Assertions and test functions by room; files beside the rooms count as room "tests". The freeze is no room."""
    rooms: dict[str, dict[str, int]] = defaultdict(lambda: {"assertions": 0, "tests": 0})
    for path in sorted(tests.rglob("*.py")):
        folder, *below = path.relative_to(tests).parts
        room = rooms[folder if below else "tests"]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        room["assertions"] += assertions(tree)
        room["tests"] += tests_in(tree) if path.name.startswith("test_") else 0
    rooms.pop("freeze", None)
    return dict(rooms)


def assertions(tree: ast.AST) -> int:
    """``assert``, calls of ``assert_close`` and its kin (``assert_...``), ``pytest.raises`` and ``pytest.warns``."""
    return sum(isinstance(node, ast.Assert) or _asserts(node) for node in ast.walk(tree))


def _asserts(node: ast.AST) -> bool:
    if isinstance(node, ast.withitem):  # `with raises(...)`; `with pytest.raises(...)` is a call like any other
        return isinstance(node.context_expr, ast.Call) and ast.unparse(node.context_expr.func) in CONTEXTS
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called.split(".")[-1].startswith("assert_") or called in [f"pytest.{name}" for name in CONTEXTS]


def tests_in(tree: ast.AST) -> int:
    """How many functions pytest would call, each counted once for all its parameters."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return sum(isinstance(node, functions) and node.name.startswith("test_") for node in ast.walk(tree))
