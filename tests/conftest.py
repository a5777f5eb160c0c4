"""What several rooms' tests share: the course, drawn tensors, devices, and small labs made on the spot."""

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from autograder.course import Course

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ("tests.left_out",)
if not find_spec("nbgrader"):  # a machine with a card and no Jupyter runs the components' tests
    collect_ignore = ["attacks", "browser", "build", "feedback", "freeze", "grade", "release", "sandbox", "student"]
    collect_ignore += ["term", "accounting/test_plan_command.py", "all_reduce/test_lab09.py"]
    collect_ignore += ["sequence/test_lab01.py", "transformer/test_lab03.py", "autodiff/test_carried.py"]
    collect_ignore += ["check/test_reading.py", "check/test_reach.py", "check/test_pointing.py"]  # cells of IPython
    collect_ignore += ["all_reduce/test_lab09_alone.py"]


@pytest.fixture(scope="session")
def course() -> "Course":
    """This checkout, in the sample term."""
    from autograder.course import load_course

    return load_course(ROOT, term="sample")


@pytest.fixture(scope="session", autouse=True)
def _no_secrets_of_this_machine(tmp_path_factory) -> Iterator[None]:
    """Whoever runs the tests may teach a term of their own, which no test should see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture
def secrets_at(tmp_path, monkeypatch) -> Path:
    """Secrets of terms go to a folder of the test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "mlsys" / "terms"


@pytest.fixture
def in_process(monkeypatch) -> None:
    """Grading without a sandbox, for tests of what becomes of grades."""
    from autograder.grade import session
    from tests.grade.in_process import InProcess

    monkeypatch.setattr(session, "Engine", InProcess)


@pytest.fixture
def normal_seed() -> int:
    """Where ``normal`` starts; a room's conftest may say otherwise."""
    return 20


@pytest.fixture
def normal(normal_seed: int) -> Callable:
    """``normal(2, 3, dtype=...)``: a tensor of independent normal entries, the same on every machine."""
    import numpy as np  # here, since most rooms do without tensors, and torch takes seconds to import
    import torch

    generator = np.random.Generator(np.random.PCG64(normal_seed))

    def draw(*shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> torch.Tensor:
        return torch.from_numpy(generator.standard_normal(shape) * scale).to(dtype)

    return draw


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For tensors so small that a second thread would mostly wait; on busy cores, 40 times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device there is to run on."""
    return request.param


LAB = '''# %% [markdown]
# # A small lab
# The factor is {{ factor }}.

# %%
from mlsys_course.desk.check import check

# %% exercise="times"
def times(x):
    """x times {{ factor }}."""
    ### BEGIN SOLUTION
    product = x * {{ factor }}
    return product
    ### END SOLUTION

# %% check="times"
check("times", times)

# %% experiment="look"
print(times(3))

# %% [markdown] question="why"
# ### BEGIN SOLUTION
# Because it is so.
# ### END SOLUTION
'''
DRIVERS = '''"""How the exercise is called."""

from mlsys_course.desk.check import driver


@driver
def times(candidate, case):
    return {"y": candidate(case["x"])}
'''
EXERCISES = '''"""Sealed."""

from autograder.exercise import Exercise, Given, Misconception, Question


def variants(draw):
    return {"factor": draw.integer(3, 10**6)}


def cases(draw):
    shapes = [(2,), (3, 4), (1,), (5,)]
    return [Given(f"shape {n}", "values", {"x": draw.normal(*s)}, public=n < 2) for n, s in enumerate(shapes)]


def exercises(v):
    factor = v["factor"]
    return [
        Exercise(
            id="times",
            component="operator.mul",
            reference=lambda x: x * factor,
            points={"values": 4},
            cases=cases,
            misconceptions=[
                Misconception("adds", lambda x: x + factor, "Times, not plus."),
                Misconception("divides", lambda x: x / factor, "Times, not by."),
                Misconception("squares", lambda x: x * factor**2, "Once is enough."),
            ],
        ),
        Question("why", [(1, "a reason")]),
    ]
'''


def write_course_toml(root: Path) -> None:
    """The syllabus of the course, without dates and points: a test's lab has its own."""
    text = (ROOT / "course.toml").read_text(encoding="utf-8")
    (root / "course.toml").write_text(re.sub(r", (points|due) = [^,} ]+", "", text), encoding="utf-8")


def write_small_course(root: Path) -> Path:
    """A checkout with one lab of one exercise."""
    folder = root / "solutions" / "lab00_foundations"
    folder.mkdir(parents=True)
    write_course_toml(root)
    (folder / "lab00_foundations.py").write_text(LAB)
    (folder / "drivers.py").write_text(DRIVERS)
    (folder / "exercises.py").write_text(EXERCISES)
    return root


@pytest.fixture
def small_course(tmp_path) -> Path:
    """A small course of the test's own."""
    return write_small_course(tmp_path / "course")
