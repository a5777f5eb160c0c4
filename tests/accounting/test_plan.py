"""Plans: what a GPU holds against the account of a step, time against its parts, remedies, bad input."""

import subprocess
import sys
import time
from dataclasses import replace
from itertools import product

import pytest

from mlsys_course.accounting import (
    BadSize,
    Option,
    gpt2,
    gpu_memory,
    gpu_named,
    gpus_needed,
    link_named,
    llama2_7b,
    llama31_405b,
    parameter_table,
    plan,
    preset,
    remedies,
    run_of,
    schedule,
    sharded_states,
)
from mlsys_course.accounting.memory import Recipe, model_states, training_memory
from mlsys_course.accounting.plan import laid_out, smallest_that
from mlsys_course.accounting.recipe import CHECKPOINTING
from mlsys_course.accounting.zero import SHARDED_FROM, beside_states, simulated
from mlsys_course.desk.plan_view import bar, cells, summary, to_dict

MIXED = Recipe("mixed")


def only(memory, states: bool) -> int:
    return sum(count for name, count in memory.items() if (name in SHARDED_FROM) == states)


@pytest.mark.parametrize("precision", ["mixed", "float32"])
@pytest.mark.parametrize(("attention", "checkpointing"), list(product(("fused", "eager"), CHECKPOINTING)))
def test_layers_are_counted_once_and_multiplied(precision: str, attention: str, checkpointing: str) -> None:
    """The short cut that makes plans fast changes no byte."""
    recipe = Recipe(precision, attention=attention, checkpointing=checkpointing)
    for config in (replace(preset("llama3-8b"), n_layers=6), replace(gpt2(), n_layers=5)):
        assert beside_states(config, 3, 256, recipe).total == sum(simulated(config, 3, 256, recipe).values())


@pytest.mark.parametrize("checkpointing", ["none", "full"])
def test_one_gpu_holds_what_a_step_holds(checkpointing: str) -> None:
    """Never less than the memory account, and more by gradients that are not all there at its peak."""
    recipe = Recipe("float32", checkpointing=checkpointing, optimizer="adamw_fused")
    planned, counted = gpu_memory(gpt2(), 8, 512, 1, 0, recipe), training_memory(gpt2(), 8, 512, recipe)
    gradients = model_states(parameter_table(gpt2()).total, "float32")["gradients"]
    assert counted.total <= planned.total <= counted.total + gradients
    assert only(planned, states=True) == model_states(parameter_table(gpt2()).total, "float32")["total"]


