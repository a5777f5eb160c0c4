"""The lab that is attacked: a function of two aspects, a composite, one judged by memory, and a choice."""

from pathlib import Path

from tests.conftest import write_course_toml

STEM = "lab00_foundations"
NOTEBOOK = '''# %% [markdown]
# # A lab to attack

# %%
import torch
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

# %% exercise="chain"
def chain(x, times=times):
    """times, twice."""
    ### BEGIN SOLUTION
    once = times(x)
    return times(once)
    ### END SOLUTION

# %% check="chain"
check("chain", chain)

# %% exercise="lean"
def lean(x):
    """The sum of |x - y| over all pairs, without holding all pairs."""
    ### BEGIN SOLUTION
    total = sum((row - x).abs().sum() for row in x)
    return total
    ### END SOLUTION

# %% check="lean"
check("lean", lean)

# %% exercise="answer"
answer = ""  # "a", "b" or "c"
### BEGIN SOLUTION
answer = "b"
### END SOLUTION

# %% check="answer"
check("answer", answer)

# %% [markdown] question="why"
# ### BEGIN SOLUTION
# Because it is so.
# ### END SOLUTION
'''
DRIVERS = '''"""How the exercises are called."""

from mlsys_course.desk.check import driver


@driver
def times(candidate, case):
    return {"y": candidate(case["x"])}


@driver(parts={"times": lambda x: x * 2})
def chain(candidate, case, times):
    return {"y": candidate(case["x"], times=times)}


@driver
def lean(candidate, case):
    return {"sum": candidate(case["x"])}
'''
EXERCISES = '''"""Sealed."""

from autograder.exercise import Choice, Exercise, Given, Misconception, Part, Question


def variants(draw):
    return {"factor": draw.integer(1000, 10**6)}


def times_cases(draw):
    shapes = [(2,), (3, 4), (1,), (5,)]
    signed = [Given(f"signed {n}", "values", {"x": draw.normal(*s)}, public=n < 2) for n, s in enumerate(shapes)]
    return [*signed, Given("positive", "positive", {"x": draw.normal(6).abs()}, public=True)]


def chain_cases(draw):
    return [Given(f"length {n}", "values", {"x": draw.normal(n)}, public=n < 4) for n in (2, 3, 4, 5)]


def lean_cases(draw):
    some = [Given(f"length {n}", "values", {"x": draw.normal(n)}, public=n < 6) for n in (4, 5, 6)]
    limits = {"peak_memory": 40 << 20}
    return [*some, Given("long", "memory", {"x": draw.normal(6000)}, False, limits)]


def wasteful(x):
    return (x[:, None] - x[None]).abs().sum()


def exercises(v):
    factor = v["factor"]

    def mistakes(**those):
        return [Misconception(name, candidate, f"Not {name}.") for name, candidate in those.items()]

    times = lambda x: x * factor
    return [
        Exercise("times", "operator.mul", times, {"values": 4, "positive": 2}, times_cases,
                 mistakes(adds=lambda x: x + factor, divides=lambda x: x / factor,
                          absolute=lambda x: x.abs() * factor)),
        Exercise("chain", "operator.mul", lambda x, times: times(times(x)), {"values": 3}, chain_cases,
                 mistakes(once=lambda x, times: times(x), squares=lambda x, times: times(x) ** 2,
                          adds=lambda x, times: times(x) + times(x)),
                 parts={"times": Part(times, lambda x: x.numel(), 1000)}),
        Exercise("lean", "operator.sub", lambda x: sum((row - x).abs().sum() for row in x),
                 {"values": 2, "memory": 2}, lean_cases,
                 mistakes(signed=lambda x: (x[:, None] - x[None]).sum() + 1, squared=lambda x: (x * x).sum(),
                          half=lambda x: wasteful(x) / 2)),
        Choice("answer", 1, ["a", "b", "c"], "b"),
        Question("why", [(1, "a reason")]),
    ]
'''  # fmt: skip


def write_course(root: Path) -> Path:
    """A checkout with this one lab."""
    folder = root / "solutions" / STEM
    folder.mkdir(parents=True)
    write_course_toml(root)
    for name, text in ((f"{STEM}.py", NOTEBOOK), ("drivers.py", DRIVERS), ("exercises.py", EXERCISES)):
        (folder / name).write_text(text)
    return root
