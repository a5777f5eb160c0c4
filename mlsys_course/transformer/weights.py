"""Published checkpoints' tensors under our names: GPT-2, LLaMA, BERT and T5 as Hugging Face stores them.

Every map is linear and differentiable, so gradients find their way back through it.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from ..substrate.model_config import ModelConfig

State = Mapping[str, Tensor]
ATTENTION = {"q": "query", "k": "key", "v": "value", "o": "output"}


def renamed(state: State, table: Mapping[str, str]) -> dict[str, Tensor]:
    """Each tensor under the name that the first matching pattern gives it; what none matches is left out."""
    found = {}
    for name, tensor in state.items():
        for pattern, ours in table.items():
            if match := re.fullmatch(pattern, name):
                found[match.expand(ours)] = tensor
                break
    return found


def from_gpt2(state: State, config: ModelConfig) -> dict[str, Tensor]:
    """GPT-2 (``GPT2LMHeadModel``): matrices are (in, out), and q, k and v stand side by side in one."""
    block = r"(?:transformer\.)?h\.(\d+)\."
    kinds = r"(weight|bias)"
    table = {
        r"(?:transformer\.)?wte\.weight": "embedding.tokens.weight",
        r"(?:transformer\.)?wpe\.weight": "embedding.positions.weight",
        rf"(?:transformer\.)?ln_f\.{kinds}": r"stack.norm.\1",
        rf"{block}ln_1\.{kinds}": r"stack.blocks.\1.attention_norm.\2",
        rf"{block}ln_2\.{kinds}": r"stack.blocks.\1.feed_forward_norm.\2",
        rf"{block}attn\.c_attn\.{kinds}": r"stack.blocks.\1.attention.merged.\2",
        rf"{block}attn\.c_proj\.{kinds}": r"stack.blocks.\1.attention.output.\2",
        rf"{block}mlp\.c_fc\.{kinds}": r"stack.blocks.\1.feed_forward.up.\2",
        rf"{block}mlp\.c_proj\.{kinds}": r"stack.blocks.\1.feed_forward.down.\2",
    }
    found = {}
    for name, tensor in renamed(state, table).items():
        if ".blocks." in name and tensor.ndim == 2:
            tensor = tensor.T
        if ".merged." in name:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[name.replace("merged", part)] = third
        else:
            found[name] = tensor
    return _finished(found, config)


def from_llama(state: State, config: ModelConfig) -> dict[str, Tensor]:
    """LLaMA (``LlamaForCausalLM``), whose rotary pairs are halves, as ours."""
    block, ours = r"model\.layers\.(\d+)\.", r"stack.blocks.\1."
    table = {
        r"model\.embed_tokens\.weight": "embedding.tokens.weight",
        r"model\.norm\.weight": "stack.norm.weight",
        r"lm_head\.weight": "head.vocabulary.weight",
        rf"{block}input_layernorm\.weight": ours + "attention_norm.weight",
        rf"{block}post_attention_layernorm\.weight": ours + "feed_forward_norm.weight",
        **{rf"{block}self_attn\.{k}_proj\.(weight|bias)": rf"{ours}attention.{v}.\2" for k, v in ATTENTION.items()},
        rf"{block}mlp\.(gate|up|down)_proj\.weight": ours + r"feed_forward.\2.weight",
    }
    return _finished(renamed(state, table), config)


def from_bert(state: State, config: ModelConfig) -> dict[str, Tensor]:
    """BERT (``BertForMaskedLM``, or ``BertModel`` without a head)."""
    block, ours = r"(?:bert\.)?encoder\.layer\.(\d+)\.", r"stack.blocks.\1."
    kinds = r"(weight|bias)"
    table = {
        r"(?:bert\.)?embeddings\.word_embeddings\.weight": "embedding.tokens.weight",
        r"(?:bert\.)?embeddings\.position_embeddings\.weight": "embedding.positions.weight",
        r"(?:bert\.)?embeddings\.token_type_embeddings\.weight": "embedding.segments.weight",
        rf"(?:bert\.)?embeddings\.LayerNorm\.{kinds}": r"embedding.norm.\1",
        rf"{block}attention\.self\.(query|key|value)\.{kinds}": ours + r"attention.\2.\3",
        rf"{block}attention\.output\.dense\.{kinds}": ours + r"attention.output.\2",
        rf"{block}attention\.output\.LayerNorm\.{kinds}": ours + r"attention_norm.\2",
        rf"{block}intermediate\.dense\.{kinds}": ours + r"feed_forward.up.\2",
        rf"{block}output\.dense\.{kinds}": ours + r"feed_forward.down.\2",
        rf"{block}output\.LayerNorm\.{kinds}": ours + r"feed_forward_norm.\2",
        rf"cls\.predictions\.transform\.dense\.{kinds}": r"head.transform.\1",
        rf"cls\.predictions\.transform\.LayerNorm\.{kinds}": r"head.norm.\1",
        r"cls\.predictions\.bias": "head.vocabulary.bias",
    }
    return _finished(renamed(state, table), config)


def from_t5(state: State, config: ModelConfig) -> dict[str, Tensor]:
    """T5 (``T5ForConditionalGeneration``, tied), which leaves scores unscaled and divides logits by sqrt(C).

    Both factors go into weights: sqrt(D) into W_q, 1 / sqrt(C) into the gain of the last norm.
    """
    block, ours = r"(encoder|decoder)\.block\.(\d+)\.layer\.", r"\1.blocks.\2."
    table = {
        r"shared\.weight": "embedding.tokens.weight",
        r"(encoder|decoder)\.final_layer_norm\.weight": r"\1.norm.weight",
        rf"{block}0\.SelfAttention\.relative_attention_bias\.weight": r"\1.bias.table.weight",
        **{rf"{block}0\.SelfAttention\.{k}\.weight": f"{ours}attention.{v}.weight" for k, v in ATTENTION.items()},
        **{rf"{block}1\.EncDecAttention\.{k}\.weight": f"{ours}cross.{v}.weight" for k, v in ATTENTION.items()},
        rf"{block}0\.layer_norm\.weight": ours + "attention_norm.weight",
        r"decoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight": r"decoder.blocks.\1.cross_norm.weight",
        rf"{block}[12]\.layer_norm\.weight": ours + "feed_forward_norm.weight",
        rf"{block}[12]\.DenseReluDense\.wi\.weight": ours + "feed_forward.up.weight",
        rf"{block}[12]\.DenseReluDense\.wo\.weight": ours + "feed_forward.down.weight",
    }
    found = renamed(state, table)
    for name in found:
        if name.endswith("query.weight"):
            found[name] = found[name] * config.head_dim**0.5
    found["decoder.norm.weight"] = found["decoder.norm.weight"] * config.d_model**-0.5
    return _finished(found, config)


def _finished(found: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Norms' weights under the name that they have here, and the tied head's beside the embedding's."""
    norms = {name: re.sub(r"(norm)\.weight$", r"\1.gain", name) for name in found}
    named = {norms[name]: tensor for name, tensor in found.items()}
    if config.tied_head:
        named["head.vocabulary.weight"] = named["embedding.tokens.weight"]
    return named
