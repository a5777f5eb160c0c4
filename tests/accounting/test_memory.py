"""Memory against live models: what autograd keeps, to the byte; a step's peak; the notes' and a paper's figures."""

import math
import random
from dataclasses import replace
from itertools import product

import pytest
import torch

from benchmarks.accounting_peers import mem_tracker
from mlsys_course.accounting import (
    BadSize,
    ModelConfig,
    gpt2,
    gpt3_175b,
    llama2_7b,
    llama31_405b,
    parameter_table,
    peak_memory,
    preset,
    sharded_states,
    zero_stage,
)
from mlsys_course.accounting.measured import example, live_decoder, loss_of, measured_peak, saved_bytes
from mlsys_course.accounting.memory import (
    Recipe,
    activation_bytes,
    activation_memory,
    attention_pairs_bytes,
    inference_memory,
    korthikanti,
    kv_cache_bytes,
    memory_timeline,
    model_states,
    training_memory,
)
from mlsys_course.accounting.tape import Memory, Storage
from mlsys_course.accounting.zero import STAGES

GPT = replace(
    gpt2(), vocabulary=301, context=48, d_model=48, n_layers=3, n_heads=6, n_kv_heads=6, head_dim=8, d_ffn=160
)
LLAMA = replace(llama2_7b(), vocabulary=301, d_model=48, n_layers=3, n_heads=6, n_kv_heads=2, head_dim=8, d_ffn=160)
WAYS = [
    (attention, dropout, checkpointing)
    for attention, dropout, checkpointing in product(("fused", "eager"), (False, True), ("none", "selective", "full"))
    if not (attention == "fused" and dropout)  # no such kernel on the CPU
]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
@pytest.mark.parametrize("config", [GPT, LLAMA], ids=["gpt", "llama"])
def test_what_autograd_keeps_is_what_saved_tensor_hooks_see(config: ModelConfig, precision: str) -> None:
    for n, (attention, dropout, checkpointing) in enumerate(WAYS):
        recipe = Recipe(precision, attention, dropout, checkpointing, "adamw", "cpu")
        batch, time = ((2, 32), (1, 41), (3, 17))[n % 3]
        model, inputs = live_decoder(config, recipe, time), example(config, batch, time, "cpu")
        kept = saved_bytes(model, lambda m=model, i=inputs, r=recipe: loss_of(m, *i, r), inputs)
        assert activation_memory(config, batch, time, recipe).total == kept, recipe


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
@pytest.mark.parametrize("config", [GPT, LLAMA], ids=["gpt", "llama"])
def test_the_peak_of_a_step_is_that_of_its_tensors(config: ModelConfig, precision: str) -> None:
    """Few tokens make the optimizer's update the peak, many tokens and a small vocabulary backward's way."""
    for attention, dropout, checkpointing in WAYS:
        recipe = Recipe(precision, attention, dropout, checkpointing, "adamw", "cpu")
        for model, batch, time in ((config, 1, 4), (replace(config, vocabulary=11), 3, 48)):
            measured, predicted = measured_peak(model, batch, time, recipe), training_memory(model, batch, time, recipe)
            assert predicted.total == pytest.approx(measured, rel=0.02), (recipe, batch)


def test_pytorchs_own_tracker_says_the_same() -> None:
    for config, recipe in (
        (GPT, Recipe("autocast", "eager", True, "none", "adamw", "cpu")),
        (LLAMA, Recipe("bfloat16", "fused", False, "none", "adamw", "cpu")),
    ):
        theirs = mem_tracker(config, 2, 32, recipe)
        assert training_memory(config, 2, 32, recipe).total == pytest.approx(theirs, rel=0.001)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["autocast", "bfloat16"])
def test_the_peak_on_a_card(precision: str) -> None:
    config = replace(gpt2(), n_layers=4, vocabulary=8192)
    for attention, optimizer in product(("fused", "eager"), ("adamw", "adamw_fused")):
        recipe = Recipe(precision, attention, optimizer=optimizer)
        measured = measured_peak(config, 8, 1024, recipe)
        assert training_memory(config, 8, 1024, recipe).total == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("checkpointing", ["none", "selective", "full"])
@pytest.mark.parametrize("attention", ["eager", "fused"])
@pytest.mark.parametrize(("gated", "n_kv_heads"), [(False, 6), (True, 2)])
def test_a_layer_by_formula_is_a_layer_of_the_tape(
    attention: str, checkpointing: str, gated: bool, n_kv_heads: int
) -> None:
    """What a second layer adds."""
    config = replace(GPT, gated=gated, n_kv_heads=n_kv_heads)
    recipe = Recipe("float32", attention, checkpointing=checkpointing, device="cpu")
    found = activation_bytes(config, 3, 17, attention, checkpointing)
    one, two = (activation_memory(replace(config, n_layers=n), 3, 17, recipe) for n in (1, 2))
    assert found.pop("total") == sum(found.values()) == two.total - one.total


