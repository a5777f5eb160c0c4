"""Costs that the trusted side counts from what a candidate wrote: they limit, and tell a misconception."""

import pytest
import torch

from mlsys_course.desk.check import Case, Outcome, Specification, driver, judge
from mlsys_course.desk.check.driver import judged, run_case
from mlsys_course.desk.check.meter import run_measured
from mlsys_course.substrate.fast_memory import carried_out, written


def values(case, outputs, seen):
    memory = carried_out(outputs["program"], 8, case["outside"])
    return {"y": memory.read(memory.arrays[outputs["results"][0]])}


def moved(case, outputs):
    return {"entries_moved": float(carried_out(outputs["program"], 8, case["outside"]).moved)}


@driver(judged=values, counted=moved)
def twice(candidate, case):
    return written(8, [[2, 2]], candidate)


def once(memory, x):
    out, tile = memory.new(2, 2), memory.load(x)
    memory.add(tile, tile)
    memory.store(tile, out)
    return out


def loads_again(memory, x):
    out, tile, other = memory.new(2, 2), memory.load(x), memory.load(x)
    memory.add(tile, other)
    memory.store(tile, out)
    return out


CASE = {"outside": [torch.tensor([[1.0, 2.0], [3.0, 4.0]])]}


def verdict(outcome: Outcome):
    limits = {"entries_moved": 8.0}
    mistaken = {"loads again": run_measured(twice, loads_again, CASE, limits)}
    case = Case("one", "all", CASE, {"y": CASE["outside"][0] * 2}, mistaken, limits)
    return judge(Specification("twice", "core", {"all": 1}, [case], {"loads again": "hint"}), {"one": outcome}, twice)


def test_costs_are_counted_limited_and_recognised():
    assert run_measured(twice, once, CASE, {}).costs == {"entries_moved": 8.0}
    assert verdict(run_measured(twice, once, CASE, {})).ok
    found = verdict(run_measured(twice, loads_again, CASE, {}))
    assert found.results[0].wrong == ["costs too much (entries moved): 12, at most 8"]
    assert list(found.misconceptions) == ["loads again"]


def test_the_candidates_process_neither_has_the_numbers_nor_counts():
    given = []

    def curious(memory, x):
        given.append((memory, x))
        memory.moved_so_far = 0
        return loads_again(memory, x)

    outcome = run_case(twice, curious, {}, raw=True)  # as in a sandbox, which is not given what is outside
    assert set(outcome.outputs) == {"program", "results"} and outcome.costs == {}
    assert judged(twice, CASE, outcome).costs == {"entries_moved": 12.0}
    with pytest.raises(ValueError, match="elsewhere"):
        given[0][0].read(given[0][1])


@pytest.mark.parametrize(
    "outputs",
    [{}, {"program": "load a0[0:2,0:2]", "results": [7]}, {"program": "forget", "results": [0]}, {"program": 3}, 5],
)
def test_what_is_no_program_is_a_wrong_type(outputs):
    assert judged(twice, CASE, Outcome(outputs)).problem == "type"
