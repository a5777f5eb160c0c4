"""Aggregation that liars cannot move: against SciPy and a Krum by brute force; what is detected, and what is not."""

import itertools

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from scipy import stats

from mlsys_course import parameter_server as P
from mlsys_course.parameter_server import liars

robust_aggregate = jaxtyped(typechecker=beartype)(P.robust_aggregate)
RULES = ("median", "trimmed_mean", "krum")


def krum_by_brute_force(rows: np.ndarray, f: int) -> int:
    """The row with the least sum over any choice of m - f - 2 others."""
    m = len(rows)
    scores = []
    for i in range(m):
        apart = [float(((rows[i] - rows[j]) ** 2).sum()) for j in range(m) if j != i]
        scores.append(min(sum(chosen) for chosen in itertools.combinations(apart, m - f - 2)))
    return int(np.argmin(scores))


@pytest.mark.parametrize(("m", "f"), [(5, 1), (8, 1), (9, 3), (11, 4), (6, 0)])
def test_against_numpy_scipy_and_brute_force(normal, m, f):
    rows = normal(m, 7)
    np.testing.assert_allclose(robust_aggregate(rows, "median", f), np.median(rows, axis=0))
    np.testing.assert_allclose(
        robust_aggregate(rows, "trimmed_mean", f), stats.trim_mean(rows.numpy(), (f + 0.5) / m, axis=0)
    )
    assert torch.equal(robust_aggregate(rows, "krum", f), rows[krum_by_brute_force(rows.numpy(), f)])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lie", [1e30, -1e30, float("nan"), float("inf")])
def test_f_liars_move_nothing_beyond_what_honest_rows_span(normal, rule, lie):
    """Whatever they send: each entry lies between the least and the largest honest one."""
    honest = normal(7, 30).float()
    rows = torch.cat([honest[:3], torch.full((2, 30), lie), honest[3:]])
    found = robust_aggregate(rows, rule, 2)
    assert ((found >= honest.min(0).values) & (found <= honest.max(0).values)).all()
    assert not torch.isclose(rows.mean(0), honest.mean(0)).any()  # which is not so of the mean


@pytest.mark.parametrize("rule", RULES)
def test_a_row_that_is_not_finite_counts_as_one_of_the_liars(normal, rule):
    rows = normal(8, 5)
    rows[3, 2] = float("nan")
    kept = rows[[0, 1, 2, 4, 5, 6, 7]]
    assert torch.equal(robust_aggregate(rows, rule, 2), robust_aggregate(kept, rule, 1))


@pytest.mark.parametrize(("rule", "m", "f"), [("median", 4, 2), ("trimmed_mean", 2, 1), ("krum", 6, 2), ("krum", 2, 0)])
def test_too_few_rows_are_refused(normal, rule, m, f):
    with pytest.raises(ValueError, match=f"{rule} needs"):
        robust_aggregate(normal(m, 3), rule, f)
    robust_aggregate(normal(m + 1, 3), rule, f)


def test_more_rows_that_are_not_finite_than_liars_are_refused():
    rows = torch.ones(9, 2)
    rows[:2] = float("inf")
    with pytest.raises(ValueError, match="7 of 9 rows are finite"):
        robust_aggregate(rows, "median", 1)


def test_no_argument_is_written_into_and_the_result_is_new(normal):
    rows = normal(5, 4)
    before = rows.clone()
    for rule in RULES:
        robust_aggregate(rows, rule, 1).fill_(7.0)
        assert torch.equal(rows, before)


# ---- liars -----------------------------------------------------------------------------------------------------------


def recorded(attack, n_rounds=30, honest=9, lying=2, n=200, seed=0):
    """Rounds of noisy gradients with liars at the last ranks."""
    generator = np.random.Generator(np.random.PCG64(seed))
    rounds = []
    for _ in range(n_rounds):
        rows = torch.from_numpy(generator.standard_normal((honest, n)) + np.linspace(-1, 1, n))
        lies = [attack(rows)] * lying
        rounds.append(dict(enumerate([*rows, *lies])))
    return rounds


ATTACKS = {
    "sign flip": liars.sign_flip(), "large": liars.sign_flip(50.0), "a little": liars.a_little(0.7),
    "coordinated": liars.coordinated(), "NaN": lambda honest: honest.mean(0) * float("nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("seed", range(5))
def test_liars_are_expelled_and_nobody_else(name, seed):
    found = P.expel_liars(recorded(ATTACKS[name], seed=seed), 3, 2.0)
    assert sorted(rank for round in found for rank in round) == [9, 10]


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_expelled_where_nobody_lies(seed):
    assert not any(P.expel_liars(recorded(ATTACKS["large"], lying=0, honest=11, seed=seed), 3, 2.0))


def test_a_little_takes_rounds_and_a_large_lie_none():
    first = {
        name: next(t for t, ranks in enumerate(P.expel_liars(recorded(attack), 2, 2.0)) if ranks)
        for name, attack in ATTACKS.items()
    }
    assert first["NaN"] == first["large"] == 0
    assert first["a little"] > 3


def test_no_more_than_f_are_expelled_the_longest_first():
    rounds = recorded(ATTACKS["large"], lying=2)
    rounds = [{**sent, 10: 2 * sent[10]} for sent in rounds]
    assert [ranks for ranks in P.expel_liars(rounds, 1, 2.0) if ranks] == [[10]]


def test_who_is_away_is_not_suspected_and_comes_back():
    rounds = recorded(ATTACKS["large"], lying=0, honest=8)
    for t in range(5, 12):
        del rounds[t][3]
    assert not any(P.expel_liars(rounds, 2, 2.0))


def test_rounds_in_which_all_or_nobody_is_left():
    nan = torch.full((3,), float("nan"))
    assert P.expel_liars([{0: nan, 1: nan}, {0: nan}, {}], 1, 2.0) == [[0, 1], [], []]
    same = torch.ones(3)
    assert P.expel_liars([{0: same, 1: same, 2: same, 3: 2 * same}], 1, 2.0) == [[3]]  # the median length is 0


def test_attacks_are_what_their_papers_say(normal):
    honest = normal(6, 50)
    torch.testing.assert_close(liars.sign_flip(3.0)(honest), -3 * honest.mean(0))
    torch.testing.assert_close(liars.a_little(1.5)(honest), honest.mean(0) - 1.5 * honest.std(0, correction=1))
    aside = liars.coordinated(2.0)(honest)
    assert abs(float(aside @ honest.mean(0))) < 1e-9
    torch.testing.assert_close(aside.norm(), 2 * honest.norm(dim=1).mean())
