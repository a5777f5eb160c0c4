"""Every two switches meet."""

import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograder.crossing import crossed

FIELDS = {"positions": ["rotary", "learned", "sinusoidal"], "norm": ["post", "pre"], "tied": [False, True],
          "scaled": [False, True], "layers": [1, 2]}  # fmt: skip
SAY = "from autograder.crossing import crossed; print(crossed({'a': [1, 2, 3], 'b': ['x', 'y'], 'c': [0, 1]}))"


def missing(fields, rows):
    """Pairs of values that are in no row."""
    values = [(name, value) for name in fields for value in fields[name]]
    pairs = ((a, b) for a, b in itertools.combinations(values, 2) if a[0] != b[0])
    return [pair for pair in pairs if not any(all(row[name] == value for name, value in pair) for row in rows)]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_every_pair_and_each_field_alone(counts):
    fields = {f"f{n}": list(range(count)) for n, count in enumerate(counts)}
    rows = crossed(fields)
    assert not missing(fields, rows)
    first = dict.fromkeys(fields, 0)
    assert all({**first, name: value} in rows for name in fields for value in fields[name])
    assert len({str(row) for row in rows}) == len(rows)


def test_few_rows():
    assert len(crossed(FIELDS)) <= 10


def test_what_is_known_is_not_asked_again():
    known = [{"positions": "learned", "norm": "pre", "tied": True, "scaled": True, "layers": 2}, {"norm": "pre"}]
    rows = crossed(FIELDS, known)
    first = {name: values[0] for name, values in FIELDS.items()}
    there = [{**first, **row} for row in known]
    assert not any(row in rows for row in there) and not missing(FIELDS, [*rows, *there])


def test_a_value_that_is_none_of_a_field_s_is_refused():
    with pytest.raises(ValueError, match="is not in list"):
        crossed(FIELDS, [{"norm": "batch"}])


def test_values_need_not_be_hashable():
    fields = {"shape": [[], [2], [2, 3]], "wide": [True, False]}
    assert not missing(fields, crossed(fields))


def test_every_process_finds_the_same():
    found = {
        subprocess.run(
            [sys.executable, "-c", SAY], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1 and len(next(iter(found))) > 100
