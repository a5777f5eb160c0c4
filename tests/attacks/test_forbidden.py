"""Forbidden calls: what is refused, what is flagged for a person, and that honest work is neither."""

import pytest

from autograder.demo.cohort import COHORT, hand_in
from autograder.grade.flags import flags
from autograder.grade.repair import repair
from autograder.grade.run import solution_notebook
from autograder.grade.session import Session
from autograder.sandbox import Cell
from autograder.scoring.cells import cells_of, graded_cells
from autograder.scoring.score import Scorer
from tests.conftest import ROOT
from tests.left_out import long_but

from .evasions import CARRIED, EVASIONS, HONEST, LEFT_AT_WORK, REFUSED, WITH_CARRIED

CHECK = Cell('check("attention", attention)', "attention", "attention")


@pytest.fixture(scope="module")
def lab02(course):
    with Session(course, "lab02_attention") as session:
        yield session


def flagged(session, sources, files=None) -> dict:
    cells = [*map(Cell, sources), CHECK]
    return flags(cells, session.scorer.specifications, session.scorer.drivers, files)


@pytest.mark.parametrize("source", REFUSED.values(), ids=REFUSED)
def test_refused(lab02, source: str):
    cells = [Cell(source), CHECK]
    verdict = lab02.scorer.verdicts(lab02.engine.run(cells, lab02.scorer), cells)["attention"]
    assert (verdict.status, verdict.score) == ("forbidden", 0)


@pytest.mark.parametrize("source", LEFT_AT_WORK.values(), ids=LEFT_AT_WORK)
def test_what_is_left_at_work_earns_nothing(lab02, source: str):
    cells = [Cell(source), CHECK]
    verdict = lab02.scorer.verdicts(lab02.engine.run(cells, lab02.scorer), cells)["attention"]
    assert verdict.score == 0 and not any(result.ok for result in verdict.results)


@pytest.mark.parametrize("sources", EVASIONS.values(), ids=EVASIONS)
def test_evasions_are_flagged(lab02, sources: list[str]):
    found = flagged(lab02, sources)
    assert found and set(found) <= {"", "attention"}
    for flag in (flag for those in found.values() for flag in those):
        lines = [line for source in sources for line in source.split("\n")]
        assert flag.why in str(flag) and 0 <= flag.line <= len(lines)


def test_that_some_of_them_would_have_paid(lab02):
    """Else there were nothing to flag: a guard in the student's own process can be switched off."""
    cells = [*map(Cell, EVASIONS["the guard patched in a scratch cell"]), CHECK]
    assert lab02.scorer.verdicts(lab02.engine.run(cells, lab02.scorer), cells)["attention"].score > 0


def test_a_carried_part(lab02):
    (flag,) = {str(f) for f in flagged(lab02, WITH_CARRIED, CARRIED)["attention"] if "carried" in f.why}
    assert flag == "my_mlsys/attention.py, line 3: a carried part calls `F.scaled_dot_product_attention`"
    assert "attention" not in flagged(lab02, [HONEST["loops"]], CARRIED)  # nothing is taken from it


def test_a_flag_says_where(lab02):
    sources = ["x = 1", "import torch\n\ndef attention(q, k, v, mask=None):\n    return eval('q')"]
    assert list(map(str, flagged(lab02, sources)["attention"])) == ["cell 2, line 4: uses `eval`"]


@pytest.mark.parametrize("source", HONEST.values(), ids=HONEST)
def test_honest_code_is_not_flagged(lab02, source: str):
    assert flagged(lab02, [source]) == {}


HARMLESS = [member for member in COHORT if member.name not in ("sagan", "turing")]


@pytest.mark.parametrize("member", HARMLESS, ids=[member.name for member in HARMLESS])
def test_the_cohort_is_not_flagged(lab02, course, member):
    notebook = repair(hand_in(member, lab02.released, solution_notebook(lab02.lab)), lab02.released).notebook
    cells = cells_of(notebook, lab02.candidates)
    assert flags(cells, lab02.scorer.specifications, lab02.scorer.drivers) == {}


STEMS = sorted(path.name for path in (ROOT / "solutions").iterdir() if path.is_dir())


@pytest.mark.parametrize("stem", long_but(1, sorted(STEMS)))
def test_no_solution_is_flagged(course, stem: str):
    notebook = solution_notebook(course.lab(stem))
    scorer = Scorer.for_lab(course.lab(stem))
    assert flags(cells_of(notebook, graded_cells(notebook)), scorer.specifications, scorer.drivers) == {}