def test_states_as_the_notes_draw_them() -> None:
    """GPT-3 175B: 700 + 700 + 700 for the optimizer, 350 for 16-bit weights, 350 for gradients."""
    gb = {term: size // 10**9 for term, size in model_states(175 * 10**9).items()}
    assert gb == {
        "weights": 350, "gradients": 350, "master_weights": 700, "first_moment": 700, "second_moment": 700,
        "total": 2800,
    }  # fmt: skip
    exact = parameter_table(gpt3_175b()).total
    total = {precision: model_states(exact, precision)["total"] for precision in ("mixed", "autocast", "bfloat16")}
    assert total["mixed"] == 16 * exact
    assert total["autocast"] == total["mixed"]
    assert total["bfloat16"] == total["mixed"] // 2
    assert model_states(80 * 10**9)["total"] == 1_280 * 10**9  # note 003: terabytes for 80 billion, against 80 GB


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
def test_states_are_those_of_a_live_optimizer(precision: str) -> None:
    recipe = Recipe(precision, device="cpu")
    model = live_decoder(GPT, recipe, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    inputs = example(GPT, 1, 8, "cpu")
    loss_of(model, *inputs, recipe).backward()
    optimizer.step()
    table = model_states(parameter_table(GPT).total, precision)
    states = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    assert table["weights"] == sum(p.nbytes for p in model.parameters())
    assert table["gradients"] == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    assert table["first_moment"] + table["second_moment"] == sum(value.nbytes for value in states)


def test_korthikantis_formula_and_what_it_leaves_out() -> None:
    """On a card in 16 bits with dropout: 34 s b h to the byte, 7 a s^2 b where a softmax in float32 makes 5 to 7."""
    config, b, s = replace(gpt2(), vocabulary=64), 4, 1024
    recipe = Recipe("bfloat16", "eager", dropout=True)
    layer = [activation_memory(replace(config, n_layers=n), b, s, recipe).total for n in (1, 2)]
    statistics = 2 * 2 * 4 * s * b  # mean and deviation of each token, in two norms
    assert layer[1] - layer[0] == 34 * s * b * 768 + 7 * 12 * s * s * b + statistics
    assert korthikanti(config, b, s) == 12 * (34 * s * b * 768 + 5 * 12 * s * s * b)
    fused = activation_memory(config, b, s, Recipe("bfloat16", "fused", dropout=True))
    assert "attention.pairs" not in fused and fused.total < korthikanti(config, b, s) / 2


def test_checkpointing_keeps_a_layers_input_only() -> None:
    b, s = 2, 128
    sizes = [activation_memory(replace(gpt2(), n_layers=n), b, s, Recipe(checkpointing="full")).total for n in (4, 5)]
    assert sizes[1] - sizes[0] == 4 * b * s * 768


def test_blocks_of_512_bytes_on_a_card() -> None:
    odd = replace(GPT, vocabulary=301, n_layers=1)
    card, host = (model_bytes(odd, device) for device in ("cuda", "cpu"))
    assert host == 4 * parameter_table(odd).total
    shapes = [p.numel() for p in live_decoder(odd, Recipe("float32", device="cpu"), 8).parameters()]
    assert card == sum(math.ceil(4 * n / 512) * 512 for n in shapes)


def test_large_blocks_take_the_rest_of_a_segment() -> None:
    """GPT-2 774M's matrices of 25 MiB lie in segments of 26; the 355M's of 16 MiB fill theirs."""
    for name, matrices in (("gpt2-large", 72), ("gpt2-medium", 0)):
        config = replace(preset(name), vocabulary=64, context=64)
        card, host = (training_memory(config, 1, 8, Recipe("float32", device=d))["weights"] for d in ("cuda", "cpu"))
        assert card - host == pytest.approx(matrices * 2**20, abs=2**17)


def model_bytes(config: ModelConfig, device: str) -> int:
    return training_memory(config, 1, 8, Recipe("float32", device=device))["weights"]


def test_a_cards_optimizer_needs_room_for_roots() -> None:
    """At a batch of one the update is the peak: all square roots at once, unless it is fused."""
    plain, fused = (training_memory(gpt2(), 1, 16, Recipe(optimizer=name)) for name in ("adamw", "adamw_fused"))
    assert plain["temporaries"] == pytest.approx(4 * parameter_table(gpt2()).total, rel=0.003)
    assert plain.total == pytest.approx(5 * plain["weights"], rel=0.001) and fused.total < 0.9 * plain.total


def test_the_wall_of_attention() -> None:
    """Twice the sequence: eager attention's activations grow fourfold in the end, fused attention's twofold."""
    config = replace(gpt2(), context=10**6)
    for attention, low, high in (("eager", 3.5, 4), ("fused", 1.9, 2)):
        one, two = (activation_memory(config, 1, t, Recipe(attention=attention)).total for t in (16384, 32768))
        assert low < two / one < high
    assert attention_pairs_bytes(config, 1, 32768) == 12 * 12 * 32768**2 * 2


def test_inference_against_a_live_cache() -> None:
    from mlsys_course.attention import KVCache
    from mlsys_course.transformer import Decoder

    model = Decoder(LLAMA).to(torch.bfloat16)
    caches = [KVCache(20) for _ in range(LLAMA.n_layers)]
    with torch.no_grad():
        model(torch.zeros(3, 20, dtype=torch.long), caches=caches)
    live = sum(memory.nbytes for cache in caches for memory in cache._memory)
    assert kv_cache_bytes(LLAMA, 3, 20) == live
    table = inference_memory(LLAMA, 3, 20)
    assert (table["weights"], table["kv_cache"]) == (sum(p.nbytes for p in model.parameters()), live)
    assert kv_cache_bytes(llama2_7b(), 1, 4096) == 2 * 2**30
    assert kv_cache_bytes(preset("llama3.1-405b"), 1, 1) == 2 * 126 * 8 * 128 * 2


def test_a_timeline_rises_to_the_peak_and_comes_back() -> None:
    recipe = Recipe("float32", device="cpu")
    timeline = memory_timeline(GPT, 2, 32, recipe)
    assert max(timeline) == training_memory(GPT, 2, 32, recipe).total
    assert timeline[-1] == pytest.approx(16 * parameter_table(GPT).total, rel=0.02)  # states, with gradients


def test_a_405b_step_is_told_in_no_time() -> None:
    table = training_memory(llama31_405b(), 1, 8192, Recipe("mixed", checkpointing="full"))
    assert table.grouped().total == table.total > 16 * 405 * 10**9


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("batch=0 is no size", lambda: training_memory(GPT, 0, 8)),
        ("time=0 is no size", lambda: activation_memory(GPT, 1, 0)),
        ("time=49 is beyond the 48 learned positions", lambda: training_memory(GPT, 1, 49)),
        ("precision='fp16' is unknown", lambda: Recipe("fp16")),
        ("precision='bfloat61' .*did you mean 'bfloat16'", lambda: model_states(1, "bfloat61")),
        ("optimizer='adam' is unknown.*'adamw'", lambda: model_states(1, optimizer="adam")),
        ("precision='bfloat61'", lambda: sharded_states(1, 1, 0, "bfloat61")),
        ("attention='eage' .*did you mean 'eager'", lambda: activation_bytes(GPT, 1, 8, "eage")),
        ("checkpointing='some'", lambda: activation_bytes(GPT, 1, 8, checkpointing="some")),
        ("norm='rms': activation_memory counts", lambda: activation_bytes(replace(GPT, norm="rms"), 1, 8)),
        ("attention='fused' with dropout=True", lambda: Recipe(dropout=True, device="cpu")),
        ("sinks=True", lambda: training_memory(replace(GPT, sinks=True), 1, 8)),
        ("parameters=-1", lambda: model_states(-1)),
        ("time=-2", lambda: kv_cache_bytes(GPT, 1, -2)),
    ],
)
def test_bad_input_is_named(message: str, call) -> None:
    with pytest.raises(BadSize, match=message):
        call()


