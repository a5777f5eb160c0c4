"""The house: what lies in ``mlsys_course``, and who may import whom.

Components are layers in the order of ``course.toml``: each imports only those before it and the substrate. The
substrate knows neither components nor the desk; the desk knows no component, since an edition may lack it; nobody knows
the staff.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.course.imports import imports_of

ROOT = Path(__file__).resolve().parents[2]
LABS = tomllib.loads((ROOT / "course.toml").read_text())["labs"]
SYLLABUS = [lab["component"] for lab in LABS.values()]
ROOMS = ("substrate", "desk")
STAFF = ("autograder", "solutions", "labs")
INSIDE = {  # rooms within rooms: what each may import of its neighbours
    "substrate/ranks/shared": (),
    "substrate/ranks/processes": ("substrate/ranks/shared",),
    "substrate/ranks/simulator": ("substrate/ranks/shared",),
    "desk/check": ("desk/former_names", "desk/syntax"),
}


def layers_below(room: str) -> tuple[str, ...]:
    """The rooms of ``mlsys_course`` that a room may import beside itself."""
    if room == "substrate":
        return ()
    return ("substrate", *(SYLLABUS[: SYLLABUS.index(room)] if room in SYLLABUS else ()))


def violations(package: Path) -> list[str]:
    """Imports against the layers: upward, sideways, or of what students do not have."""
    known, found = {*SYLLABUS, *ROOMS}, []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package).as_posix()
        own = place.split("/")[0]
        for name in imports_of(path, package):
            top, *rest = name.split(".")
            other = rest[0] if top == package.name and rest else ""
            below = (*layers_below(own), *(["desk"] if place == "__init__.py" else []))
            if top in STAFF or (other in known and other != own and other not in below):
                found.append(f"{place} imports {name}")
            found += [f"{place} imports {name}" for _ in _indoors(place, "/".join(rest))]
    return found


def _indoors(place: str, target: str) -> Iterator[str]:
    """The inner rooms that an import leaves though it may not."""
    for room, allowed in INSIDE.items():
        around = room.rsplit("/", 1)[0] + "/"
        if place.startswith(f"{room}/") and target.startswith(around) and not target.startswith((room, *allowed)):
            yield room


def test_the_package_keeps_its_layers():
    assert violations(ROOT / "mlsys_course") == []


def test_you_see_the_syllabus_in_the_folder():
    """Beside components there are the two rooms, and nothing else."""
    found = {path.name for path in (ROOT / "mlsys_course").iterdir() if path.name != "__pycache__"}
    written = [component for component in SYLLABUS if (ROOT / "mlsys_course" / component).is_dir()]
    assert found == {*written, *ROOMS, "__init__.py", "py.typed"}


def test_the_readme_lists_the_labs_that_stand_in_the_order_of_the_syllabus():
    rows = re.findall(r"^\| \d+ .*?\[(lab\w+)\]\((\S+)\) \| \[`(\w+)`\]\((\S+)\) \| (\d+) ", _readme(), re.MULTILINE)
    stand = [(stem, lab) for stem, lab in LABS.items() if (ROOT / "solutions" / stem).is_dir()]
    assert [(row[0], row[2], int(row[4])) for row in rows] == [(s, lab["component"], lab["points"]) for s, lab in stand]
    assert all((ROOT / place).exists() for row in rows for place in (row[1], row[3]))


def _readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("attention/heads.py", "from ..transformer import Block"),
        ("attention/heads.py", "from mlsys_course.memory import scaler"),
        ("attention/heads.py", "import autograder.exercise"),
        ("attention/heads.py", "from ..desk.check import check"),
        ("desk/check/cell.py", "def f():\n    from ...attention import attention"),
        ("desk/check/cell.py", "from ..workbook import find_lab"),
        ("desk/cli.py", "import solutions"),
        ("desk/plan_view.py", "from ..accounting.plan import Plan"),
        ("substrate/plot.py", "from ..desk import progress"),
        ("substrate/graph/node.py", "from ...attention import attention"),
        ("substrate/ranks/shared/result.py", "from ..processes.run import run"),
        ("substrate/ranks/simulator/clock.py", "from ..processes.ledger import Ledger"),
        ("__init__.py", "from . import attention"),
    ],
)
def test_a_violation_is_seen(tmp_path, file, line):
    path = tmp_path / "mlsys_course" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(violations(tmp_path / "mlsys_course")) >= 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "memory/scaler.py",
            "import torch\nfrom ..attention import attention\nfrom ..substrate import graph\nfrom . import x",
        ),
        (
            "desk/plan_view.py",
            "if TYPE_CHECKING:\n    from ..accounting.plan import Plan\nfrom ..substrate import plot",
        ),
        ("desk/check/reach.py", "from ..syntax import parse\nfrom ...substrate.errors import CourseProblem"),
        ("substrate/ranks/processes/run.py", "from ..shared.result import Run\nfrom ...errors import CourseProblem"),
        ("__init__.py", "from .desk.former_names import honour"),
    ],
)
def test_what_is_allowed_is_not_a_violation(tmp_path, file, text):
    path = tmp_path / "mlsys_course" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert violations(tmp_path / "mlsys_course") == []


def test_importing_the_package_imports_no_layer():
    tree = ast.parse((ROOT / "mlsys_course" / "__init__.py").read_text())
    imported = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imported == ["from .desk.former_names import honour"]


def test_a_module_has_one_identity_under_its_former_name():
    """What a released notebook imports; its classes are the ones that the new name has."""
    import mlsys_course.check.meter as former
    import mlsys_course.graph as graph
    from mlsys_course.check import check
    from mlsys_course.device import best
    from mlsys_course.plot import COLOURS
    from mlsys_course.ranks import simulate

    import mlsys_course.desk.check.meter as meter
    import mlsys_course.substrate.graph

    assert former is meter and former.__spec__.name == "mlsys_course.desk.check.meter"
    assert graph is mlsys_course.substrate.graph and all([check, best, COLOURS, simulate])
