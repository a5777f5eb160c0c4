"""mlsys_course is layered in the order of the syllabus; a layer imports only those before it and the common floor."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYLLABUS = [lab["component"] for lab in tomllib.loads((ROOT / "course.toml").read_text())["labs"].values()]
STAFF = ("autograder", "solutions", "labs")


def imports_of(path: Path, package: Path) -> list[str]:
    """Dotted names that a file imports, relative ones resolved against ``package``'s own name."""
    here = [package.name, *path.relative_to(package).parts[:-1]]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return found


def violations(package: Path) -> list[str]:
    """Imports against the layers: upward, or of what students do not have."""
    found = []
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).parts[0].removesuffix(".py")
        rank = SYLLABUS.index(own) if own in SYLLABUS else -1  # the floor lies below all layers
        for name in imports_of(path, package):
            top, *rest = name.split(".")
            later = rest and rest[0] in SYLLABUS and SYLLABUS.index(rest[0]) > rank
            if top in STAFF or (top == package.name and later):
                found.append(f"{path.name} imports {name}")
    return found


def test_the_package_keeps_its_layers():
    assert violations(ROOT / "mlsys_course") == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("attention/heads.py", "from ..transformer import Block"),
        ("attention/heads.py", "from mlsys_course.memory import scaler"),
        ("attention/heads.py", "import autograder.exercise"),
        ("check/cell.py", "def f():\n    from ..attention import attention"),
        ("__init__.py", "from . import attention"),
        ("cli.py", "import solutions"),
    ],
)
def test_a_violation_is_seen(tmp_path, file, line):
    path = tmp_path / "mlsys_course" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(violations(tmp_path / "mlsys_course")) >= 1


def test_what_is_allowed_is_not_a_violation(tmp_path):
    path = tmp_path / "mlsys_course" / "memory" / "scaler.py"
    path.parent.mkdir(parents=True)
    path.write_text("import torch\nfrom ..attention import attention\nfrom ..check import check\nfrom . import other\n")
    assert violations(tmp_path / "mlsys_course") == []


def test_importing_the_package_imports_no_layer():
    tree = ast.parse((ROOT / "mlsys_course" / "__init__.py").read_text())
    assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