def test_the_peak_of_events_is_that_of_the_tapes_memory() -> None:
    """The same takes and gives, through ``Memory``, which counts a card's blocks of 512 bytes."""
    generator, events, alive = random.Random(5), [], []
    memory, storages = Memory(caching=True), {}
    for n in range(200):
        if alive and generator.random() < 0.45:
            name = alive.pop(generator.randrange(len(alive)))
            events.append((name, 0))
            del storages[name]
        else:
            alive.append(name := f"tensor {n % 37}.{n}")
            events.append((name, generator.randrange(1, 100_000)))
            storages[name] = Storage(memory, events[-1][1], name)
    found = peak_memory(events, 512)
    assert found["peak"] == memory.peak == sum(found["alive"].values())
    assert peak_memory(events[: found["at"] + 1], 512) == found
    assert peak_memory(events[: found["at"]], 512)["peak"] < found["peak"]
    assert found["alive"] == {name: size for name, size in memory.terms_at_peak().items() if size}


@pytest.mark.parametrize("ranks", [1, 3, 8])
def test_the_stages_of_zero_are_the_sharded_states(ranks: int) -> None:
    parameters, activations = 1003, 777
    for memory in (700, 790, 2000, 6000, 17000):
        found = zero_stage(parameters, activations, ranks, memory)
        held = [sharded_states(parameters, ranks, stage).total + activations for stage in STAGES]
        fits = [stage for stage, size in enumerate(held) if size <= memory]
        enough = (p for p in range(1, 1004) if sharded_states(parameters, p, 3).total + activations <= memory)
        assert found == {"bytes": held, "stage": min(fits, default=None), "ranks": next(enough, None)}


@pytest.mark.parametrize(
    "change",
    [
        {"norm_position": "post"},
        {"embedding_scale": True},
        {"positions": "sinusoidal"},
        {"positions": "relative", "buckets": 32},
    ],
)
def test_a_step_is_counted_for_what_the_live_model_can_be(change: dict) -> None:
    field, value = next(iter(change.items()))
    with pytest.raises(
        BadSize, match=f"^{field}={value!r}: a step's memory is counted for plain decoders; set {field}="
    ):
        training_memory(replace(LLAMA, **change), 1, 8)
