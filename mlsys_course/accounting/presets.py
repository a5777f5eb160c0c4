"""Configurations of published models."""

from dataclasses import replace

from .config import ModelConfig, gated_width, head_dim_of, round_up


def _gpt(d_model: int, n_layers: int, n_heads: int, context: int) -> ModelConfig:
    return ModelConfig(
        vocabulary=50257,
        context=context,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim_of(d_model, n_heads),
        d_ffn=4 * d_model,
        positions="learned",
        attention_biases="QKVO",
        gated=False,
        mlp_biases=True,
        norm="layer",
        tied_head=True,
    )


def gpt2() -> ModelConfig:
    """GPT-2 124M. Source: Radford et al. 2019."""
    return _gpt(768, 12, 12, context=1024)


def gpt2_medium() -> ModelConfig:
    """GPT-2 355M."""
    return _gpt(1024, 24, 16, context=1024)


def gpt2_large() -> ModelConfig:
    """GPT-2 774M."""
    return _gpt(1280, 36, 20, context=1024)


def gpt2_xl() -> ModelConfig:
    """GPT-2 1.5B."""
    return _gpt(1600, 48, 25, context=1024)


def gpt3_175b() -> ModelConfig:
    """GPT-3 175B. Source: Brown et al. 2020, table 2.1."""
    return _gpt(12288, 96, 96, context=2048)


def _llama(d_model: int, n_layers: int, n_heads: int, d_ffn: int) -> ModelConfig:
    return ModelConfig(
        vocabulary=32000,
        context=4096,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim_of(d_model, n_heads),
        d_ffn=d_ffn,
    )


def llama2_7b() -> ModelConfig:
    """LLaMA-2 7B. Source: Touvron et al. 2023."""
    return _llama(4096, 32, 32, gated_width(4096))


def llama2_13b() -> ModelConfig:
    """LLaMA-2 13B."""
    return _llama(5120, 40, 40, gated_width(5120))


def llama2_70b() -> ModelConfig:
    """LLaMA-2 70B: 8 KV heads, and the width of the MLP that they free."""
    d_ffn = round_up(int(1.3 * (8 * 8192 // 3)), 4096)
    return replace(_llama(8192, 80, 64, d_ffn), n_kv_heads=8)


def llama3_8b() -> ModelConfig:
    """LLaMA-3.1 8B. Source: Grattafiori et al. 2024, table 3."""
    return replace(_llama(4096, 32, 32, 14336), n_kv_heads=8, vocabulary=128256, context=131072)


def llama3_405b() -> ModelConfig:
    """LLaMA-3.1 405B."""
    return replace(_llama(16384, 126, 128, 53248), n_kv_heads=8, vocabulary=128256, context=131072)
