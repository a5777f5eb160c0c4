"""Parameters of a transformer, term by term."""

from ..substrate.model_config import ModelConfig
from .table import Table


def embedding(config: ModelConfig) -> int:
    """A vector for each token of the padded vocabulary, for each register and for each segment."""
    return (config.padded_vocabulary + config.registers + config.segments) * config.d_model


def positions(config: ModelConfig) -> int:
    """Learned positions are a table, relative ones biases of each head; rotary ones are computed, and weigh nothing."""
    if config.positions == "learned":
        return (config.context + config.extra_positions) * config.d_model
    stacks = 1 + bool(config.encoder_layers)
    return stacks * config.buckets * config.n_heads


def attentions(config: ModelConfig) -> int:
    """How many attentions the model has: one a layer, and cross-attention where there is an encoder to look at."""
    cross = config.n_layers * bool(config.encoder_layers)
    return config.n_layers + config.encoder_layers + cross


def attention(config: ModelConfig) -> int:
    """W^Q, W^K, W^V and W^O of all layers, with their biases and sinks.

    Queries have ``n_heads`` heads; keys and values only ``n_kv_heads``. W^O takes all value heads side by side
    back to ``d_model`` (two of the lecture notes write d_model x d_head, which is one head's slice of it).
    """
    shapes = projections(config)
    weights = sum(inputs * outputs for inputs, outputs in shapes.values())
    biases = sum(shapes[letter][1] for letter in config.attention_biases)
    return attentions(config) * (weights + biases + config.n_heads * config.sinks)


def projections(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of an attention's four matrices, by letter."""
    return {
        "Q": (config.d_model, config.n_heads * config.head_dim),
        "K": (config.d_model, config.n_kv_heads * config.head_dim),
        "V": (config.d_model, config.n_kv_heads * config.value_dim),
        "O": (config.n_heads * config.value_dim, config.d_model),
    }


def mlp(config: ModelConfig) -> int:
    """Two matrices, or three with a gate; a bias belongs to a matrix's outputs."""
    into = 2 if config.gated else 1  # matrices from d_model to d_ffn; one more leads back
    weights = (into + 1) * config.d_model * config.d_ffn
    biases = into * config.d_ffn + config.d_model
    return (config.n_layers + config.encoder_layers) * (weights + biases * config.mlp_biases)


def norms(config: ModelConfig) -> int:
    """Every norm has a gain for each channel, and a LayerNorm has a bias too.

    ``qk_norm`` normalises queries and keys over ``head_dim``, with one gain for all heads of a layer. A layer with
    cross-attention has one norm more. The norm in BERT's head belongs to the head.
    """
    layers, stacks = config.n_layers + config.encoder_layers, 1 + bool(config.encoder_layers)
    widths = (layers * config.norms_per_layer + config.n_layers * bool(config.encoder_layers)) * config.d_model
    widths += attentions(config) * 2 * config.head_dim * config.qk_norm
    widths += (config.embedding_norm + stacks * config.final_norm) * config.d_model
    return per_channel(config) * widths


def per_channel(config: ModelConfig) -> int:
    """Parameters of a norm for each channel."""
    return 2 if config.norm == "layer" else 1


def head(config: ModelConfig) -> int:
    """From ``d_model`` to logits; a matrix that is tied to the embedding is counted there. Registers have no logit."""
    d, rows = config.d_model, config.padded_vocabulary
    transform = (d * d + d + per_channel(config) * d) * config.head_transform
    return rows * d * (not config.tied_head) + rows * config.head_bias + transform


TERMS = (embedding, positions, attention, mlp, norms, head)


def parameter_table(config: ModelConfig) -> Table:
    """Trainable parameters by term.

    Exact: equal to what a live model holds. Lab 7, exercise ``parameter_table``.
    """
    return Table(
        "parameters",
        {term.__name__: term(config) for term in TERMS},
        "Each term is a sum over all layers; a tensor used twice counts once, where it is made; buffers (rotary "
        "tables, masks) are no parameters.",
    )
