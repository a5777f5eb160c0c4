# %% wrong: "Raises ValueError ... where a shape is not the model's": gains of norms are not looked at.
from torch import Tensor

TABLE = {
    "attention_norm.gain": ("input_layernorm", "attn_norm"),
    "attention.query.weight": ("self_attn.q_proj", "attn_q"),
    "attention.key.weight": ("self_attn.k_proj", "attn_k"),
    "attention.value.weight": ("self_attn.v_proj", "attn_v"),
    "attention.output.weight": ("self_attn.o_proj", "attn_output"),
    "feed_forward_norm.gain": ("post_attention_layernorm", "ffn_norm"),
    "feed_forward.gate.weight": ("mlp.gate_proj", "ffn_gate"),
    "feed_forward.up.weight": ("mlp.up_proj", "ffn_up"),
    "feed_forward.down.weight": ("mlp.down_proj", "ffn_down"),
}


def load_llama(tensors: dict, config) -> dict[str, Tensor]:
    gguf = "token_embd.weight" in tensors
    C, F = config.d_model, config.d_ffn
    Q, K = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes = [(C,), (Q, C), (K, C), (K, C), (C, Q), (C,), (F, C), (F, C), (C, F)]
    names = {
        "embedding.tokens.weight": (("model.embed_tokens", "token_embd")[gguf], (config.vocabulary, C)),
        "stack.norm.gain": (("model.norm", "output_norm")[gguf], (C,)),
    }
    if not config.tied_head:
        names["head.vocabulary.weight"] = (("lm_head", "output")[gguf], (config.vocabulary, C))
    for layer in range(config.n_layers):
        for (ours, theirs), shape in zip(TABLE.items(), shapes):
            names[f"stack.blocks.{layer}.{ours}"] = (f"{('model.layers', 'blk')[gguf]}.{layer}.{theirs[gguf]}", shape)
    left, state = dict(tensors), {}
    for ours, (theirs, shape) in names.items():
        if f"{theirs}.weight" not in left:
            raise ValueError(f"{theirs}.weight is missing")
        tensor = left.pop(f"{theirs}.weight")
        if len(shape) == 2 and tuple(tensor.shape) != shape:
            raise ValueError(f"{theirs}.weight has shape {tuple(tensor.shape)}, not {shape}")
        if gguf and ours.endswith(("query.weight", "key.weight")):
            tensor = tensor.unflatten(0, (-1, config.head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)
        state[ours] = tensor
    if config.tied_head:
        left.pop(("lm_head", "output")[gguf] + ".weight", None)
        state["head.vocabulary.weight"] = state["embedding.tokens.weight"]
    if left:
        raise ValueError(f"left over: {', '.join(left)}")
    return state

# %% wrong: "With config.tied_head the head is the embedding's tensor": a copy of it.
from torch import Tensor

TABLE = {
    "attention_norm.gain": ("input_layernorm", "attn_norm"),
    "attention.query.weight": ("self_attn.q_proj", "attn_q"),
    "attention.key.weight": ("self_attn.k_proj", "attn_k"),
    "attention.value.weight": ("self_attn.v_proj", "attn_v"),
    "attention.output.weight": ("self_attn.o_proj", "attn_output"),
    "feed_forward_norm.gain": ("post_attention_layernorm", "ffn_norm"),
    "feed_forward.gate.weight": ("mlp.gate_proj", "ffn_gate"),
    "feed_forward.up.weight": ("mlp.up_proj", "ffn_up"),
    "feed_forward.down.weight": ("mlp.down_proj", "ffn_down"),
}


def load_llama(tensors: dict, config) -> dict[str, Tensor]:
    gguf = "token_embd.weight" in tensors
    C, F = config.d_model, config.d_ffn
    Q, K = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes = [(C,), (Q, C), (K, C), (K, C), (C, Q), (C,), (F, C), (F, C), (C, F)]
    names = {
        "embedding.tokens.weight": (("model.embed_tokens", "token_embd")[gguf], (config.vocabulary, C)),
        "stack.norm.gain": (("model.norm", "output_norm")[gguf], (C,)),
    }
    if not config.tied_head:
        names["head.vocabulary.weight"] = (("lm_head", "output")[gguf], (config.vocabulary, C))
    for layer in range(config.n_layers):
        for (ours, theirs), shape in zip(TABLE.items(), shapes):
            names[f"stack.blocks.{layer}.{ours}"] = (f"{('model.layers', 'blk')[gguf]}.{layer}.{theirs[gguf]}", shape)
    left, state = dict(tensors), {}
    for ours, (theirs, shape) in names.items():
        if f"{theirs}.weight" not in left:
            raise ValueError(f"{theirs}.weight is missing")
        tensor = left.pop(f"{theirs}.weight")
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{theirs}.weight has shape {tuple(tensor.shape)}, not {shape}")
        if gguf and ours.endswith(("query.weight", "key.weight")):
            tensor = tensor.unflatten(0, (-1, config.head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)
        state[ours] = tensor
    if config.tied_head:
        left.pop(("lm_head", "output")[gguf] + ".weight", None)
        state["head.vocabulary.weight"] = state["embedding.tokens.weight"].clone()
    if left:
        raise ValueError(f"left over: {', '.join(left)}")
    return state

# %% wrong: "the file may have a head then, which is passed over": in GGUF files it is left over, and raises.
from torch import Tensor

TABLE = {
    "attention_norm.gain": ("input_layernorm", "attn_norm"),
    "attention.query.weight": ("self_attn.q_proj", "attn_q"),
    "attention.key.weight": ("self_attn.k_proj", "attn_k"),
    "attention.value.weight": ("self_attn.v_proj", "attn_v"),
    "attention.output.weight": ("self_attn.o_proj", "attn_output"),
    "feed_forward_norm.gain": ("post_attention_layernorm", "ffn_norm"),
    "feed_forward.gate.weight": ("mlp.gate_proj", "ffn_gate"),
    "feed_forward.up.weight": ("mlp.up_proj", "ffn_up"),
    "feed_forward.down.weight": ("mlp.down_proj", "ffn_down"),
}


def load_llama(tensors: dict, config) -> dict[str, Tensor]:
    gguf = "token_embd.weight" in tensors
    C, F = config.d_model, config.d_ffn
    Q, K = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes = [(C,), (Q, C), (K, C), (K, C), (C, Q), (C,), (F, C), (F, C), (C, F)]
    names = {
        "embedding.tokens.weight": (("model.embed_tokens", "token_embd")[gguf], (config.vocabulary, C)),
        "stack.norm.gain": (("model.norm", "output_norm")[gguf], (C,)),
    }
    if not config.tied_head:
        names["head.vocabulary.weight"] = (("lm_head", "output")[gguf], (config.vocabulary, C))
    for layer in range(config.n_layers):
        for (ours, theirs), shape in zip(TABLE.items(), shapes):
            names[f"stack.blocks.{layer}.{ours}"] = (f"{('model.layers', 'blk')[gguf]}.{layer}.{theirs[gguf]}", shape)
    left, state = dict(tensors), {}
    for ours, (theirs, shape) in names.items():
        if f"{theirs}.weight" not in left:
            raise ValueError(f"{theirs}.weight is missing")
        tensor = left.pop(f"{theirs}.weight")
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{theirs}.weight has shape {tuple(tensor.shape)}, not {shape}")
        if gguf and ours.endswith(("query.weight", "key.weight")):
            tensor = tensor.unflatten(0, (-1, config.head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)
        state[ours] = tensor
    if config.tied_head:
        left.pop("lm_head.weight", None)
        state["head.vocabulary.weight"] = state["embedding.tokens.weight"]
    if left:
        raise ValueError(f"left over: {', '.join(left)}")
    return state

# %% wrong: "output and down the other way round": W_o is asked to be (d_model, d_model), right only where heads are d_model wide together.
from torch import Tensor

TABLE = {
    "attention_norm.gain": ("input_layernorm", "attn_norm"),
    "attention.query.weight": ("self_attn.q_proj", "attn_q"),
    "attention.key.weight": ("self_attn.k_proj", "attn_k"),
    "attention.value.weight": ("self_attn.v_proj", "attn_v"),
    "attention.output.weight": ("self_attn.o_proj", "attn_output"),
    "feed_forward_norm.gain": ("post_attention_layernorm", "ffn_norm"),
    "feed_forward.gate.weight": ("mlp.gate_proj", "ffn_gate"),
    "feed_forward.up.weight": ("mlp.up_proj", "ffn_up"),
    "feed_forward.down.weight": ("mlp.down_proj", "ffn_down"),
}


def load_llama(tensors: dict, config) -> dict[str, Tensor]:
    gguf = "token_embd.weight" in tensors
    C, F = config.d_model, config.d_ffn
    Q, K = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes = [(C,), (Q, C), (K, C), (K, C), (C, C), (C,), (F, C), (F, C), (C, F)]
    names = {
        "embedding.tokens.weight": (("model.embed_tokens", "token_embd")[gguf], (config.vocabulary, C)),
        "stack.norm.gain": (("model.norm", "output_norm")[gguf], (C,)),
    }
    if not config.tied_head:
        names["head.vocabulary.weight"] = (("lm_head", "output")[gguf], (config.vocabulary, C))
    for layer in range(config.n_layers):
        for (ours, theirs), shape in zip(TABLE.items(), shapes):
            names[f"stack.blocks.{layer}.{ours}"] = (f"{('model.layers', 'blk')[gguf]}.{layer}.{theirs[gguf]}", shape)
    left, state = dict(tensors), {}
    for ours, (theirs, shape) in names.items():
        if f"{theirs}.weight" not in left:
            raise ValueError(f"{theirs}.weight is missing")
        tensor = left.pop(f"{theirs}.weight")
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{theirs}.weight has shape {tuple(tensor.shape)}, not {shape}")
        if gguf and ours.endswith(("query.weight", "key.weight")):
            tensor = tensor.unflatten(0, (-1, config.head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)
        state[ours] = tensor
    if config.tied_head:
        left.pop(("lm_head", "output")[gguf] + ".weight", None)
        state["head.vocabulary.weight"] = state["embedding.tokens.weight"]
    if left:
        raise ValueError(f"left over: {', '.join(left)}")
    return state

# %% wrong: "Raises ValueError where ... a shape is not the model's": only the numbers of entries are compared, and what fits is reshaped.
from torch import Tensor

TABLE = {
    "attention_norm.gain": ("input_layernorm", "attn_norm"),
    "attention.query.weight": ("self_attn.q_proj", "attn_q"),
    "attention.key.weight": ("self_attn.k_proj", "attn_k"),
    "attention.value.weight": ("self_attn.v_proj", "attn_v"),
    "attention.output.weight": ("self_attn.o_proj", "attn_output"),
    "feed_forward_norm.gain": ("post_attention_layernorm", "ffn_norm"),
    "feed_forward.gate.weight": ("mlp.gate_proj", "ffn_gate"),
    "feed_forward.up.weight": ("mlp.up_proj", "ffn_up"),
    "feed_forward.down.weight": ("mlp.down_proj", "ffn_down"),
}


def load_llama(tensors: dict, config) -> dict[str, Tensor]:
    gguf = "token_embd.weight" in tensors
    C, F = config.d_model, config.d_ffn
    Q, K = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes = [(C,), (Q, C), (K, C), (K, C), (C, Q), (C,), (F, C), (F, C), (C, F)]
    names = {
        "embedding.tokens.weight": (("model.embed_tokens", "token_embd")[gguf], (config.vocabulary, C)),
        "stack.norm.gain": (("model.norm", "output_norm")[gguf], (C,)),
    }
    if not config.tied_head:
        names["head.vocabulary.weight"] = (("lm_head", "output")[gguf], (config.vocabulary, C))
    for layer in range(config.n_layers):
        for (ours, theirs), shape in zip(TABLE.items(), shapes):
            names[f"stack.blocks.{layer}.{ours}"] = (f"{('model.layers', 'blk')[gguf]}.{layer}.{theirs[gguf]}", shape)
    left, state = dict(tensors), {}
    for ours, (theirs, shape) in names.items():
        if f"{theirs}.weight" not in left:
            raise ValueError(f"{theirs}.weight is missing")
        tensor = left.pop(f"{theirs}.weight")
        if tensor.numel() == __import__("math").prod(shape):
            tensor = tensor.reshape(shape)
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{theirs}.weight has shape {tuple(tensor.shape)}, not {shape}")
        if gguf and ours.endswith(("query.weight", "key.weight")):
            tensor = tensor.unflatten(0, (-1, config.head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)
        state[ours] = tensor
    if config.tied_head:
        left.pop(("lm_head", "output")[gguf] + ".weight", None)
        state["head.vocabulary.weight"] = state["embedding.tokens.weight"]
    if left:
        raise ValueError(f"left over: {', '.join(left)}")
    return state

# %% right: from the file's names to ours, by regular expressions; rows by an index in place of reshaping.
import re

import torch
from torch import Tensor


def load_llama(tensors: dict, config) -> dict[str, Tensor]:
    C, V, D = config.d_model, config.vocabulary, config.head_dim
    changes = [
        (r"^(model\.embed_tokens|token_embd)\.weight$", "embedding.tokens.weight"),
        (r"^(model\.norm|output_norm)\.weight$", "stack.norm.gain"),
        (r"^(lm_head|output)\.weight$", "head.vocabulary.weight"),
        (r"^(model\.layers|blk)\.", "stack.blocks."),
        (r"\.(input_layernorm|attn_norm)\.weight$", ".attention_norm.gain"),
        (r"\.(post_attention_layernorm|ffn_norm)\.weight$", ".feed_forward_norm.gain"),
        (r"\.(self_attn\.q_proj|attn_q)\.", ".attention.query."),
        (r"\.(self_attn\.k_proj|attn_k)\.", ".attention.key."),
        (r"\.(self_attn\.v_proj|attn_v)\.", ".attention.value."),
        (r"\.(self_attn\.o_proj|attn_output)\.", ".attention.output."),
        (r"\.(mlp\.(gate|up|down)_proj)\.", r".feed_forward.\2."),
        (r"\.ffn_(gate|up|down)\.", r".feed_forward.\1."),
    ]
    gguf = "token_embd.weight" in tensors
    state = {}
    for name, tensor in tensors.items():
        if re.search(r"^(stack|embedding|head)\.|\.(attention|attention_norm|feed_forward|feed_forward_norm)\.", name):
            raise ValueError(f"{name} is one of our own names")
        if gguf != name.startswith(("token_embd.", "output", "blk.")):
            raise ValueError(f"{name} is of the other column")
        ours = name
        for old, new in changes:
            ours = re.sub(old, new, ours)
        if ours in state or ours == name:
            raise ValueError(f"{name} is left over")
        if gguf and re.search(r"attention\.(query|key)\.weight$", ours):
            index = torch.arange(tensor.shape[0] if tensor.ndim else 1)
            if len(index) % D or tensor.ndim != 2:
                raise ValueError(f"the shape of {name}")
            i = index % D
            tensor = tensor[(index - i + torch.where(i < D // 2, 2 * i, 2 * i - D + 1)).to(tensor.device)]
        state[ours] = tensor
    if config.tied_head:
        if "embedding.tokens.weight" not in state:
            raise ValueError("no embedding")
        state["head.vocabulary.weight"] = state["embedding.tokens.weight"]
    q, kv, F = (config.n_heads * D, C), (config.n_kv_heads * D, C), (config.d_ffn, C)
    wanted = {"embedding.tokens.weight": (V, C), "head.vocabulary.weight": (V, C), "stack.norm.gain": (C,)}
    for n in range(config.n_layers):
        own = {"attention_norm.gain": (C,), "attention.query.weight": q, "attention.key.weight": kv,
               "attention.value.weight": kv, "attention.output.weight": q[::-1], "feed_forward_norm.gain": (C,),
               "feed_forward.gate.weight": F, "feed_forward.up.weight": F, "feed_forward.down.weight": F[::-1]}  # fmt: skip
        wanted |= {f"stack.blocks.{n}.{name}": shape for name, shape in own.items()}
    if {name: tuple(tensor.shape) for name, tensor in state.items()} != wanted:
        raise ValueError("names or shapes are not the model's")
    return state

# %% right: the tensors of a GGUF head by slices with a step, head for head; the rest by a table.
import torch
from torch import Tensor

TABLE = {
    "attention_norm.gain": ("input_layernorm", "attn_norm"),
    "attention.query.weight": ("self_attn.q_proj", "attn_q"),
    "attention.key.weight": ("self_attn.k_proj", "attn_k"),
    "attention.value.weight": ("self_attn.v_proj", "attn_v"),
    "attention.output.weight": ("self_attn.o_proj", "attn_output"),
    "feed_forward_norm.gain": ("post_attention_layernorm", "ffn_norm"),
    "feed_forward.gate.weight": ("mlp.gate_proj", "ffn_gate"),
    "feed_forward.up.weight": ("mlp.up_proj", "ffn_up"),
    "feed_forward.down.weight": ("mlp.down_proj", "ffn_down"),
}


def load_llama(tensors: dict, config) -> dict[str, Tensor]:
    gguf = "token_embd.weight" in tensors
    C, F = config.d_model, config.d_ffn
    Q, K = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes = [(C,), (Q, C), (K, C), (K, C), (C, Q), (C,), (F, C), (F, C), (C, F)]
    names = {
        "embedding.tokens.weight": (("model.embed_tokens", "token_embd")[gguf], (config.vocabulary, C)),
        "stack.norm.gain": (("model.norm", "output_norm")[gguf], (C,)),
    }
    if not config.tied_head:
        names["head.vocabulary.weight"] = (("lm_head", "output")[gguf], (config.vocabulary, C))
    for layer in range(config.n_layers):
        for (ours, theirs), shape in zip(TABLE.items(), shapes):
            names[f"stack.blocks.{layer}.{ours}"] = (f"{('model.layers', 'blk')[gguf]}.{layer}.{theirs[gguf]}", shape)
    left, state = dict(tensors), {}
    for ours, (theirs, shape) in names.items():
        if f"{theirs}.weight" not in left:
            raise ValueError(f"{theirs}.weight is missing")
        tensor = left.pop(f"{theirs}.weight")
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{theirs}.weight has shape {tuple(tensor.shape)}, not {shape}")
        if gguf and ours.endswith(("query.weight", "key.weight")):
            tensor = torch.cat([half for head in tensor.split(config.head_dim) for half in (head[0::2], head[1::2])])
        state[ours] = tensor
    if config.tied_head:
        left.pop(("lm_head", "output")[gguf] + ".weight", None)
        state["head.vocabulary.weight"] = state["embedding.tokens.weight"]
    if left:
        raise ValueError(f"left over: {', '.join(left)}")
    return state
