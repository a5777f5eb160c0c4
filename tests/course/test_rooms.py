"""The rooms of ``autograder``, a folder or a file each: a room imports only those before it in one list."""

from pathlib import Path

import pytest

from tests.course.imports import imports_of

STAFF = Path(__file__).resolve().parents[2] / "autograder"
ROOMS = {  # lowest first: what each is
    "errors": "what a person who runs the course must mend",
    "files": "read with care",
    "lock": "one process at a time",
    "machine": "what no submission can help",
    "untrusted": "students' text, made safe to show",
    "templates": "pages from templates",
    "screen": "the console",
    "draw": "numbers from a secret",
    "crossing": "configurations in which every two switches meet",
    "imports": "what Python text imports",
    "term": "course.toml and secrets",
    "exercise": "what a lab asks",
    "mutated": "wrong versions of right ones",
    "course": "the labs on disk",
    "fingerprint": "what proofs and grades depend on",
    "cases": "specifications with cases",
    "parts": "stand-ins of composites",
    "sandbox": "where submissions run",
    "scoring": "what decides points",
    "build": "solutions to editions, proven",
    "mutate": "wrong versions against the cases",
    "catalogue": "all exercises, listed",
    "release": "editions to zips",
    "collect": "zips to submissions",
    "nbgrader_config": "nbgrader's extension points",
    "feedback": "pages for students",
    "grade": "submissions to the gradebook",
    "demo": "the whole path, shown",
    "doctor": "what is missing here",
    "authoring": "the authors' commands",
    "term_commands": "the commands of a term",
    "cli": "all commands",
}


def violations(package: Path) -> list[str]:
    """Imports of a room that stands below in the list, or of one that does not stand in it."""
    order, found = list(ROOMS), []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        own = place.parts[0].removesuffix(".py")
        for name in imports_of(path, package):
            top, *rest = name.split(".")
            if top != package.name or not rest or rest[0] == own:
                continue
            if own not in order or rest[0] not in order[: order.index(own)]:
                found.append(f"{place.as_posix()} imports {name}")
    return found


def test_a_room_imports_only_rooms_before_it():
    assert violations(STAFF) == []


def test_the_list_names_all_rooms():
    rooms = {path.stem for path in STAFF.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("build/proof.py", "from ..grade.record import Recorder"),
        ("build/proof.py", "def f():\n    import autograder.grade"),
        ("feedback/page.py", "if True:\n    from autograder.grade.run import Row"),
        ("demo/show.py", "from .. import cli"),
        ("term/secret.py", "from ..course import find_root"),
        ("sandbox/inside/child.py", "from ...scoring.cells import cells_of"),
        ("scoring/score.py", "from ..attic import everything"),
        ("attic.py", "from .errors import CourseError"),
    ],
)
def test_a_violation_is_seen(tmp_path, file, text):
    assert len(violations(_house(tmp_path, file, text))) >= 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("grade/run.py", "from ..build.notebook import render\nfrom .session import Session\nfrom . import record"),
        ("feedback/out.py", "if TYPE_CHECKING:\n    from ..grade.record import Recorder\nimport torch"),
        ("sandbox/inside/child.py", "from ..contract import Cell\nfrom mlsys_course.desk import check"),
        ("cli.py", "from .grade import run"),
    ],
)
def test_what_is_allowed_is_not_a_violation(tmp_path, file, text):
    assert violations(_house(tmp_path, file, text)) == []


def _house(folder: Path, file: str, text: str) -> Path:
    path = folder / "autograder" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return folder / "autograder"
