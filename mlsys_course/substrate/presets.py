"""Published models as configurations: each differs from the next by a few switches."""

from collections.abc import Callable
from dataclasses import replace

from .model_config import ModelConfig, RotaryScaling, check_one_of, gated_width, head_dim_of, round_up


def vaswani_2017(
    vocabulary: int = 37000, d_model: int = 512, n_layers: int = 6, n_heads: int = 8, d_ffn: int | None = None
) -> ModelConfig:
    """The base model of "Attention is all you need"; n_layers in the encoder, and as many in the decoder.

    Projections have no biases, as in the paper's equations and its authors' code.
    """
    return ModelConfig(
        vocabulary=vocabulary,
        context=512,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim_of(d_model, n_heads),
        d_ffn=d_ffn or 4 * d_model,
        encoder_layers=n_layers,
        embedding_scale=True,
        positions="sinusoidal",
        activation="relu",
        gated=False,
        mlp_biases=True,
        norm="layer",
        norm_position="post",
        final_norm=False,
        tied_head=True,
    )


def gpt2(
    vocabulary: int = 50257, context: int = 1024, d_model: int = 768, n_layers: int = 12, n_heads: int = 12
) -> ModelConfig:
    """GPT-2 124M, or its switches at other sizes. Source: Radford et al. 2019."""
    return ModelConfig(
        vocabulary=vocabulary,
        context=context,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim_of(d_model, n_heads),
        d_ffn=4 * d_model,
        positions="learned",
        attention_biases="QKVO",
        activation="gelu_tanh",
        gated=False,
        mlp_biases=True,
        norm="layer",
        tied_head=True,
    )


def gpt2_medium() -> ModelConfig:
    """GPT-2 355M."""
    return gpt2(d_model=1024, n_layers=24, n_heads=16)


def gpt2_large() -> ModelConfig:
    """GPT-2 774M."""
    return gpt2(d_model=1280, n_layers=36, n_heads=20)


def gpt2_xl() -> ModelConfig:
    """GPT-2 1.5B."""
    return gpt2(d_model=1600, n_layers=48, n_heads=25)


def gpt3_175b() -> ModelConfig:
    """GPT-3's shape with GPT-2's switches (its sparse attention is left out). Source: Brown et al. 2020, table 2.1."""
    return gpt2(context=2048, d_model=12288, n_layers=96, n_heads=96)


def llama(
    vocabulary: int = 32000,
    d_model: int = 4096,
    n_layers: int = 32,
    n_heads: int = 32,
    n_kv_heads: int | None = None,
    d_ffn: int = 11008,
    context: int = 4096,
) -> ModelConfig:
    """LLaMA-2 7B, or its switches at other sizes. Source: Touvron et al. 2023."""
    return ModelConfig(
        vocabulary=vocabulary,
        context=context,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads or n_heads,
        head_dim=head_dim_of(d_model, n_heads),
        d_ffn=d_ffn,
    )


def llama2_7b() -> ModelConfig:
    """LLaMA-2 7B."""
    return llama(d_ffn=gated_width(4096))


def llama2_13b() -> ModelConfig:
    """LLaMA-2 13B."""
    return llama(d_model=5120, n_layers=40, n_heads=40, d_ffn=gated_width(5120))


def llama2_70b() -> ModelConfig:
    """LLaMA-2 70B: 8 heads of keys and values, and a wider network with what they save."""
    d_ffn = round_up(int(1.3 * (8 * 8192 // 3)), 4096)
    return llama(d_model=8192, n_layers=80, n_heads=64, n_kv_heads=8, d_ffn=d_ffn)


def llama3_8b() -> ModelConfig:
    """LLaMA-3 8B: a context of 8,192. Source: Grattafiori et al. 2024, table 3."""
    return replace(llama(128256, n_kv_heads=8, d_ffn=14336, context=8192), rotary_base=500000.0)


def llama31_8b() -> ModelConfig:
    """LLaMA-3.1 8B: LLaMA-3 trained on, with its rotary positions stretched to a context of 131,072."""
    return replace(llama3_8b(), context=131072, rotary_scaling=RotaryScaling(factor=8.0))


def llama31_405b() -> ModelConfig:
    """LLaMA-3.1 405B; there was none before 3.1."""
    return replace(llama31_8b(), d_model=16384, n_layers=126, n_heads=128, d_ffn=53248)


def bert(
    vocabulary: int = 30522, d_model: int = 768, n_layers: int = 12, n_heads: int = 12, context: int = 512
) -> ModelConfig:
    """BERT base with its head for masked words, without the pooler. Source: Devlin et al. 2019."""
    return replace(
        gpt2(vocabulary, context, d_model, n_layers, n_heads),
        causal=False,
        segments=2,
        embedding_norm=True,
        activation="gelu",
        norm_position="post",
        final_norm=False,
        epsilon=1e-12,
        head_bias=True,
        head_transform=True,
    )


def bert_large() -> ModelConfig:
    """BERT large."""
    return bert(d_model=1024, n_layers=24, n_heads=16)


def t5(
    vocabulary: int = 32128,
    d_model: int = 512,
    n_layers: int = 6,
    n_heads: int = 8,
    head_dim: int = 64,
    d_ffn: int | None = None,
) -> ModelConfig:
    """T5 small; heads need not fill the width. Source: Raffel et al. 2020, section 3.1."""
    return ModelConfig(
        vocabulary=vocabulary,
        context=512,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim,
        d_ffn=d_ffn or 4 * d_model,
        encoder_layers=n_layers,
        positions="relative",
        buckets=32,
        activation="relu",
        gated=False,
        epsilon=1e-6,
        tied_head=True,
    )


def t5_base() -> ModelConfig:
    """T5 base."""
    return t5(d_model=768, n_layers=12, n_heads=12)


def t5_large() -> ModelConfig:
    """T5 large."""
    return t5(d_model=1024, n_layers=24, n_heads=16)


def t5_3b() -> ModelConfig:
    """T5 3B: 32 heads of 128 in a width of 1024."""
    return t5(d_model=1024, n_layers=24, n_heads=32, head_dim=128, d_ffn=16384)


def t5_11b() -> ModelConfig:
    """T5 11B: 128 heads of 128 in a width of 1024."""
    return t5(d_model=1024, n_layers=24, n_heads=128, head_dim=128, d_ffn=65536)


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "vaswani-2017": vaswani_2017,
    "gpt2": gpt2,
    "gpt2-medium": gpt2_medium,
    "gpt2-large": gpt2_large,
    "gpt2-xl": gpt2_xl,
    "gpt3-175b": gpt3_175b,
    "llama2-7b": llama2_7b,
    "llama2-13b": llama2_13b,
    "llama2-70b": llama2_70b,
    "llama3-8b": llama3_8b,
    "llama3.1-8b": llama31_8b,
    "llama3.1-405b": llama31_405b,
    "bert-base": bert,
    "bert-large": bert_large,
    "t5-small": t5,
    "t5-base": t5_base,
    "t5-large": t5_large,
    "t5-3b": t5_3b,
    "t5-11b": t5_11b,
}


def preset(name: str) -> ModelConfig:
    """The published model of that name, as the command line writes it; BadSize names the nearest for another."""
    check_one_of("model", name, PRESETS)
    return PRESETS[name]()
