"""The meter of peak memory: exact on known sequences, and what it reads decides on public cases."""

import gc
import math
import threading

import pytest
import torch

from autograder.cases import CaseError, check_limits
from autograder.exercise import Given
from mlsys_course.desk.check import Case, Outcome, Specification, driver, judge
from mlsys_course.desk.check.cell import run_cases
from mlsys_course.desk.check.edition import specification_from_bytes, specification_to_bytes
from mlsys_course.desk.check.meter import MemoryMeter, peak_bytes, run_measured
from mlsys_course.desk.check.verdict import judge_case

KIB = 256  # float32 numbers


def test_a_known_sequence_is_read_to_the_byte():
    with MemoryMeter() as meter:
        a = torch.ones(4 * KIB)
        b = a * 2
        assert meter.now == 8192
        view = b.view(4, KIB)[1:]
        b += 1
        assert meter.now == 8192, "views and changes in place are free"
        del b
        assert meter.now == 8192, "the view still holds it"
        del view
        assert meter.now == 4096
        a.resize_(8 * KIB)
        assert meter.now == 8192
        del a
    assert (meter.now, meter.peak) == (0, 8192)


def test_what_autograd_keeps_counts_until_backward():
    x = torch.ones(KIB, requires_grad=True)
    with MemoryMeter() as meter:
        total = torch.zeros(())
        for _ in range(5):
            total = total + x.exp().sum()  # exp keeps its result
        assert 5 * 1024 <= meter.now < 6 * 1024
        total.backward()
        del total
        assert 1024 <= meter.now < 1100  # x.grad
    gc.collect()
    assert 6 * 1024 <= meter.peak < 8 * 1024


def test_arguments_and_what_was_there_before_do_not_count():
    there, weight = torch.ones(1000 * KIB), torch.ones(KIB)
    assert peak_bytes(lambda x: x.mul_(2).view(-1).add_(there.sum()), there) < 16
    assert peak_bytes(torch.add, weight, other=weight) == 1024
    assert peak_bytes(lambda: torch.empty(KIB, device="meta")) == 0


def test_a_peak_inside_is_seen_though_it_is_gone_at_the_end():
    def spike(x):
        y = torch.cat([x] * 10)
        return y.sum()

    assert 10 * 1024 <= peak_bytes(spike, torch.ones(KIB)) < 10 * 1024 + 64


def test_another_threads_tensors_are_its_own():
    def elsewhere():
        thread = threading.Thread(target=torch.ones, args=(100 * KIB,))
        thread.start()
        thread.join()

    assert peak_bytes(elsewhere) == 0


@driver
def apply(candidate, case):
    return {"y": candidate(case["x"])}


def ballast(size):
    """A right function that holds ``size`` KiB more than it needs."""
    return lambda x: x + torch.ones(size * KIB)[0] * 0


def specification(limit: float) -> Specification:
    x = torch.ones(KIB)
    mistakes = {
        name: run_measured(apply, ballast(size), {"x": x}, {"peak_memory": limit})
        for name, size in (("hundred", 100), ("thousand", 1000))
    }
    case = Case("one", "memory", {"x": x}, {"y": x}, mistakes, {"peak_memory": limit})
    return Specification("apply", "core", {"memory": 1}, [case], {"hundred": "100 are too many.", "thousand": "1000?"})


@pytest.mark.parametrize(
    ("size", "named"), [(5, []), (70, ["hundred"]), (140, ["hundred"]), (300, []), (900, ["thousand"])]
)
def test_a_public_case_is_judged_and_explained_by_its_peak(size, named):
    shipped = specification_from_bytes(specification_to_bytes(specification(20 * 1024)))
    outcomes = run_cases(shipped, apply, ballast(size))
    verdict = judge(shipped, outcomes, apply)
    assert verdict.misconceptions == named
    assert verdict.ok == (size < 20)
    if not verdict.ok:
        assert verdict.results[0].wrong[0].startswith(f"costs too much (peak memory): {size / 1024:.1f} MiB")


def test_copies_that_the_check_makes_do_not_count():
    outcome = run_measured(apply, lambda x: x[:1].clone(), {"x": torch.ones(1000 * KIB)}, {"peak_memory": 1})
    assert outcome.costs == {"peak_memory": 4.0}
    assert run_measured(apply, lambda x: x + 1, {"x": torch.ones(3)}, {}).costs == {}


