"""Lab 7's exercise: right in its own term, exact against a live model, near zero in another term."""

from collections.abc import Mapping
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from autograder.course import load_package
from autograder.draw import Draw
from autograder.exercise import Exercise
from autograder.term.secret import SAMPLE_SECRET
from mlsys_course.desk.check import Case, Specification, Verdict, judge, run_case
from mlsys_course.desk.check.driver import EACH
from mlsys_course.desk.check.edition import load_drivers
from tests.accounting.live_models import live_model, live_table

LAB = Path(__file__).parents[2] / "solutions" / "lab07_accounting"
SEALED = load_package(LAB)
PARAMETERS = import_module(f"{SEALED.__package__}.mistakes_parameters")
DRIVER = load_drivers(LAB)["parameter_table"]
SECRETS = [b"the secret of one term", b"the secret of another", SAMPLE_SECRET]


def term(secret: bytes) -> tuple[dict[str, Any], Exercise]:
    variants = SEALED.variants(Draw(secret, "lab07_accounting", "variants"))
    return variants, SEALED.exercises(variants)[0]


def verdict(exercise: Exercise, candidate: Any, secret: bytes) -> Verdict:
    """The candidate's verdict on the sealed cases of a term."""
    given = exercise.cases(Draw(secret, "lab07_accounting", exercise.id, "sealed"))
    outcomes = {case.name: run_case(DRIVER, candidate, case.inputs) for case in given}
    expected = {case.name: run_case(DRIVER, exercise.reference, case.inputs).outputs for case in given}
    cases = [Case(case.name, case.aspect, case.inputs, expected[case.name]) for case in given]
    specification = Specification(exercise.id, exercise.kind, exercise.points, cases)
    return judge(specification, outcomes, DRIVER)


def solution(variants: Mapping[str, Any]) -> Any:
    """The lab's model solution as a term renders it."""
    text = (LAB / "lab07_accounting.py").read_text(encoding="utf-8")
    cell = text.split('# %% exercise="parameter_table"\n')[1].split("# %% check")[0]
    for name, value in variants.items():
        cell = cell.replace(f"{{{{ {name} }}}}", str(value))
    namespace: dict[str, Any] = {}
    exec(cell, namespace)
    return namespace["parameter_table"]


@pytest.mark.parametrize("secret", SECRETS)
def test_the_solution_scores_full_marks_in_its_own_term(secret: bytes) -> None:
    variants, exercise = term(secret)
    found = verdict(exercise, solution(variants), secret)
    assert found.ok and found.score == found.max_score == 17, found.results


def test_last_terms_solution_scores_near_zero_in_this_one() -> None:
    """Each of thirty terms' solution in the next term: a part may agree by luck, hardly ever more."""
    secrets = [f"term {i}".encode() for i in range(31)]
    scores = []
    for last, this in pairwise(secrets):
        _, exercise = term(this)
        found = verdict(exercise, solution(term(last)[0]), this)
        assert found.score <= 6 and not found.ok, (last, this, found.score)
        scores.append(found.score / found.max_score)
    assert sum(scores) / len(scores) < 0.05


def test_two_terms_differ_in_every_part() -> None:
    (one, _), (other, exercise) = term(SECRETS[0]), term(SECRETS[1])
    assert verdict(exercise, solution(one), SECRETS[1]).score == 0
    assert one["saving_answer"] not in other["saving_options"]


@pytest.mark.parametrize("secret", SECRETS)
def test_the_expected_outputs_are_a_live_models(secret: bytes) -> None:
    """The reference, at sizes that are quickly built, against torch.nn on the meta device."""
    variants, exercise = term(secret)
    for case in exercise.cases(Draw(secret, "live")):
        for inputs in case.inputs.get(EACH, [case.inputs])[:2]:
            sizes = {**inputs["config"], "n_layers": 2}
            if sizes["d_model"] < 2**30:  # a tensor of PyTorch's holds so many
                live = live_table(live_model(PARAMETERS.architecture(variants, sizes)))
                assert exercise.reference(sizes) == live, case.name


def test_the_width_is_rounded_up_in_exact_arithmetic() -> None:
    variants, _ = term(SAMPLE_SECRET)
    numerator, denominator, multiple = (variants[f"ffn_{k}"] for k in ("numerator", "denominator", "multiple"))
    for d_model in range(8, 4000, 8):
        sizes = dict.fromkeys(("vocabulary", "context", "n_layers", "n_heads", "n_kv_heads", "head_dim"), 1)
        d_ffn = PARAMETERS.architecture(variants, {**sizes, "d_model": d_model}).d_ffn
        assert d_ffn % multiple == 0
        assert 0 <= d_ffn * denominator - numerator * d_model < multiple * denominator


def test_floats_lose_points_even_where_their_values_are_right() -> None:
    _, exercise = term(SAMPLE_SECRET)

    def in_floats(config: Mapping[str, int]) -> dict[str, float]:
        return {name: float(count) for name, count in exercise.reference(config).items()}

    found = verdict(exercise, in_floats, SAMPLE_SECRET)
    assert found.score == 0
    assert "whole numbers" in found.results[0].wrong[0]


def test_a_table_that_lacks_terms_is_told_which() -> None:
    _, exercise = term(SAMPLE_SECRET)
    found = verdict(exercise, lambda config: {"embedding": 0}, SAMPLE_SECRET)
    words = [word for result in found.results for word in result.wrong]
    assert "attention is missing" in words and found.score == 0


@pytest.mark.parametrize("n", range(8))
def test_every_misconception_loses_points_in_every_term(n: int) -> None:
    """A slip that is none in a term's architecture must not be among its misconceptions."""
    secret = f"term {n} of many".encode()
    _, exercise = term(secret)
    for misconception in exercise.misconceptions:
        found = verdict(exercise, misconception.candidate, secret)
        assert found.score < found.max_score, misconception.name
