"""A small edition, an engine over it, and a trusted side, for real runs."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from autograder.exercise import Part
from autograder.parts import evaluate
from autograder.sandbox import Call, Cell, Engine, SandboxUnavailable, probe
from mlsys_course.desk.check import Case, Outcome, Specification, encode
from mlsys_course.desk.check.edition import specification_to_bytes

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = '''
"""Drivers of the exercises that the sandbox's tests use."""

import torch

from mlsys_course.desk.check import driver


@driver
def double(candidate, case):
    return {"y": candidate(case["x"])}


@driver
def triple(candidate, case):
    return {"y": candidate(case["x"])}


@driver(parts={"square": lambda x, power=2: x**power})
def sum_of_squares(candidate, case, square):
    x = case["x"].clone().requires_grad_()
    y = candidate(x, square)
    y.backward()
    return {"y": y, "gradient": x.grad}
'''
MARK = 987654.0  # stands in sealed inputs and nowhere else
RIGHT = {
    "double": "def double(x):\n    return 2 * x",
    "triple": "def triple(x):\n    return 3 * x",
}


def make_edition(folder: Path) -> Path:
    """An edition with two functions, a composite and a choice."""
    package = folder / "python" / "mlsys_course"
    package.mkdir(parents=True)
    (folder / "lab" / "cases").mkdir(parents=True)
    shutil.copy(ROOT / "mlsys_course" / "__init__.py", package)
    for name in ("desk", "substrate"):
        shutil.copytree(ROOT / "mlsys_course" / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "lab" / "drivers.py").write_text(DRIVERS)
    case = Case("public", "values", {"x": torch.ones(2)}, {"y": torch.ones(2)})
    specifications = [
        Specification("double", "core", {"values": 1.0}, [case], forbidden=("torch.einsum",)),
        Specification("triple", "core", {"values": 1.0}, [case]),
        Specification("sum_of_squares", "core", {"values": 1.0}, [case]),
        Specification("pick", "choice", {"answer": 1.0}, options=("a", "b")),
    ]
    for specification in specifications:
        path = folder / "lab" / "cases" / f"{specification.id}.safetensors"
        path.write_bytes(specification_to_bytes(specification))
    return folder


RANKED_DRIVER = """

@driver(ranks=True)
def ring(candidate, case, comm):
    return {"y": candidate(case["x"], comm)}
"""


def make_ranked_edition(folder: Path) -> Path:
    """The same with a function for several ranks."""
    make_edition(folder)
    drivers = folder / "lab" / "drivers.py"
    drivers.write_text(drivers.read_text() + RANKED_DRIVER)
    case = Case("public", "values", {"ranks": [{"x": torch.ones(2)}]}, {"rank 0": {"y": torch.ones(2)}})
    blob = specification_to_bytes(Specification("ring", "core", {"values": 1.0}, [case]))
    (folder / "lab" / "cases" / "ring.safetensors").write_bytes(blob)
    return folder


SQUARE = Part(lambda x, power=2: x**power, work=lambda x, power=2: x.numel(), most=1000)


@dataclass
class Teacher:
    """The trusted side: sealed calls by exercise, and one part."""

    given: Mapping[str, Sequence[Call]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def calls(self, exercise: str) -> Sequence[Call]:
        if exercise in self.given:
            return self.given[exercise]
        if exercise == "pick":
            return [Call("answer", encode({}))]
        return [Call(f"case {n}", encode({"x": torch.full((n,), MARK)}), seconds=3.0) for n in (1, 2, 3)]

    def parts(self, exercise: str) -> Sequence[str]:
        return ("double",) if exercise == "sum_of_squares" else ()

    def settled(self, exercise: str, outcomes: Mapping[str, Outcome]) -> bool:
        return not any(outcome.problem for outcome in outcomes.values())

    def earned(self, exercise: str, outcomes: Mapping[str, Outcome]) -> Sequence[str]:
        return [key for key, outcome in outcomes.items() if not outcome.problem]

    def part(self, exercise: str, name: str, request: bytes) -> bytes:
        if name != "square":
            raise ValueError(f"no part {name!r}")
        self.asked.append(exercise)
        return evaluate(SQUARE, request)


def graded(exercise: str, candidate: str = "") -> Cell:
    """A graded cell."""
    return Cell(f'check("{exercise}", {candidate or exercise})', exercise, candidate or exercise)


def is_right(outcomes: Mapping, factor: float) -> bool:
    """Whether all outcomes are ``factor`` times the teacher's inputs."""
    values = [o.outputs["y"] if not o.problem else None for o in outcomes.values()]
    return len(values) == 4 and all(v is not None and bool((v == factor * MARK).all()) for v in values)


@pytest.fixture(scope="session")
def edition() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mlsys-test-edition-"))
    folder.chmod(0o755)
    yield make_edition(folder / "edition")
    shutil.rmtree(folder)


def sealed(edition: Path) -> Engine:
    """An engine, or a skip with its reason; in CI a missing sandbox is a failure."""
    try:
        return Engine(edition)
    except SandboxUnavailable as error:
        if os.environ.get("CI") or not any(probe().values()):
            raise
        pytest.skip(f"no sealed sandbox here: {error}")


@pytest.fixture(scope="session")
def engine(edition: Path) -> Iterator[Engine]:
    with sealed(edition) as made:
        yield made


@pytest.fixture(scope="session")
def ranked() -> Iterator[Engine]:
    """An engine over an edition that has an exercise for several ranks too."""
    folder = Path(tempfile.mkdtemp(prefix="mlsys-test-ranked-"))
    folder.chmod(0o755)
    with sealed(make_ranked_edition(folder / "edition")) as made:
        yield made
    shutil.rmtree(folder)


@pytest.fixture
def teacher() -> Teacher:
    return Teacher()


def closed_folder(path: Path) -> Path | None:
    """The outermost folder above ``path`` that other users may not enter."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


@pytest.fixture
def run_as_ordinary_user() -> Callable[[Sequence[str]], subprocess.CompletedProcess]:
    """Run a command as uid 65534, with this Python shown to it where its folder is closed to others."""
    if shutil.which("setpriv") is None or shutil.which("unshare") is None:
        pytest.skip("needs setpriv and unshare of util-linux")
    if os.getuid() != 0:
        pytest.skip("needs root, to become another user")
    needed = {Path(p).resolve() for p in (sys.base_prefix, sys.prefix, ROOT)}
    closed = {folder for path in needed if (folder := closed_folder(path))}
    behind = sorted(path for path in needed if any(path.is_relative_to(folder) for folder in closed))
    steps = ["mount --make-rprivate /", "hold=$(mktemp -d)", 'chmod 755 "$hold"']
    for n, path in enumerate(behind):
        steps += [f'mkdir "$hold/{n}"', f'mount --bind "{path}" "$hold/{n}"']
    steps += [f'mount -t tmpfs -o mode=755 cover "{folder}"' for folder in sorted(closed)]
    for n, path in enumerate(behind):
        steps += [f'mkdir -p "{path}"', f'mount --move "$hold/{n}" "{path}"']
    script = " && ".join([*steps, 'exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"'])

    def run(argv: Sequence[str]) -> subprocess.CompletedProcess:
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=500, cwd="/")

    return run


@pytest.fixture(scope="module")
def replaying(engine, tmp_path_factory):
    with Engine(make_ranked_edition(tmp_path_factory.mktemp("replaying") / "edition"), replay=True) as made:
        yield made
