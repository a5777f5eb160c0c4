"""``parameter_table`` against live models on the meta device, and against published totals."""

from dataclasses import replace

import pytest
import torch

from mlsys_course import accounting, transformer
from mlsys_course.accounting import ModelConfig, formula_errors, parameter_table, preset
from tests.accounting.live_models import count, hugging_face, live_gpt, live_model, live_table

SMALL = ModelConfig(
    vocabulary=1003, context=64, d_model=96, n_layers=3, n_heads=6, n_kv_heads=2, head_dim=16, d_ffn=200
)
SWITCHES = {
    "plain": {},
    "one KV head": {"n_kv_heads": 1},
    "a KV head each": {"n_kv_heads": 6},
    "heads wider than the model": {"head_dim": 40},
    "wide values": {"value_multiple": 3},
    "padded vocabulary": {"vocabulary_multiple": 64},
    "padded vocabulary, tied": {"vocabulary_multiple": 64, "tied_head": True},
    "registers, tied": {"registers": 5, "tied_head": True},
    "learned positions": {"positions": "learned", "extra_positions": 2},
    "bias on queries": {"attention_biases": "Q"},
    "biases on keys and values": {"attention_biases": "KV", "value_multiple": 2},
    "bias on output": {"attention_biases": "O"},
    "sinks": {"sinks": True},
    "no gate": {"gated": False},
    "no gate, biases": {"gated": False, "mlp_biases": True},
    "gate, biases": {"mlp_biases": True},
    "LayerNorm everywhere": {"norm": "layer", "norms_per_layer": 4, "embedding_norm": True, "qk_norm": True},
    "RMSNorm of queries and keys": {"qk_norm": True},
    "no final norm": {"final_norm": False, "norms_per_layer": 1},
    "one layer": {"n_layers": 1},
}


@pytest.mark.parametrize("changes", SWITCHES.values(), ids=SWITCHES.keys())
def test_every_term_equals_a_live_model(changes: dict) -> None:
    config = replace(SMALL, **changes)
    assert parameter_table(config).to_dict() == live_table(live_model(config))


@pytest.mark.parametrize("name", ["gpt2", "gpt2_medium", "llama2_7b", "llama3_8b"])
def test_presets_equal_live_models_term_by_term(name: str) -> None:
    config = getattr(accounting, name)()
    assert parameter_table(config).to_dict() == live_table(live_model(config))


@pytest.mark.parametrize("name", accounting.PRESETS)
def test_what_is_counted_is_what_lab_3_builds(name: str) -> None:
    """One configuration: the transformer's live model of it holds as many numbers as its table says."""
    config = preset(name)
    config = replace(config, n_layers=2, encoder_layers=3 * bool(config.encoder_layers), vocabulary_multiple=64)
    family = transformer.EncoderDecoder if config.encoder_layers else transformer.Decoder
    with torch.device("meta"):
        model = (family if config.causal else transformer.Encoder)(config)
    assert parameter_table(config).total == count(model)


def test_a_context_is_the_published_one_and_only_3_1_stretches_it() -> None:
    eight, longer, largest = accounting.llama3_8b(), accounting.llama31_8b(), accounting.llama31_405b()
    assert (eight.context, eight.rotary_scaling) == (8192, None)
    assert longer.context == largest.context == 131072
    assert longer.rotary_scaling == largest.rotary_scaling == accounting.RotaryScaling(8.0, 1.0, 4.0, 8192)
    assert {config.rotary_base for config in (eight, longer, largest)} == {500000.0}
    assert transformer.llama3_8b is accounting.llama3_8b


@pytest.mark.parametrize("name", ["gpt2", "gpt2_xl", "gpt3_175b"])
def test_gpt_equals_pytorchs_own_encoder(name: str) -> None:
    config = getattr(accounting, name)()
    one, two = (count(live_gpt(replace(config, n_layers=n))) for n in (1, 2))  # building 96 layers takes long
    assert parameter_table(config).total == one + (config.n_layers - 1) * (two - one)


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("gpt2", 124_439_808),
        ("gpt3_175b", 174_604_259_328),
        ("llama2_7b", 6_738_415_616),
        ("llama2_13b", 13_015_864_320),
        ("llama2_70b", 68_976_648_192),
        ("llama3_8b", 8_030_261_248),
        ("llama31_405b", 405_853_388_800),
    ],
)
def test_published_totals(name: str, total: int) -> None:
    assert parameter_table(getattr(accounting, name)()).total == total


@pytest.mark.parametrize(
    "name", ["gpt2", "gpt2-xl", "llama2-7b", "llama2-70b", "llama3-8b", "llama3.1-405b", "bert-base", "bert-large"]
)
def test_presets_equal_hugging_face(name: str) -> None:
    assert parameter_table(preset(name)).total == count(hugging_face(preset(name)))


@pytest.mark.parametrize("name", ["t5-small", "t5-base", "t5-large", "t5-3b", "t5-11b"])
def test_t5_equals_hugging_face(name: str) -> None:
    assert parameter_table(preset(name)).total == count(hugging_face(preset(name)))


def test_mlp_share_that_the_notes_call_two_thirds_is_82_per_cent_in_llama2_70b() -> None:
    assert parameter_table(accounting.llama2_70b()).shares()["mlp"] == pytest.approx(0.82, abs=0.005)
    assert parameter_table(accounting.gpt3_175b()).shares()["mlp"] == pytest.approx(2 / 3, abs=0.005)


@pytest.mark.parametrize(
    ("name", "simplified", "standard"),
    [("gpt2", -0.0073, -0.0069), ("gpt3_175b", -0.0002, -0.0002), ("llama2_7b", -0.2336, -0.0244)],
)
def test_the_notes_formulas_beside_the_exact_count(name: str, simplified: float, standard: float) -> None:
    assert formula_errors(getattr(accounting, name)()) == pytest.approx(
        {"simplified_count": simplified, "standard_count": standard}, abs=5e-5
    )


def test_what_the_standard_formula_leaves_out_of_gpt2() -> None:
    """Positions, the attention's biases (4d a layer) and the norms (4d a layer, 2d at the end): to the last one."""
    config = accounting.gpt2()
    table, d = parameter_table(config), config.d_model
    left_out = table["positions"] + config.n_layers * 4 * d + table["norms"]
    assert accounting.standard_count(config) + left_out == table.total
