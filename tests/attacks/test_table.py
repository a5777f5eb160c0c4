"""Every attack of the tables comes to what its wrong answer is worth, and leaves the neighbour alone."""

import json
import os
import sys
from pathlib import Path

import pytest

from autograder.sandbox.inside.processes import descendants
from tests.left_out import long_but
from tests.sandbox.conftest import run_as_ordinary_user as run_as_ordinary_user

from .harness import Attack
from .tables import LOUD, QUIET, SLOW, TELLING


def of_each_kind(first: int, kinds: list[list[Attack]]) -> list:
    """So many of each; the others are long."""
    return [attack for kind in kinds for attack in long_but(first, kind)]


@pytest.fixture(autouse=True)
def nothing_stays(lab):
    """No process of a submission outlives it, and the grader opens nothing that it does not close."""
    warm = lab.session.engine.warm.process.pid
    before = set(descendants(warm)), len(os.listdir("/proc/self/fd"))
    yield
    left = set(descendants(warm)), len(os.listdir("/proc/self/fd"))
    assert left == before


@pytest.mark.parametrize("attack", of_each_kind(3, [*QUIET, *LOUD]), ids=str)
def test_attack(lab, attack: Attack):
    assert lab.won(attack, beside=False) == []


def test_the_neighbour_after_all_of_them(lab):
    assert lab.neighbours_suffer() == []


@pytest.mark.parametrize("attack", of_each_kind(1, LOUD), ids=str)
def test_attack_beside_a_neighbour(lab, attack: Attack):
    assert lab.won(attack) == []


@pytest.mark.parametrize("attack", long_but(1, SLOW), ids=str)
def test_attack_that_takes_long(lab, attack: Attack):
    assert lab.won(attack) == []


@pytest.mark.parametrize("attack", TELLING, ids=str)
def test_what_one_exercise_learns_is_of_no_use_to_another(lab, attack: Attack):
    """Several times, since exercises are asked in an order that is drawn."""
    assert [lab.won(attack, beside=False) for _ in range(2)] == [[]] * 2


SHARES = [pytest.param(n, 3, marks=pytest.mark.long) for n in range(3)]


@pytest.mark.parametrize(("share", "of"), SHARES)
def test_as_an_ordinary_user(lab, run_as_ordinary_user, share: int, of: int):
    command = [sys.executable, str(Path(__file__).with_name("as_user.py")), str(share), str(of)]
    done = run_as_ordinary_user(command)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told.pop("uid"), told.pop("sealed")) == (65534, True)
    assert told.pop("the right answer") == ["times: 6 instead of 2"]
    assert len(told) > 100 / of and {name: won for name, won in told.items() if won} == {}
