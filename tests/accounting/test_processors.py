"""Processors beside the cards of lab 7, and what their numbers say."""

import pytest

from mlsys_course.accounting import GPUS, ridge
from mlsys_course.accounting.processors import DRAM_64_BITS, ENERGY, PROCESSORS


def test_a_cards_ridge_is_lab_7s():
    cards = [one for one in PROCESSORS if one.name in GPUS]
    assert len(cards) == 4
    for card in cards:
        for precision in GPUS[card.name].peak:
            assert card.ridge(precision) == pytest.approx(ridge(GPUS[card.name], precision))


def test_fewer_bits_are_faster_and_cheaper():
    bits = {"float32": 32, "tf32": 19, "float16": 16, "bfloat16": 16, "float8": 8, "int8": 8, "int4": 4, "float4": 4}
    for one in PROCESSORS:
        by_bits = sorted(one.rates, key=lambda precision: bits[precision])
        rates = [one.rates[precision] for precision in by_bits]
        assert rates == sorted(rates, reverse=True)
        if one.watts is not None:
            energies = [one.picojoules(precision) or 0 for precision in by_bits]
            assert energies == sorted(energies)
            assert energies[0] * one.rates[by_bits[0]] == pytest.approx(one.watts * 1e12)
        else:
            assert one.picojoules(by_bits[0]) is None


def test_moving_costs_more_than_multiplying():
    dearest = max(add + multiply for add, multiply in ENERGY.values())
    assert dearest * 100 < DRAM_64_BITS / 2