def test_each_stage_divides_what_its_name_says() -> None:
    whole, N, P = model_states(1_000_003), 1_000_003, 8
    share = -(-N // P)
    found = [sharded_states(N, P, stage) for stage in range(4)]
    assert found[0].to_dict() == whole
    assert [table.total for table in found] == [16 * N, 4 * N + 12 * share, 2 * N + 14 * share, 16 * share]
    assert all(P * table[name] >= whole[name] for table in found for name in table)  # nothing is lost
    assert found[3] == sharded_states(N, P, 3) and sharded_states(N, 1, 3).to_dict() == whole


def test_activations_are_a_ranks_own() -> None:
    tables = [gpu_memory(llama2_7b(), 1, 512, 64, stage, MIXED) for stage in range(4)]
    assert len({table["activations"] for table in tables}) == 1
    assert [table.total for table in tables] == sorted((table.total for table in tables), reverse=True)


def test_a_plan_takes_the_largest_micro_batch_that_fits() -> None:
    run = run_of(llama2_7b(), 2e12, "h100", gpus=64)
    planned = plan(run)
    assert {(one.stage, one.checkpointing) for one in planned.options} == set(product(range(4), CHECKPOINTING))
    for one in planned.options:
        assert one.fits or one.micro_batch == 1
        if one.fits and one.micro_batch < run.sequences:
            assert not laid_out(run, one.stage, one.checkpointing, 2 * one.micro_batch).fits
        assert one.micro_batch * one.micro_batches >= run.sequences
    best = planned.best
    assert best is not None and best.schedule["step_seconds"] == min(
        one.schedule["step_seconds"] for one in planned.options if one.fits
    )


def test_days_follow_from_flops_where_cards_are_slower_and_from_the_wire_where_that_is() -> None:
    fast, slow = (
        plan(run_of(llama2_7b(), 2e12, "h100", gpus=64, link=link)).best for link in ("nvlink4", "ethernet-10g")
    )
    assert fast is not None and slow is not None
    assert fast.schedule["days"] == pytest.approx(plan(fast.run).compute_days, rel=1e-4)
    assert fast.mfu == pytest.approx(0.4)
    ring = 2 * 63 * -(-6_738_415_616 // 64) * 2  # bytes out of each rank
    assert slow.schedule["exchange_seconds"] == pytest.approx(ring / 1.25e9)
    assert slow.schedule["days"] == pytest.approx(slow.schedule["steps"] * ring / 1.25e9 / 86_400)
    assert slow.mfu == pytest.approx(0.4 * slow.schedule["compute_seconds"] / slow.schedule["exchange_seconds"])
    assert any("utilization falls" in line for line in summary(plan(slow.run)))
    assert f"{slow.mfu:.0%}" in cells(slow, best=True) and "40%" in cells(fast, best=True)


def test_each_stage_sends_what_its_scheme_sends() -> None:
    """Shards that a rank sends in a step of 16 sequences, four at a time; of 16 bits, and of 32."""
    run = run_of(llama2_7b(), 2e12, "h100", gpus=64)
    assert run.sequences == 16
    others = 63 * -(-6_738_415_616 // 64)
    for dtype, itemsize in (("bfloat16", 2), ("tf32", 4)):
        options = [laid_out(replace(run, dtype=dtype), stage, "none", 4) for stage in range(4)]
        sent = [option.schedule["exchange_seconds"] * run.link.each_way / (others * itemsize) for option in options]
        assert sent == pytest.approx([2, 2, 4 + 1, 4 * 3])


def test_recompute_costs_a_third_more_at_most() -> None:
    run = run_of(llama2_7b(), 2e12, "h100", gpus=64)
    none, some, full = (laid_out(run, 3, way, 1).schedule["compute_seconds"] for way in CHECKPOINTING)
    assert none < some < full < 4 / 3 * none


def test_days_ask_for_gpus_and_gpus_for_days() -> None:
    run = run_of(llama2_7b(), 2e12, "h100", days=30)
    exact = gpus_needed(run.flops_per_token * run.tokens, run.peak, run.mfu, 30)["exact"]
    assert run.gpus - 1 < exact <= run.gpus
    assert plan(run).compute_days <= 30
    assert run.link == link_named("infiniband-ndr")
    assert run_of(llama2_7b(), 2e12, "h100", gpus=8).link == link_named("nvlink4")


def test_a_box_is_rented_whole() -> None:
    """The notes' 759.5 GPUs are 95 boxes of eight."""
    found = gpus_needed(6 * 175e9 * 300e9, 160e12, 1, 30, 8)
    assert found["exact"] == pytest.approx(759.5, abs=0.05) and found["rented"] == 760
    assert gpus_needed(1000.0 * 2 * 86_400 * 16, 2000.0, 0.5, 2, 8)["rented"] == 16


def test_the_bill_and_what_is_reached() -> None:
    found = schedule(6e9, 10, 4, 2, 2e12, 0.5, 3.0, 2.0, 7.0)
    assert found["cost"] == pytest.approx(3 * 1.5 / 3600 * 2 * 7.0) and found["days"] == 3 * 1.5 / 86_400
    assert found["reached"] == pytest.approx(6e9 * 4 / 1.5 / (2 * 2e12))
    assert schedule(6e9, 10, 4, 2, 2e12, 0.5, 0.0, 2.0)["reached"] == pytest.approx(0.5)


def test_a_last_step_with_less_to_do_takes_as_long() -> None:
    found = schedule(6e9, 10, 4, 2, 2e12, 0.5, 3.0, 2.0)
    assert (found["steps"], found["step_seconds"]) == (3, 1.5)


def test_405_billion_parameters_are_planned_in_less_than_a_second() -> None:
    beside_states.cache_clear()
    start = time.process_time()
    planned = plan(run_of(llama31_405b(), 15.6e12, "h100", gpus=16384))
    found = [plan(run_of(llama31_405b(), 15.6e12, "h100", gpus=64)), to_dict(planned)]
    assert time.process_time() - start < 1.0 and found
    assert planned.best is not None and (planned.best.stage, planned.best.checkpointing) == (3, "full")


def test_planning_imports_neither_torch_nor_matplotlib() -> None:
    code = "import sys, mlsys_course.desk.plan_view; print({'torch', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_what_does_not_fit_says_by_how_much_and_each_remedy_holds() -> None:
    run = run_of(llama31_405b(), 1e12, "h100", gpus=64)
    planned = plan(run)
    assert planned.best is None and planned.smallest.free < 0
    assert any(f"{-planned.smallest.free / 1e9:.1f} GB too much" in line for line in summary(planned))
    cards, other = remedies(run)
    enough = int(cards.split()[0])
    assert plan(replace(run, gpus=enough)).best is not None and plan(replace(run, gpus=enough - 1)).best is None
    assert other == "another card: b200, b300"
    assert all(plan(replace(run, gpu=gpu_named(name))).best is not None for name in ("b200", "b300"))
    assert plan(replace(run, gpu=gpu_named("h200"))).best is None
    assert remedies(replace(run, gpus=enough)) == []


def test_long_sequences_and_large_micro_batches_have_their_own_remedies() -> None:
    run = run_of(preset("llama3.1-8b"), 1e12, "a100-40gb", gpus=64, time=131072)
    assert plan(run).best is None
    (said,) = [remedy for remedy in remedies(run) if "tokens" in remedy]
    shorter = int(said.split()[2])
    assert plan(replace(run, time=shorter)).best is not None and plan(replace(run, time=2 * shorter)).best is None
    fixed = run_of(llama2_7b(), 1e12, "h100", gpus=64, micro_batch=4096)
    assert plan(fixed).best is None and remedies(fixed)[0] == "a micro-batch of 1"


def test_smallest_that() -> None:
    assert [smallest_that(lambda n, least=least: n >= least, 3, 100) for least in (4, 5, 77, 100, 101)] == [
        4, 5, 77, 100, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gpus": 0}, "gpus=0"),
        ({"gpus": None}, "give exactly one"),
        ({"days": 3.0}, "give exactly one"),
        ({"gpus": None, "days": -1.0}, "days=-1.0"),
        ({"tokens": -5}, "tokens=-5"),
        ({"tokens": float("nan")}, "tokens=nan"),
        ({"gpu": "h1000"}, "did you mean 'h100'"),
        ({"link": "nvlnk"}, "link='nvlnk'"),
        ({"dtype": "bfloat61"}, "did you mean 'bfloat16'"),
        ({"dtype": "bfloat16", "gpu": "v100"}, "v100 has no such rate"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
        ({"micro_batch": 0}, "micro_batch=0"),
        ({"mfu": 1.5}, "mfu=1.5; give a number above 0 and at most 1"),
        ({"price": 0.0}, "price=0.0"),
        ({"time": 4097}, "time=4097 is longer than the model's context, 4096"),
        ({"attention": "flash"}, "attention='flash' is unknown"),
        ({"config": preset("t5-small")}, "plain decoders"),
    ],
)
def test_bad_input_is_a_problem_that_names_the_field(changes: dict, says: str) -> None:
    given = {"config": llama2_7b(), "tokens": 1e12, "gpu": "h100", "gpus": 8, **changes}
    with pytest.raises(BadSize, match=says):
        run_of(**given)


def test_a_bar_is_as_long_as_the_card_is_full() -> None:
    run = run_of(llama2_7b(), 1e12, "h100", gpus=64)
    one = laid_out(run, 1, "none", 1)
    half = Option(
        run, 1, "none", 1, one.memory.__class__("bytes", {**dict.fromkeys(SHARDED_FROM, 0), "activations": 40 * 10**9})
    )
    assert bar(half) == "▒▒▒▒▒·····"
    assert bar(laid_out(run, 0, "none", 1)).endswith(">")
