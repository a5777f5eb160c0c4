"""Networks as graphs: a perceptron, a GPT, and a block of LLaMA. Weights come by name, as nodes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from ..model_config import ModelConfig, check_served
from ..presets import gpt2, llama
from .arithmetic import where
from .elementwise import gelu, relu, silu, tanh
from .network import embedding, layer_norm, rms_norm, softmax
from .node import Node, constant, variable
from .shapes import concatenate, matmul, reshape, transpose

Weights = Mapping[str, Node]


def gelu_tanh(x: Node) -> Node:
    """GELU as GPT-2 has it, the normal distribution replaced by a tanh. Source: Hendrycks and Gimpel 2016."""
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu}


def check_like(config: ModelConfig, usual: ModelConfig, free: Sequence[str], who: str) -> None:
    """Raises BadSize where ``config`` differs from the ``usual`` one in a field that is not ``free``."""
    fixed = {field.name: getattr(usual, field.name) for field in fields(usual) if field.name not in free}
    check_served(config, fixed, who)


def gpt_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each weight by name; BadSize names what a GPT-2 has not, such as a gate."""
    usual = gpt2(config.vocabulary, config.context, config.d_model, config.n_layers, config.n_heads)
    free = ("vocabulary_multiple", "d_ffn", "activation", "epsilon", "fast")
    check_like(config, usual, free, "the graph's GPT is a GPT-2")
    C, F = config.d_model, config.d_ffn
    shapes: dict[str, tuple[int, ...]] = {"tokens": (config.padded_vocabulary, C), "positions": (config.context, C)}
    for n in range(config.n_layers):
        for norm in ("norm1", "norm2"):
            shapes |= {f"{n}.{norm}.scale": (C,), f"{n}.{norm}.shift": (C,)}
        for name, rows, columns in (("qkv", C, 3 * C), ("out", C, C), ("up", C, F), ("down", F, C)):
            shapes |= {f"{n}.{name}.weight": (rows, columns), f"{n}.{name}.bias": (columns,)}
    return shapes | {"norm.scale": (C,), "norm.shift": (C,)}


