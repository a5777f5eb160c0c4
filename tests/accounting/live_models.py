"""Live models to count: built from torch.nn on the meta device, by shapes, with no formula of ours."""

import torch
from torch import nn

from mlsys_course.accounting import ModelConfig

TERMS: tuple[str, ...] = ("embedding", "positions", "attention", "mlp", "norms", "head")


def live_gpt(config: ModelConfig) -> nn.ModuleDict:
    """A GPT of PyTorch's own encoder layers: it knows nothing of our terms, so only the total compares."""
    layer = nn.TransformerEncoderLayer(
        config.d_model, config.n_heads, config.d_ffn, norm_first=True, batch_first=True, device="meta"
    )
    return nn.ModuleDict(
        {
            "embedding": nn.Embedding(config.vocabulary, config.d_model, device="meta"),
            "positions": nn.Embedding(config.context, config.d_model, device="meta"),
            "layers": nn.TransformerEncoder(layer, config.n_layers, enable_nested_tensor=False),
            "norm": nn.LayerNorm(config.d_model, device="meta"),
        }
    )


def live_model(config: ModelConfig) -> nn.ModuleDict:
    """Any configuration, as modules under the names of our terms."""
    d, rows = config.d_model, config.vocabulary
    while rows % config.vocabulary_multiple:
        rows += 1
    with torch.device("meta"):
        vectors = {"tokens": nn.Embedding(rows, d), "registers": nn.Embedding(config.registers, d)}
        model = nn.ModuleDict({"embedding": nn.ModuleDict(vectors), "head": nn.Linear(d, rows, bias=False)})
        if config.positions == "learned":
            model["positions"] = nn.Embedding(config.context + config.extra_positions, d)
        model["attention"] = nn.ModuleList(live_attention(config) for _ in range(config.n_layers))
        model["mlp"] = nn.ModuleList(live_mlp(config) for _ in range(config.n_layers))
        norm = nn.LayerNorm if config.norm == "layer" else nn.RMSNorm
        widths = [d] * (config.norms_per_layer * config.n_layers + config.embedding_norm + config.final_norm)
        widths += [config.head_dim] * (2 * config.n_layers * config.qk_norm)
        model["norms"] = nn.ModuleList(norm(width) for width in widths)
    if config.tied_head:
        model["head"].weight = vectors["tokens"].weight
    return model


def live_attention(config: ModelConfig) -> nn.ModuleDict:
    """The projections of one layer."""
    query, key = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    value = config.value_multiple * config.head_dim
    shapes = {"Q": (config.d_model, query), "K": (config.d_model, key)}
    shapes |= {"V": (config.d_model, config.n_kv_heads * value), "O": (config.n_heads * value, config.d_model)}
    modules = {p: nn.Linear(*shape, bias=p in config.attention_biases) for p, shape in shapes.items()}
    return nn.ModuleDict({**modules, **({"sinks": nn.Embedding(config.n_heads, 1)} if config.sinks else {})})


def live_mlp(config: ModelConfig) -> nn.ModuleDict:
    """The feed-forward network of one layer."""
    names = ("gate", "up") if config.gated else ("up",)
    modules = {name: nn.Linear(config.d_model, config.d_ffn, bias=config.mlp_biases) for name in names}
    return nn.ModuleDict({**modules, "down": nn.Linear(config.d_ffn, config.d_model, bias=config.mlp_biases)})


def count(model: nn.Module) -> int:
    """Parameters of a live model; a shared one counts once, as ``parameters()`` has it."""
    return sum(parameter.numel() for parameter in model.parameters())


def live_table(model: nn.ModuleDict) -> dict[str, int]:
    """Parameters by term; a tensor that two terms share belongs to the first."""
    table = dict.fromkeys(TERMS, 0)
    for name, parameter in model.named_parameters():  # leaves duplicates out
        table[name.split(".")[0]] += parameter.numel()
    return {**table, "total": sum(table.values())}


def hugging_face(config: ModelConfig) -> nn.Module:
    """The published architecture, as Hugging Face has it, on the meta device."""
    with torch.device("meta"):
        return _hugging_face(config)


def _hugging_face(c: ModelConfig) -> nn.Module:
    import transformers as hf

    eager = {"attn_implementation": "eager"}
    if c.encoder_layers:
        t5 = hf.T5Config(vocab_size=c.vocabulary, d_model=c.d_model, d_kv=c.head_dim, d_ff=c.d_ffn,
                         num_layers=c.n_layers, num_heads=c.n_heads, dropout_rate=0.0, **eager)  # fmt: skip
        return hf.T5ForConditionalGeneration(t5)
    if c.segments:
        bert = hf.BertConfig(vocab_size=c.vocabulary, hidden_size=c.d_model, num_hidden_layers=c.n_layers,
                             num_attention_heads=c.n_heads, intermediate_size=c.d_ffn, **eager)  # fmt: skip
        return hf.BertForMaskedLM(bert)
    if c.positions == "learned":
        gpt = hf.GPT2Config(vocab_size=c.vocabulary, n_positions=c.context, n_embd=c.d_model, n_layer=c.n_layers,
                            n_head=c.n_heads, **eager)  # fmt: skip
        return hf.GPT2LMHeadModel(gpt)
    llama = hf.LlamaConfig(vocab_size=c.vocabulary, hidden_size=c.d_model, intermediate_size=c.d_ffn,
                           num_hidden_layers=c.n_layers, num_attention_heads=c.n_heads,
                           num_key_value_heads=c.n_kv_heads, tie_word_embeddings=c.tied_head, **eager)  # fmt: skip
    return hf.LlamaForCausalLM(llama)
