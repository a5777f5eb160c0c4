"""Published models as configurations: each differs from the next by a few switches."""

from .config import TransformerConfig, head_dim_of


def vaswani_2017(
    vocabulary: int = 37000, d_model: int = 512, n_layers: int = 6, n_heads: int = 8, d_ffn: int | None = None
) -> TransformerConfig:
    """The base model of "Attention is all you need"; n_layers in the encoder, and as many in the decoder.

    Projections have no biases, as in the paper's equations and its authors' code.
    """
    return TransformerConfig(
        vocabulary=vocabulary,
        context=512,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim_of(d_model, n_heads),
        d_ffn=d_ffn or 4 * d_model,
        norm_position="post",
        norm="layer",
        activation="relu",
        gated=False,
        positions="sinusoidal",
        mlp_biases=True,
        tied_head=True,
        embedding_scale=True,
    )


def gpt2(
    vocabulary: int = 50257, context: int = 1024, d_model: int = 768, n_layers: int = 12, n_heads: int = 12
) -> TransformerConfig:
    """GPT-2 124M; medium is (1024, 24, 16), large (1280, 36, 20), XL (1600, 48, 25). Source: Radford et al. 2019."""
    return TransformerConfig(
        vocabulary=vocabulary,
        context=context,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim_of(d_model, n_heads),
        d_ffn=4 * d_model,
        norm="layer",
        activation="gelu_tanh",
        gated=False,
        positions="learned",
        attention_biases="QKVO",
        mlp_biases=True,
        tied_head=True,
    )


def gpt3_175b() -> TransformerConfig:
    """GPT-3's shape with GPT-2's switches (its sparse attention is left out). Source: Brown et al. 2020, table 2.1."""
    return gpt2(context=2048, d_model=12288, n_layers=96, n_heads=96)


def bert(
    vocabulary: int = 30522, d_model: int = 768, n_layers: int = 12, n_heads: int = 12, context: int = 512
) -> TransformerConfig:
    """BERT base; its segment embeddings are taken for all tokens of segment 0. Source: Devlin et al. 2019."""
    return TransformerConfig(
        vocabulary=vocabulary,
        context=context,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim_of(d_model, n_heads),
        d_ffn=4 * d_model,
        norm_position="post",
        norm="layer",
        epsilon=1e-12,
        activation="gelu",
        gated=False,
        positions="learned",
        attention_biases="QKVO",
        mlp_biases=True,
        tied_head=True,
        head_bias=True,
        head_transform=True,
        embedding_norm=True,
    )


def t5(
    vocabulary: int = 32128, d_model: int = 512, n_layers: int = 6, n_heads: int = 8, head_dim: int = 64
) -> TransformerConfig:
    """T5 small; heads need not fill the width (T5-11B has 128 of 128 in 1024). Source: Raffel et al. 2020."""
    return TransformerConfig(
        vocabulary=vocabulary,
        context=512,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim,
        d_ffn=4 * d_model,
        epsilon=1e-6,
        activation="relu",
        gated=False,
        positions="relative",
        tied_head=True,
    )


def llama(
    vocabulary: int = 32000,
    d_model: int = 4096,
    n_layers: int = 32,
    n_heads: int = 32,
    n_kv_heads: int | None = None,
    d_ffn: int = 11008,
    rotary_base: float = 10000.0,
) -> TransformerConfig:
    """LLaMA-2 7B; ``llama2_70b`` and ``llama3_8b`` group their heads. Source: Touvron et al. 2023."""
    return TransformerConfig(
        vocabulary=vocabulary,
        context=4096,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads or n_heads,
        head_dim=head_dim_of(d_model, n_heads),
        d_ffn=d_ffn,
        rotary_base=rotary_base,
    )


def llama2_7b() -> TransformerConfig:
    """LLaMA-2 7B."""
    return llama()


def llama2_70b() -> TransformerConfig:
    """LLaMA-2 70B: 8 heads of keys and values, and a wider network with what they save."""
    return llama(d_model=8192, n_layers=80, n_heads=64, n_kv_heads=8, d_ffn=28672)


def llama3_8b() -> TransformerConfig:
    """LLaMA-3 8B. Source: Grattafiori et al. 2024, table 3."""
    return llama(vocabulary=128256, n_kv_heads=8, d_ffn=14336, rotary_base=500000.0)


def llama3_405b() -> TransformerConfig:
    """LLaMA-3.1 405B."""
    return llama(128256, 16384, 126, 128, n_kv_heads=8, d_ffn=53248, rotary_base=500000.0)
