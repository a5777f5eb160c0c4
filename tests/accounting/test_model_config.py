"""Impossible configurations are refused by name, with a choice that would do."""

from dataclasses import FrozenInstanceError, replace

import pytest

from mlsys_course.accounting import ModelConfig, gated_width, gpt2, head_dim_of, round_up

BAD = {
    "n_layers=0": {"n_layers": 0},
    "d_model=-3": {"d_model": -3},
    "d_ffn=10.5": {"d_ffn": 10.5},
    "context=True": {"context": True},
    "registers=-1": {"registers": -1},
    "vocabulary_multiple=0": {"vocabulary_multiple": 0},
    "n_kv_heads=5 does not divide n_heads=12; the nearest that does is 4": {"n_kv_heads": 5},
    "norm='batch' is unknown; choose one of 'layer', 'rms'": {"norm": "batch"},
    "positions='rotory' is unknown; choose one of .*; did you mean 'rotary'": {"positions": "rotory"},
    "extra_positions=2 with positions='rotary'": {"positions": "rotary", "extra_positions": 2},
    r"attention_biases='QX' has \['X'\]; use letters of 'QKVO'": {"attention_biases": "QX"},
}


@pytest.mark.parametrize(
    ("message", "changes"), BAD.items(), ids=[next(iter(c)) + str(i) for i, c in enumerate(BAD.values())]
)
def test_a_bad_field_is_named_with_a_remedy(message: str, changes: dict) -> None:
    with pytest.raises(ValueError, match=message):
        replace(gpt2(), **changes)


def test_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(ValueError, match="n_heads=12 does not divide d_model=770; choose d_model=768"):
        head_dim_of(770, 12)
    with pytest.raises(ValueError, match="n_heads=0 is no size"):
        head_dim_of(770, 0)
    with pytest.raises(ValueError, match="choose d_model=12"):
        head_dim_of(5, 12)
    assert head_dim_of(768, 12) == 64


def test_a_configuration_is_frozen() -> None:
    config: ModelConfig = gpt2()
    with pytest.raises(FrozenInstanceError):
        config.d_model = 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("multiple", [1, 7, 64])
@pytest.mark.parametrize("size", [1, 6, 7, 8, 63, 64, 65])
def test_round_up_is_the_smallest_multiple_that_is_enough(size: int, multiple: int) -> None:
    assert round_up(size, multiple) == min(k * multiple for k in range(1, 70) if k * multiple >= size)


def test_gated_width_is_llamas() -> None:
    assert [gated_width(d) for d in (4096, 5120, 8192)] == [11008, 13824, 22016]
