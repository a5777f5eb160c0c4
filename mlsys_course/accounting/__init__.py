"""Accounting: a configuration in, named terms out. Lab 7."""

from .config import ModelConfig, gated_width, head_dim_of, round_up
from .formulas import formula_errors, simplified_count, standard_count
from .parameters import parameter_table, shares
from .presets import (
    gpt2,
    gpt2_large,
    gpt2_medium,
    gpt2_xl,
    gpt3_175b,
    llama2_7b,
    llama2_13b,
    llama2_70b,
    llama3_8b,
    llama3_405b,
)

__all__ = [
    "ModelConfig",
    "gated_width",
    "head_dim_of",
    "round_up",
    "parameter_table",
    "shares",
    "simplified_count",
    "standard_count",
    "formula_errors",
    "gpt2",
    "gpt2_medium",
    "gpt2_large",
    "gpt2_xl",
    "gpt3_175b",
    "llama2_7b",
    "llama2_13b",
    "llama2_70b",
    "llama3_8b",
    "llama3_405b",
]
