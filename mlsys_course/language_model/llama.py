"""A LLaMA's weights from a file, whatever names the file gives them, under the names of lab 3's ``Decoder``."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ..foundations import BadInput
from ..substrate.model_config import ModelConfig
from ..transformer import Decoder

# Ours: (Hugging Face's, GGUF's); ``{n}`` is the number of a block.
WHOLE = {
    "embedding.tokens.weight": ("model.embed_tokens.weight", "token_embd.weight"),
    "stack.norm.gain": ("model.norm.weight", "output_norm.weight"),
    "head.vocabulary.weight": ("lm_head.weight", "output.weight"),
}
OF_BLOCK = {
    "attention_norm.gain": ("input_layernorm.weight", "attn_norm.weight"),
    "attention.query.weight": ("self_attn.q_proj.weight", "attn_q.weight"),
    "attention.key.weight": ("self_attn.k_proj.weight", "attn_k.weight"),
    "attention.value.weight": ("self_attn.v_proj.weight", "attn_v.weight"),
    "attention.output.weight": ("self_attn.o_proj.weight", "attn_output.weight"),
    "feed_forward_norm.gain": ("post_attention_layernorm.weight", "ffn_norm.weight"),
    "feed_forward.gate.weight": ("mlp.gate_proj.weight", "ffn_gate.weight"),
    "feed_forward.up.weight": ("mlp.up_proj.weight", "ffn_up.weight"),
    "feed_forward.down.weight": ("mlp.down_proj.weight", "ffn_down.weight"),
}
BLOCKS = ("model.layers.{n}.", "blk.{n}.")
HUGGING_FACE, GGUF = 0, 1


def load_llama(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The tensors of a LLaMA's file as the state of a ``Decoder`` of this configuration, to ``load_state_dict``.

    Names are Hugging Face's or GGUF's (``WHOLE``, ``OF_BLOCK``); matrices are (outputs, inputs) in both. GGUF's have
    the rows of each head's query and key in pairs, as Meta published them: its row 2i is our row i, its row 2i + 1 is
    our row i + D/2 (``unpermuted``). Where ``config.tied_head``, the head is the embedding's tensor, and a head in the
    file is passed over. ``tensors`` stays as it is. Raises BadInput where a tensor is lacking, has another shape than
    the model's, or is none of the model's; the message names it. Source: Hugging Face's ``modeling_llama.py`` and
    llama.cpp's ``convert_hf_to_gguf.py`` for the names. Lab 4, exercise ``load_llama``.
    """
    kind = GGUF if "token_embd.weight" in tensors else HUGGING_FACE
    names = names_of(config.n_layers, kind)
    head, embedding = names["head.vocabulary.weight"], names["embedding.tokens.weight"]
    if config.tied_head:
        names["head.vocabulary.weight"] = embedding
    check_names(tensors, set(names.values()), {head})
    state = {ours: tensors[theirs] for ours, theirs in names.items()}
    check_shapes(state, names, config)
    if kind == GGUF:
        for name in state:
            if name.endswith(("query.weight", "key.weight")):
                state[name] = unpermuted(state[name], config.n_heads if "query" in name else config.n_kv_heads)
    return state


def names_of(n_layers: int, kind: int) -> dict[str, str]:
    """The file's name of each of our tensors."""
    names = {ours: theirs[kind] for ours, theirs in WHOLE.items()}
    for n in range(n_layers):
        block = BLOCKS[kind].format(n=n)
        names |= {f"stack.blocks.{n}.{ours}": block + theirs[kind] for ours, theirs in OF_BLOCK.items()}
    return names


def unpermuted(weight: Float[Tensor, "HD C"], n_heads: int) -> Float[Tensor, "HD C"]:
    """Each head's rows from pairs (0, D/2, 1, D/2 + 1, ...) to halves (0, 1, ..., D - 1), as our rotary turns them."""
    pairs = weight.unflatten(0, (n_heads, -1, 2))  # (H, D/2, 2, C)
    return pairs.transpose(1, 2).reshape(weight.shape)  # (H, 2, D/2, C)


def check_names(tensors: Mapping[str, Tensor], wanted: set[str], spare: set[str]) -> None:
    """Raises BadInput, as ``load_llama`` says."""
    if lacking := sorted(wanted - tensors.keys()):
        raise BadInput(f"{len(lacking)} tensors are lacking, such as {lacking[0]!r}; is the file torn?")
    if unknown := sorted(tensors.keys() - wanted - spare):
        raise BadInput(f"{len(unknown)} tensors have no place in the model, such as {unknown[0]!r}; mend n_layers")


def check_shapes(state: Mapping[str, Tensor], names: Mapping[str, str], config: ModelConfig) -> None:
    """Raises BadInput, as ``load_llama`` says."""
    with torch.device("meta"):
        model = Decoder(config)
    for name, parameter in model.state_dict().items():
        if (given := state[name].shape) != parameter.shape:
            expected = tuple(parameter.shape)
            raise BadInput(
                f"{names[name]} is {tuple(given)}, the model's {name} {expected}; is it another model's file?"
            )
