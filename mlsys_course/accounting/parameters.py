"""Parameters of a transformer, term by term."""

from .config import ModelConfig


def embedding(config: ModelConfig) -> int:
    """A vector for each token of the padded vocabulary, and for each register."""
    return (config.padded_vocabulary + config.registers) * config.d_model


def positions(config: ModelConfig) -> int:
    """Learned positions are a table; rotary ones are computed, and weigh nothing."""
    return (config.context + config.extra_positions) * config.d_model if config.positions == "learned" else 0


def attention(config: ModelConfig) -> int:
    """W^Q, W^K, W^V and W^O of all layers, with their biases and sinks.

    Queries have ``n_heads`` heads; keys and values only ``n_kv_heads``. W^O takes all value heads side by side
    back to ``d_model`` (two of the lecture notes write d_model x d_head, which is one head's slice of it).
    """
    value_dim = config.value_multiple * config.head_dim
    shapes = {  # letter of the projection: (inputs, outputs)
        "Q": (config.d_model, config.n_heads * config.head_dim),
        "K": (config.d_model, config.n_kv_heads * config.head_dim),
        "V": (config.d_model, config.n_kv_heads * value_dim),
        "O": (config.n_heads * value_dim, config.d_model),
    }
    weights = sum(inputs * outputs for inputs, outputs in shapes.values())
    biases = sum(shapes[letter][1] for letter in config.attention_biases)
    return config.n_layers * (weights + biases + config.n_heads * config.sinks)


def mlp(config: ModelConfig) -> int:
    """Two matrices, or three with a gate; a bias belongs to a matrix's outputs."""
    into = 2 if config.gated else 1  # matrices from d_model to d_ffn; one more leads back
    weights = (into + 1) * config.d_model * config.d_ffn
    biases = into * config.d_ffn + config.d_model
    return config.n_layers * (weights + biases * config.mlp_biases)


def norms(config: ModelConfig) -> int:
    """Every norm has a gain for each channel, and a LayerNorm has a bias too.

    ``qk_norm`` normalises queries and keys over ``head_dim``, with one gain for all heads of a layer.
    """
    per_channel = 2 if config.norm == "layer" else 1
    in_layer = config.norms_per_layer * config.d_model + 2 * config.head_dim * config.qk_norm
    around = (config.embedding_norm + config.final_norm) * config.d_model
    return per_channel * (config.n_layers * in_layer + around)


def head(config: ModelConfig) -> int:
    """The matrix from ``d_model`` to logits; tied to the embedding it is counted there. Registers have no logit."""
    return 0 if config.tied_head else config.padded_vocabulary * config.d_model


def parameter_table(config: ModelConfig) -> dict[str, int]:
    """Trainable parameters by term, and their ``total`` last.

    Convention: every term is a sum over all layers; a tensor used twice counts once, where it is made; buffers (rotary
    tables, masks) are not parameters. Exact: equal to what a live model holds. Lab 7, exercise ``parameter_table``.
    """
    terms = {term.__name__: term(config) for term in (embedding, positions, attention, mlp, norms, head)}
    return {**terms, "total": sum(terms.values())}


def shares(table: dict[str, int]) -> dict[str, float]:
    """Each term of a table as a fraction of its total."""
    return {name: count / table["total"] for name, count in table.items() if name != "total"}
