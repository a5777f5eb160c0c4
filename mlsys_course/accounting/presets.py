"""Configurations of published models."""

from collections.abc import Callable
from dataclasses import replace

from .config import ModelConfig, check_one_of, gated_width, head_dim_of, round_up


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
        activation="gelu",
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


def _bert(d_model: int, n_layers: int, n_heads: int) -> ModelConfig:
    return replace(
        _gpt(d_model, n_layers, n_heads, context=512),
        vocabulary=30522,
        causal=False,
        segments=2,
        embedding_norm=True,
        final_norm=False,
        head_transform=True,
        head_bias=True,
    )


def bert_base() -> ModelConfig:
    """BERT base with its head for masked words, without the pooler. Source: Devlin et al. 2019."""
    return _bert(768, 12, 12)


def bert_large() -> ModelConfig:
    """BERT large."""
    return _bert(1024, 24, 16)


def _t5(d_model: int, n_layers: int, n_heads: int, d_ffn: int, head_dim: int = 64) -> ModelConfig:
    return ModelConfig(
        vocabulary=32128,
        context=512,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim,
        d_ffn=d_ffn,
        positions="relative",
        buckets=32,
        gated=False,
        activation="relu",
        tied_head=True,
        encoder_layers=n_layers,
    )


def t5_small() -> ModelConfig:
    """T5 small. Source: Raffel et al. 2020, section 3.1."""
    return _t5(512, 6, 8, 2048)


def t5_base() -> ModelConfig:
    """T5 base."""
    return _t5(768, 12, 12, 3072)


def t5_large() -> ModelConfig:
    """T5 large."""
    return _t5(1024, 24, 16, 4096)


def t5_3b() -> ModelConfig:
    """T5 3B: 32 heads of 128 in a width of 1024."""
    return _t5(1024, 24, 32, 16384, head_dim=128)


def t5_11b() -> ModelConfig:
    """T5 11B: 128 heads of 128 in a width of 1024."""
    return _t5(1024, 24, 128, 65536, head_dim=128)


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "gpt2": gpt2,
    "gpt2-medium": gpt2_medium,
    "gpt2-large": gpt2_large,
    "gpt2-xl": gpt2_xl,
    "gpt3-175b": gpt3_175b,
    "llama2-7b": llama2_7b,
    "llama2-13b": llama2_13b,
    "llama2-70b": llama2_70b,
    "llama3-8b": llama3_8b,
    "llama3-405b": llama3_405b,
    "bert-base": bert_base,
    "bert-large": bert_large,
    "t5-small": t5_small,
    "t5-base": t5_base,
    "t5-large": t5_large,
    "t5-3b": t5_3b,
    "t5-11b": t5_11b,
}


def preset(name: str) -> ModelConfig:
    """The published model of that name, as the command line writes it; BadSize names the nearest for another."""
    check_one_of("model", name, PRESETS)
    return PRESETS[name]()
