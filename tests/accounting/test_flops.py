"""FLOPs against PyTorch's own counter on live models of each family, and the notes' figures."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mlsys_course.accounting import (
    BadSize,
    ModelConfig,
    flops_by_operator,
    forward_flops,
    gpt2,
    hfu,
    llama2_7b,
    mfu,
    operators,
    parameter_table,
    preset,
    six_nd,
    six_nd_error,
    step_flops,
    training_flops,
)
from mlsys_course.accounting.measured import live_decoder, loss_of
from mlsys_course.accounting.memory import Recipe
from tests.accounting.live_models import hugging_face

FAMILIES = ["gpt2", "gpt2-medium", "llama2-7b", "llama2-70b", "llama3-8b", "bert-base", "t5-small", "t5-3b"]


def tokens(batch: int, time: int) -> torch.Tensor:
    return torch.zeros(batch, time, dtype=torch.long, device="meta")


def mask(batch: int, time: int) -> torch.Tensor:
    """Ready for the scores: what there is to be made of another is read, which the meta device cannot."""
    return torch.zeros(batch, 1, time, time, device="meta")


def counted(model: torch.nn.Module, *, backward: bool = False, **inputs: torch.Tensor) -> int:
    """FLOPs that PyTorch counts in a live model's forward, and backward.

    Without what makes the rotary tables: some versions of transformers write that as a matrix product.
    """
    with FlopCounterMode(display=False) as counter:
        logits = model(**inputs, return_dict=True).logits
        if backward:
            logits.float().sum().backward()
    tables = (flops for name, flops in counter.get_flop_counts().items() if name.endswith("rotary_emb"))
    return counter.get_total_flops() - sum(sum(flops.values()) for flops in tables)


@pytest.mark.parametrize("name", FAMILIES)
def test_matrix_products_equal_the_counter_on_hugging_faces_models(name: str) -> None:
    config = replace(preset(name), n_layers=2, encoder_layers=3 if preset(name).encoder_layers else 0)
    model, T = hugging_face_of(config), 48
    inputs = {"input_ids": tokens(2, T), "attention_mask": mask(2, T)}
    if config.encoder_layers:
        inputs = {"input_ids": tokens(2, 40), "decoder_input_ids": tokens(2, T)}
    source = 40 if config.encoder_layers else None
    assert flops_by_operator(config, 2, T, source=source).total == counted(model, **inputs)


def hugging_face_of(config: ModelConfig) -> torch.nn.Module:
    """With as many layers as the configuration says on each side."""
    model = hugging_face(config)
    if config.encoder_layers:
        with torch.device("meta"):
            other = hugging_face(replace(config, n_layers=config.encoder_layers))
        model.encoder.block = other.encoder.block
    return model.eval()


@pytest.mark.parametrize("name", ["gpt2", "llama3-8b", "bert-base", "t5-small"])
def test_backward_is_twice_forward(name: str) -> None:
    config = replace(preset(name), n_layers=2, encoder_layers=2 if preset(name).encoder_layers else 0)
    inputs = {"input_ids": tokens(1, 32), "attention_mask": mask(1, 32)}
    if config.encoder_layers:
        inputs = {"input_ids": tokens(1, 32), "decoder_input_ids": tokens(1, 32)}
    assert step_flops(config, 1, 32).total == counted(hugging_face(config), backward=True, **inputs)


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_recompute_is_what_checkpointing_runs_again(recompute: str) -> None:
    config = replace(gpt2(), vocabulary=99, n_layers=2, d_model=48, n_heads=4, n_kv_heads=4, head_dim=12, d_ffn=96)
    recipe = Recipe("float32", "eager", False, recompute, "adamw", "cpu")
    model, ids = live_decoder(config, recipe, 24), torch.zeros(2, 24, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        loss_of(model, ids, ids, recipe).backward()
    exact = step_flops(config, 2, 24, recompute=recompute)
    # PyTorch ends a second pass at the last tensor that backward asks for: before the layer's last product.
    spared = {"none": 0, "selective": exact_values(config), "full": 2 * 2 * 24 * 2 * 96 * 48}[recompute]
    assert exact.total - counter.get_total_flops() == spared


def exact_values(config: ModelConfig) -> int:
    return flops_by_operator(config, 2, 24)["attention.values"]


def test_decoding_with_a_cache_equals_the_counter() -> None:
    from mlsys_course.attention import KVCache
    from mlsys_course.transformer import Decoder

    config = replace(preset("llama3-8b"), n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, head_dim=16, d_ffn=128,
                     vocabulary=99)  # fmt: skip
    model = Decoder(config)
    caches = [KVCache(40) for _ in range(2)]
    with torch.no_grad():
        model(torch.zeros(3, 20, dtype=torch.long), caches=caches)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(3, 2, dtype=torch.long), caches=caches)
    assert flops_by_operator(config, 3, 2, past=20).total == counter.get_total_flops()


def test_a_causal_mask_hides_what_the_pairs_say() -> None:
    config, T, past = gpt2(), 7, 5
    for flops, name in ((flops_by_operator(config, 1, T, past=past), "attention.scores"),
                        (flops_by_operator(config, 1, T, past=past), "attention.values")):  # fmt: skip
        seen = sum(1 for query in range(T) for key in range(past + T) if key <= past + query)
        causal = flops_by_operator(config, 1, T, past=past, causal=True)
        assert causal[name] * T * (past + T) == flops[name] * seen
    whole, half = flops_by_operator(config, 1, T), flops_by_operator(config, 1, T, causal=True)
    assert whole["mlp.up"] == half["mlp.up"] and whole["attention.query"] == half["attention.query"]
    bert = preset("bert-base")
    assert flops_by_operator(bert, 1, T, causal=True) == flops_by_operator(bert, 1, T)
    t5 = preset("t5-small")
    hidden = flops_by_operator(t5, 1, 8).total - flops_by_operator(t5, 1, 8, causal=True).total
    assert hidden == 2 * 6 * 2 * 8 * 64 * (64 - 36)  # scores and values, 6 layers of the decoder only


def test_lecture_004_llama2_7b() -> None:
    """63 TFLOPs forward; of the 192.17 of training one part is an embedding counted as a matrix product."""
    config = llama2_7b()
    forward, rest = flops_by_operator(config, 1, 4096), flops_by_operator(config, 1, 4096, elementwise=True)
    lecture = forward.total + rest["attention.softmax"]
    assert lecture == 32 * (8 * 4096**3 + 4 * 4096**3 + 3 * 32 * 4096**2 + 6 * 4096**2 * 11008) + 2 * 32000 * 4096**2
    assert round(lecture / 1e12) == 63
    # Its breakdown, to the last digit: no rotary positions, one FLOP for each SiLU, each residual addition twice,
    # and an embedding as large as the head.
    counted = {
        "embedding": forward["head.logits"],
        "norms": rest["norms.layer"] + rest["norms.around"],
        "residual": 2 * rest["residual.add"],
        "attention": forward.grouped()["attention"] + rest["attention.softmax"],
        "mlp": forward.grouped()["mlp"] + 2 * rest["mlp.multiply"],
        "head": forward["head.logits"],
    }
    total = sum(counted.values())
    assert round(3 * total / 1e12, 2) == 192.17
    shares = {name: round(100 * flops / total, 3) for name, flops in counted.items()}
    assert shares == {
        "embedding": 1.676, "norms": 0.007, "residual": 0.003, "attention": 41.276, "mlp": 55.361, "head": 1.676
    }  # fmt: skip


def test_six_nd_and_where_it_fails() -> None:
    assert six_nd(175 * 10**9, 300 * 10**9) == 315 * 10**21
    assert six_nd_error(gpt2(), 1024) == pytest.approx(-0.126, abs=0.001)
    assert six_nd_error(preset("gpt3-175b"), 2048) == pytest.approx(-0.03, abs=0.02)
    exact = 3 * (12 * (24 * 768**2 + 4 * 1024 * 768) + 2 * 768 * 50257)
    assert step_flops(gpt2(), 1, 1024).total == 1024 * exact
    assert six_nd(parameter_table(gpt2()).total, 1024) / step_flops(gpt2(), 1, 1024).total - 1 == six_nd_error(
        gpt2(), 1024
    )


def test_utilization_counts_recomputation_once_or_twice() -> None:
    config = gpt2()
    a_token = step_flops(config, 1, 1024).total / 1024
    assert mfu(config, 1024, 1e5, 1e15) == pytest.approx(a_token * 1e5 / 1e15)
    assert hfu(config, 1024, 1e5, 1e15) == mfu(config, 1024, 1e5, 1e15)
    full = hfu(config, 1024, 1e5, 1e15, recompute="full") / mfu(config, 1024, 1e5, 1e15)
    assert 1.2 < full < 4 / 3
    fused = step_flops(config, 1, 1024, attention="fused")
    assert fused["recompute"] == flops_by_operator(config, 1, 1024)["attention.scores"]


@pytest.mark.parametrize("name", ["gpt2", "llama2-70b"])
@pytest.mark.parametrize(("time", "past"), [(48, 0), (1, 100), (7, 30)])
def test_the_lectures_formulas_are_sums_of_operators(name: str, time: int, past: int) -> None:
    found = forward_flops(preset(name), 3, time, past)
    table = flops_by_operator(preset(name), 3, time, past=past)
    assert found.pop("total") == table.total
    names = {"projections": ("query", "key", "value", "output"), "pairs": ("scores", "values"), "head": ("logits",)}
    names["mlp"] = ("gate", "up", "down")
    assert found == {
        term: sum(flops for operator, flops in table.items() if operator.partition(".")[2] in parts)
        for term, parts in names.items()
    }


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("attention", ["eager", "fused"])
def test_a_step_from_terms_is_a_step_from_operators(recompute: str, attention: str) -> None:
    config, forward = llama2_7b(), forward_flops(llama2_7b(), 2, 64)
    found = training_flops(forward, parameter_table(config).total, 128, recompute, attention)
    assert found.pop("six_nd") == 6 * 6_738_415_616 * 128
    assert found == step_flops(config, 2, 64, recompute=recompute, attention=attention)


def test_wide_values_make_scores_less_than_half_of_the_pairs() -> None:
    config = replace(llama2_7b(), value_multiple=3)
    table = flops_by_operator(config, 1, 8)
    again = [step_flops(config, 1, 8, attention=attention)["recompute"] for attention in ("eager", "fused")]
    assert again == [0, table["attention.scores"]] and table["attention.values"] == 3 * table["attention.scores"]


def test_every_operator_says_what_it_moves() -> None:
    found = {operator.name: operator for operator in operators(llama2_7b(), 2, 16)}
    up = found["mlp.up"]
    assert (up.count, up.shape, up.weights) == (32, (2, 16, 11008), 4096 * 11008)
    assert (up.reads, up.writes) == (2 * 16 * 4096, 2 * 16 * 11008)
    scores = found["attention.scores"]
    assert (scores.reads, scores.writes) == (2 * (2 * 16 * 4096), 2 * 32 * 16 * 16)
    weights = sum(operator.count * operator.weights for operator in operators(preset("llama2-70b"), 1, 1))
    table = parameter_table(preset("llama2-70b"))
    assert weights == table.total - table["embedding"]


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("batch=0", {"batch": 0}),
        ("time=1.5", {"time": 1.5}),
        ("past=-1", {"past": -1}),
        ("batch=True", {"batch": True}),
    ],
)
def test_impossible_lengths_are_named(field: str, arguments: dict) -> None:
    with pytest.raises(BadSize, match=field):
        operators(gpt2(), **{"batch": 1, "time": 8, **arguments})


def test_an_unknown_way_to_recompute_names_the_others() -> None:
    with pytest.raises(BadSize, match=r"recompute='ful' is unknown; .*did you mean 'full'"):
        step_flops(gpt2(), 1, 8, recompute="ful")
    with pytest.raises(BadSize, match=r"attention='fuse' is unknown; .*did you mean 'fused'"):
        training_flops(forward_flops(gpt2(), 1, 8), 1, 8, attention="fuse")


def test_the_lectures_formulas_refuse_what_is_no_plain_decoder() -> None:
    with pytest.raises(
        BadSize, match="norm_position='post': forward_flops is for plain decoders, flops_by_operator for all"
    ):
        forward_flops(preset("bert-base"), 1, 8)