def test_calls_of_parts_are_counted_forward_and_backward():
    @driver(parts={"part": lambda x: x * 2})
    def composite(candidate, case, part):
        x = case["x"].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(candidate(x, part).sum(), x)
        return {"gradient": gradient}

    def calls(candidate):
        return run_measured(composite, candidate, {"x": torch.ones(2)}, {"part_calls": 9}).costs["part_calls"]

    assert calls(lambda x, part: part(x)) == 2
    assert calls(lambda x, part: part(x) + part(x.detach())) == 3
    assert calls(lambda x, part: x) == 0


def judged(costs: dict, mistaken: dict, limits: dict, y: float = 1.0, mistaken_y: float = 1.0) -> list:
    """Which of one misconception is recognised where outputs and costs are as given."""
    case = Case(
        "one", "all", {"x": torch.ones(1)}, {"y": 1.0}, {"m": Outcome({"y": mistaken_y}, costs=mistaken)}, limits
    )
    found = judge(
        Specification("e", "core", {"all": 1}, [case], {"m": "hint"}), {"one": Outcome({"y": y}, costs=costs)}
    )
    return list(found.misconceptions)


def test_a_misconception_told_by_cost_needs_the_same_costs():
    limits = {"rank_bytes": 100, "rank_messages": 5}
    assert judged({"rank_bytes": 300}, {"rank_bytes": 320}, limits) == ["m"]
    assert judged({"rank_bytes": 300}, {"rank_bytes": 340}, limits) == []
    assert judged({"rank_bytes": 300, "rank_messages": 9}, {"rank_bytes": 300}, limits) == []
    assert judged({"rank_bytes": 300, "rank_messages": 4}, {"rank_bytes": 300, "rank_messages": 1}, limits) == ["m"]
    assert judged({"rank_bytes": 300}, {}, limits, mistaken_y=7.0) == []


def test_a_wrong_value_tells_its_misconception_whatever_it_costs():
    assert judged({"rank_bytes": 300}, {}, {"rank_bytes": 100}, y=7.0, mistaken_y=7.0) == ["m"]


def with_limits(limits: dict, found: float, mistaken: float) -> tuple[Given, Outcome, Case]:
    """A case, what the reference comes to there, and what a misconception does."""
    (cost,) = limits
    given = Given("one", "all", {"x": 1}, limits=limits)
    mistakes = {"m": Outcome(1.0, costs={cost: mistaken})}
    return given, Outcome(1.0, costs={cost: found}), Case("one", "all", {"x": 1}, 1.0, mistakes, limits)


def test_the_build_wants_room_in_a_limit_and_a_misconception_far_over_it():
    excess_of = pytest.importorskip("autograder.build.proof", reason="wants Jupyter").excess_of
    given, reference, case = with_limits({"peak_memory": 8 << 20}, found=4 << 20, mistaken=16 << 20)
    check_limits("e", given, reference)
    assert excess_of(case, "m") == 1
    with pytest.raises(
        CaseError, match=r"allows 8.0 MiB of peak_memory; the reference takes 5.0 MiB, .* at least 2 times"
    ):
        check_limits("e", given, Outcome(costs={"peak_memory": 5 << 20}))
    given, reference, case = with_limits({"rank_bytes": 100}, found=100, mistaken=110)
    check_limits("e", given, reference)
    assert excess_of(case, "m") == 1.1
    with pytest.raises(CaseError, match="allows 100 of rank_bytes; the reference takes 101"):
        check_limits("e", given, Outcome(costs={"rank_bytes": 101}))
    with pytest.raises(CaseError, match="limits 'rank_bytes', which nothing measures"):
        check_limits("e", given, Outcome())


@pytest.mark.parametrize(
    ("found", "right"), [(0.0, True), (5.0, True), (6.0, False), (math.inf, False), (math.nan, False)]
)
def test_what_nobody_could_measure_is_over_its_limit(found, right):
    case = Case("long", "memory", {}, {"y": 1}, limits={"peak_memory": 5.0})
    specification = Specification("f", "core", {"memory": 1.0}, [case])
    result = judge_case(specification, case, Outcome({"y": 1}, costs={"peak_memory": found}), None)
    assert result.ok == right and not any("inf" in words or "nan" in words for words in result.wrong)
