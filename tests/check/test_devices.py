"""Cases on a device: what is told of where results are, and who judges it."""

import re

import pytest
import torch

from autograder.exercise import Given, with_device
from autograder.exercise import on_a_card as on_a_card_too
from mlsys_course.desk.check import Case, Specification, driver
from mlsys_course.desk.check.devices import DEVICE, MADE_ON, PRETENDED, Elsewhere, moved, on_a_card
from mlsys_course.desk.check.driver import run_case
from mlsys_course.desk.check.outcome import TWO_DEVICES
from mlsys_course.desk.check.settings import as_the_lab_says
from mlsys_course.desk.check.verdict import judge_case
from mlsys_course.desk.check.verdict_table import sealed_words


@pytest.mark.parametrize("inputs, said", [
    ({"coefficients": torch.ones(1), "lengths": torch.tensor([1, 2])}, "while lengths is on cuda:0: make it with dev"),
    ({"T": 3}, "while `device` is cuda:0: make it with device=device"),
])  # fmt: skip
def test_a_message_names_an_argument_and_the_remedy(inputs, said):
    with on_a_card({**inputs, DEVICE: PRETENDED}, arguments=["lengths"]) as (given, _):
        x = torch.ones(2, device=given[DEVICE])
        with pytest.raises(Elsewhere, match=r"made a tensor of shape \(3, 1\) on cpu, " + re.escape(said)):
            x + torch.arange(3)[:, None]


@driver(parts={"doubled": lambda x: 2 * x})
def rows(candidate, case, doubled):
    return {"rows": candidate(doubled(case["x"])), "again": [doubled(case["x"])]}


@driver(judged=lambda case, outputs, seen: {"sum": outputs["rows"].sum()})
def summed(candidate, case):
    return {"rows": candidate(case["x"])}


CASE = {"x": torch.ones(2, 3), DEVICE: PRETENDED}


def honest(x):
    return x + torch.arange(3, device=x.device)


def test_where_results_are_is_told_and_judged():
    found = run_case(rows, honest, CASE).outputs
    assert {path: said for path, said in found.items() if path.startswith(MADE_ON)} == {
        "device of rows": "cuda:0",
        "device of again[0]": "cuda:0",
    }
    elsewhere = run_case(rows, lambda x: x.cpu() + torch.arange(3), CASE)
    assert not elsewhere.problem and torch.equal(elsewhere.outputs["rows"], found["rows"])
    case = Case("as on a card", "device", CASE, found)
    result = judge_case(Specification("rows", "core", {"device": 1}, [case]), case, elsewhere, rows)
    assert list(result.wrong) == ["rows is on cpu, while the inputs are on cuda:0"]
    assert sealed_words(result) == "rows is on another device than the inputs"


def test_what_met_is_told_in_public_and_not_of_sealed_cases():
    def mixed(x):
        return x + torch.arange(3)

    said = run_case(rows, mixed, CASE)
    assert said.problem == "device" and said.words.startswith(
        "made a tensor of shape (3,) on cpu, while x is on cuda:0"
    )
    assert said.line is None
    quiet = run_case(rows, mixed, CASE, messages=False)
    assert (quiet.problem, quiet.words) == ("device", TWO_DEVICES)


def test_devices_are_told_beside_what_is_judged():
    assert run_case(summed, honest, CASE).outputs == {"sum": 12.0, "device of rows": "cuda:0"}


def test_an_input_that_is_written_to_is_seen_there_too():
    assert run_case(rows, honest, CASE, unchanged=True).problem == ""
    assert run_case(summed, lambda x: x.add_(1), CASE).problem == "modified"


def test_the_guard_sees_as_much():
    assert run_case(rows, lambda x: x.softmax(-1), CASE, forbidden=["torch.softmax"]).problem == "forbidden"
    honest_kinds = ["elementwise", "creation", "indexing"]
    assert not run_case(rows, honest, CASE, forbidden=["torch.softmax"], allowed=honest_kinds).problem
    assert run_case(rows, lambda x: x @ x.mT, CASE, allowed=honest_kinds).problem == "forbidden"


def without_modes(x):
    """Switches off whatever answers for devices."""
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    while torch._C._len_torch_dispatch_stack():
        torch._C._pop_torch_dispatch_stack(None)
    return x + torch.arange(3)


def test_who_switches_it_off_has_no_result_on_the_card():
    with as_the_lab_says():
        found = run_case(summed, without_modes, CASE)
    assert found.problem or found.outputs["device of rows"] == "cpu"


def test_a_case_with_a_real_device_pretends_nothing():
    given = moved({"x": torch.ones(2), DEVICE: PRETENDED}, "meta")
    assert given["x"].is_meta and given[DEVICE] == "meta" and moved({"x": torch.ones(2)}, "meta").keys() == {"x"}
    with on_a_card({**CASE, DEVICE: "cpu"}) as (inputs, pretence):
        assert inputs[DEVICE] == torch.device("cpu") and pretence is None and inputs["x"].device.type == "cpu"
    assert moved(CASE, "cpu")[DEVICE] == PRETENDED


def test_points_for_devices_bring_their_case():
    def cases(draw):
        return [Given("sealed", "values", {"x": 1}), Given("public", "values", {"x": 2}, public=True)]

    *_, added = with_device(cases)(None)  # pyright: ignore[reportArgumentType]
    assert (added.name, added.aspect, added.public, added.inputs) == (
        "as on a card", DEVICE, True, {"x": 2, DEVICE: PRETENDED})  # fmt: skip

    own = [*cases(None), on_a_card_too(cases(None)[0])]
    assert with_device(lambda draw: own)(None) == own  # pyright: ignore[reportArgumentType]
