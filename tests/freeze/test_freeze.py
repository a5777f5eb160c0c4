"""Nothing frozen is lost: exercises, cases, misconceptions and how they are caught, assertions of the tests.

Names take seconds and are compared in every run; verdicts take a minute or two: ``pytest -m long tests/freeze``.
"""

import functools

import pytest

from autograder.course import load_course
from tests.conftest import ROOT

from .compare import lost_assertions, lost_exercises, names_only, report, unmatched
from .counts import rooms_of
from .facts import Present
from .renames import RENAMES, read_renames
from .store import HERE, load_freeze

FREEZE, MAP = load_freeze(), read_renames((HERE / RENAMES).read_text(encoding="utf-8"))
STEMS = sorted({path.split("/")[0] for path in FREEZE["exercises"]})


@functools.cache
def present(*, verdicts: bool) -> Present:
    """The course as it is now, in the sample term; each exercise is looked at once."""
    return Present(load_course(ROOT, term="sample"), verdicts=verdicts)


@functools.cache
def rooms() -> dict:
    """How much the tests assert now."""
    return rooms_of(ROOT / "tests")


def frozen_of(stem: str) -> dict:
    """What is frozen of a lab."""
    return {path: facts for path, facts in FREEZE["exercises"].items() if path.split("/")[0] == stem}


@pytest.mark.parametrize("stem", STEMS)
def test_a_lab_keeps_its_exercises_cases_and_misconceptions(stem):
    lost = lost_exercises(names_only(frozen_of(stem)), present(verdicts=False), MAP)
    assert not lost, report(lost)


@pytest.mark.long
@pytest.mark.parametrize("stem", STEMS)
def test_misconceptions_are_caught_and_named_as_before(stem):
    lost = lost_exercises(frozen_of(stem), present(verdicts=True), MAP)
    assert not lost, report(lost)


def test_no_room_asserts_less():
    lost = lost_assertions(FREEZE["rooms"], rooms(), MAP)
    assert not lost, report(lost)


def test_every_entry_of_the_map_matches():
    now = {"exercises": present(verdicts=False), "rooms": rooms()}
    lost = unmatched(MAP, FREEZE, now)
    assert not lost, "\n".join([*lost, "Take the entry out of renames.toml, or correct its name."])