def gpt_weights(config: ModelConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """GPT-2's start: normal with deviation 0.02, scales 1, shifts and biases 0."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in gpt_shapes(config).items():
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.02
        flat = {"scale": torch.ones_like(drawn), "shift": drawn * 0, "bias": drawn * 0}
        found[name] = flat.get(name.split(".")[-1], drawn).to(dtype)
    return found


def variables(tensors: Mapping[str, Tensor]) -> dict[str, Node]:
    """A variable for each tensor, of its name, shape and dtype."""
    return {name: variable(name, tuple(value.shape), value.dtype) for name, value in tensors.items()}


def perceptron(x: Node, weights: Sequence[Node]) -> Node:
    """w_n relu(... relu(x w_1)), rows as examples: the note's network, with as many layers as there are weights."""
    for weight in weights[:-1]:
        x = relu(matmul(x, weight))
    return matmul(x, weights[-1])


def linear(x: Node, w: Weights, name: str) -> Node:
    return matmul(x, w[f"{name}.weight"]) + w[f"{name}.bias"]


def heads(x: Node, n_heads: int) -> Node:
    """(B, T, C) to (B, H, T, D)."""
    B, T, C = x.shape
    return transpose(reshape(x, (B, T, n_heads, C // n_heads)), (0, 2, 1, 3))


def causal_attention(q: Node, k: Node, v: Node) -> Node:
    """(B, H, T, D) each to (B, T, H D): each token attends to itself and those before it."""
    B, H, T, D = q.shape
    scores = matmul(q, transpose(k)) * (1 / math.sqrt(D))  # (B, H, T, T)
    seen = constant(torch.ones(T, T, dtype=torch.bool).tril())
    mixed = matmul(softmax(where(seen, scores, -math.inf)), v)  # (B, H, T, D)
    return reshape(transpose(mixed, (0, 2, 1, 3)), (B, T, H * D))


def gpt(ids: Node, w: Weights, config: ModelConfig) -> Node:
    """Logits (B, T, V) of token ids (B, T)."""
    T, C, bend = ids.shape[1], config.d_model, ACTIVATIONS[config.activation]
    x = embedding(w["tokens"], ids) + w["positions"][:T]  # (B, T, C)
    for n in range(config.n_layers):
        normed = layer_norm(x, w[f"{n}.norm1.scale"], w[f"{n}.norm1.shift"], config.epsilon)
        qkv = linear(normed, w, f"{n}.qkv")  # (B, T, 3C)
        q, k, v = (heads(qkv[..., i * C : (i + 1) * C], config.n_heads) for i in range(3))
        x = x + linear(causal_attention(q, k, v), w, f"{n}.out")
        normed = layer_norm(x, w[f"{n}.norm2.scale"], w[f"{n}.norm2.shift"], config.epsilon)
        x = x + linear(bend(linear(normed, w, f"{n}.up")), w, f"{n}.down")
    return matmul(layer_norm(x, w["norm.scale"], w["norm.shift"], config.epsilon), transpose(w["tokens"]))


def rotated(x: Node, base: float) -> Node:
    """Rotary positions as LLaMA's published weights want them: entry i turns with entry i + D/2."""
    T, D = x.shape[-2:]
    angle = torch.arange(T)[:, None] * base ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)  # (T, D/2)
    cosine, sine = (torch.cat([f(angle), f(angle)], -1).to(x.dtype) for f in (torch.cos, torch.sin))
    turned = concatenate([-x[..., D // 2 :], x[..., : D // 2]], axis=-1)
    return x * constant(cosine) + turned * constant(sine)


def llama_block(x: Node, w: Weights, config: ModelConfig) -> Node:
    """(B, T, C) to (B, T, C): RMSNorm, rotary attention, SwiGLU, residuals; BadSize names what it has not."""
    usual = llama(config.vocabulary, config.d_model, config.n_layers, config.n_heads)
    free = ("context", "vocabulary_multiple", "tied_head", "d_ffn", "activation", "epsilon", "rotary_base", "fast")
    check_like(config, usual, free, "the graph's block is a LLaMA-2's")
    base, bend = config.rotary_base, ACTIVATIONS[config.activation]
    normed = rms_norm(x, w["norm1"], config.epsilon)
    q, k, v = (heads(matmul(normed, w[name]), config.n_heads) for name in ("q", "k", "v"))
    x = x + matmul(causal_attention(rotated(q, base), rotated(k, base), v), w["o"])
    normed = rms_norm(x, w["norm2"], config.epsilon)
    return x + matmul(bend(matmul(normed, w["gate"])) * matmul(normed, w["up"]), w["down"])


def plain_gpt(one_hot: Any, w: Mapping[str, Any], n_heads: int, library: Any, permute: Any, seen: Any) -> Any:
    """A GPT of nothing but arithmetic, exp, tanh, means, sums, reshapes and matrix products. Lab 5's experiment.

    Logits (B, T, V) of one-hot tokens (B, T, V): in nodes where ``library`` is ``substrate.graph``, in tensors where it
    is ``torch``. ``permute`` is the library's. ``seen`` (T, T) is added to scores: 0 where a token may look.
    """
    B, T, _ = one_hot.shape
    C, D = w["tokens"].shape[1], w["tokens"].shape[1] // n_heads

    def norm(x):
        return x * (library.mean(x * x, -1, keepdims=True) + 1e-5) ** -0.5

    def split(x):
        return permute(library.reshape(x, (B, T, n_heads, D)), (0, 2, 1, 3))  # (B, H, T, D)

    x = one_hot @ w["tokens"] + w["positions"]
    for n in range(sum(name.endswith(".q") for name in w)):
        q, k, v = (split(norm(x) @ w[f"{n}.{name}"]) for name in "qkv")
        scores = library.exp(q @ permute(k, (0, 1, 3, 2)) * D**-0.5 + seen)  # (B, H, T, T), small enough for exp
        mixed = scores / library.sum(scores, -1, keepdims=True) @ v
        x = x + library.reshape(permute(mixed, (0, 2, 1, 3)), (B, T, C)) @ w[f"{n}.o"]
        h = norm(x) @ w[f"{n}.up"]
        x = x + h * (0.5 + 0.5 * library.tanh(0.8 * h)) @ w[f"{n}.down"]
    return norm(x) @ w["head"]


def plain_gpt_weights(vocabulary: int, context: int, width: int, n_layers: int, seed: int = 0) -> dict[str, Tensor]:
    """Its weights by name, normal with deviation 0.08."""
    V, T, C = vocabulary, context, width
    shapes = {"tokens": (V, C), "positions": (T, C), "head": (C, V)}
    for n in range(n_layers):
        shapes |= {f"{n}.{name}": (C, C) for name in "qkvo"} | {f"{n}.up": (C, 4 * C), f"{n}.down": (4 * C, C)}
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.08 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
