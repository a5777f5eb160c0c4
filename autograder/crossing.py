"""Switches crossed: which configurations hold every pair of values of any two fields, by covertable's arrays."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from covertable import make


def crossed(fields: Mapping[str, Sequence[Any]], known: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Few rows, with which every two values of two ``fields`` occur together. Always the same ones, and in one order.

    ``known`` rows, by field, occur already, in cases that are written out; a field that one leaves out has its first
    value there. Each field alone, the others at their first values, is among what is known or given.
    """
    alone = [{name: value} for name, values in fields.items() for value in values]
    first = {name: values[0] for name, values in fields.items()}
    there = [_numbers(fields, {**first, **row}) for row in known]
    own = [row for one in alone if (row := _numbers(fields, {**first, **one})) not in there]
    own = [row for n, row in enumerate(own) if row not in own[:n]]
    places = {name: list(range(len(values))) for name, values in fields.items()}
    rows = [*there, *own, *make(places, presets=[*there, *own])] if len(fields) > 1 else [*there, *own]
    found = [row for n, row in enumerate(rows) if row not in rows[:n] and row not in there]
    return [{name: values[row[name]] for name, values in fields.items()} for row in found]


def _numbers(fields: Mapping[str, Sequence[Any]], row: Mapping[str, Any]) -> dict[str, int]:
    """Which value of each field a row has; values need not be hashable."""
    return {name: list(values).index(row[name]) for name, values in fields.items()}
