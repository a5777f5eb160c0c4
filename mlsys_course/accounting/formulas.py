"""The lecture notes' short formulas for the same total, to use in the head, and how far off they are."""

from ..substrate.model_config import ModelConfig
from .parameters import parameter_table


def simplified_count(config: ModelConfig) -> int:
    """``V d + L (4 d^2 + 2 d_ffn d)``: embedding and weight matrices of the plain block, no biases, no norms.

    Assumes as many KV heads as heads, ``d = n_heads * head_dim``, an MLP without a gate and a tied head.
    Source: lecture notes, "Simplified total parameter count".
    """
    d = config.d_model
    return config.vocabulary * d + config.n_layers * (4 * d * d + 2 * config.d_ffn * d)


def standard_count(config: ModelConfig) -> int:
    """``V d + L (12 d^2 + 5 d)``: the same with ``d_ffn = 4 d``; its 5d are the MLP's biases, 4d and d.

    Source: lecture notes, "Parameter estimation for standard GPT models".
    """
    d = config.d_model
    return config.vocabulary * d + config.n_layers * (12 * d * d + 5 * d)


def formula_errors(config: ModelConfig) -> dict[str, float]:
    """Relative error of each short formula against the exact total; negative where it counts too little."""
    exact = parameter_table(config).total
    return {formula.__name__: formula(config) / exact - 1 for formula in (simplified_count, standard_count)}
