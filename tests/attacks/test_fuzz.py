"""Whatever becomes of a real submission's JSON, it is mended or refused; and what is mended can be graded."""

import json
import random

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autograder.grade.flags import flags
from autograder.grade.repair import repair
from autograder.scoring.cells import cells_of, grade_id

from .harness import RIGHT, Attack

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
KINDS = ("drop", "swap", "retype", "copy", "rename", "nest")


def places(tree, at=()):
    """Every node's path."""
    yield at
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in list(children):
        yield from places(child, (*at, key))


def node(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def mutated(tree, how: str, one: int, two: int, value):
    """One node dropped, swapped with another, given another value, copied, renamed or put into a list."""
    found = [path for path in places(tree) if path]
    if not found:
        return value
    path, other = found[one % len(found)], found[two % len(found)]
    parent, key = node(tree, path[:-1]), path[-1]
    if how == "drop":
        del parent[key]
    elif how == "swap" and path != other[: len(path)] and other != path[: len(other)]:
        there = node(tree, other[:-1])
        parent[key], there[other[-1]] = there[other[-1]], parent[key]
    elif how == "copy" and isinstance(parent, list):
        parent.insert(two % (len(parent) + 1), json.loads(json.dumps(parent[key])))
    elif how == "rename" and isinstance(parent, dict):
        parent[str(value)[:20]] = parent.pop(key)
    elif how == "nest":
        parent[key] = [parent[key]]
    else:
        parent[key] = value
    return tree


MUTATIONS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 10**6), st.integers(0, 10**6), VALUES), min_size=1, max_size=12
)


def check_mended(lab, blob: bytes) -> None:
    """A valid notebook with each graded cell once, as released, and cells that the engine and the flags can take."""
    session = lab.session
    repaired = repair(blob, session.released)
    nbformat.validate(repaired.notebook)
    json.dumps(repaired.notebook).encode()
    released = {
        grade_id(cell): cell for cell in session.released.cells if cell.metadata.get("nbgrader", {}).get("grade")
    }
    graded = [cell for cell in repaired.notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert sorted(map(grade_id, graded)) == sorted(released)
    assert all(cell.metadata == released[grade_id(cell)].metadata for cell in graded)
    assert repaired.unreadable == "" or repaired.unreadable.endswith(".")
    cells = cells_of(repaired.notebook, session.candidates)
    assert sorted(cell.exercise for cell in cells if cell.exercise) == sorted(session.candidates)
    assert all(isinstance(cell.source, str) for cell in cells)
    flags(cells, session.scorer.specifications, session.scorer.drivers)


@given(MUTATIONS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_mutation_is_mended_or_refused(lab, mutations):
    tree = json.loads(lab.notebook(Attack("", answer=RIGHT)))
    for mutation in mutations:
        tree = mutated(tree, *mutation)
    check_mended(lab, json.dumps(tree).encode())


@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=8)), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_mended_or_refused(lab, patches):
    blob = bytearray(lab.notebook(Attack("", answer=RIGHT)))
    for at, patch in patches:
        at %= len(blob)
        blob[at : at + len(patch)] = patch
    check_mended(lab, bytes(blob))


@pytest.mark.parametrize("seed", range(8))
def test_a_mutated_submission_is_graded(lab, seed: int):
    """The whole way: never more than the right answer, and a verdict on every exercise."""
    draw = random.Random(seed)
    tree = json.loads(lab.notebook(Attack("", answer=RIGHT)))
    for _ in range(6):
        value = draw.choice([None, 1, "text", [], {}, True])
        tree = mutated(tree, draw.choice(KINDS), draw.randrange(10**6), draw.randrange(10**6), value)
    repaired = repair(json.dumps(tree).encode(), lab.session.released)
    graded = lab.session.grade(repaired.to_notebook(), {})
    assert graded.verdicts.keys() == lab.neighbour.keys()
    assert all(0 <= verdict.score <= lab.neighbour[name] for name, verdict in graded.verdicts.items())
