"""FLOPs of any transformer, operator by operator: a multiply-add is two."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from ..substrate.model_config import ModelConfig, check_whole
from .table import Table

# FLOPs an entry of what is no matrix product. Of RMSNorm, softmax (3), SiLU and rotary positions as lecture note 004
# counts them; the rest in its manner: exponentials, roots and hyperbolic tangents are one each.
NORM = {"rms": (4, 2), "layer": (7, 4)}  # for each entry, for each token
ACTIVATION = {"silu": 4, "gelu": 8, "gelu_tanh": 8, "relu": 1}
MATMUL_CONVENTION = (
    "Matrix products only; an (m, n) by (n, h) product is 2 m n h. Looking an embedding up is no product."
)
ELEMENTWISE_CONVENTION = "What is no matrix product, as lecture note 004 counts: softmax 3 an entry, SiLU 4, RMSNorm 4."


@dataclass(frozen=True)
class Operator:
    """One operator of a forward pass, which occurs ``count`` times; all other figures are of one occurrence.

    ``matmul`` and ``elementwise`` are FLOPs; ``weights``, ``reads`` and ``writes`` are numbers, not bytes: parameters
    read, other inputs read, outputs written. ``masked`` says that its FLOPs go with pairs of a query and a key, and
    that a causal mask hides some of them.
    """

    name: str
    shape: tuple[int, ...]
    matmul: int = 0
    elementwise: int = 0
    weights: int = 0
    reads: int = 0
    writes: int = 0
    count: int = 1
    masked: bool = False


def _linear(name: str, b: int, t: int, inputs: int, outputs: int) -> Operator:
    """x W^T over b sequences of t tokens."""
    tokens = b * t
    return Operator(
        name, (b, t, outputs), matmul=2 * tokens * inputs * outputs,
        weights=inputs * outputs, reads=tokens * inputs, writes=tokens * outputs,
    )  # fmt: skip


def _elementwise(name: str, shape: tuple[int, ...], flops: int, inputs: int = 1, weights: int = 0) -> Operator:
    """``flops`` in all, reading ``inputs`` tensors as large as the output."""
    size = prod(shape)
    return Operator(name, shape, elementwise=flops, weights=weights, reads=inputs * size, writes=size)


def _norm(config: ModelConfig, name: str, b: int, t: int) -> Operator:
    entry, token = NORM[config.norm]
    d = config.d_model
    weights = d * (2 if config.norm == "layer" else 1)
    return _elementwise(name, (b, t, d), b * t * (entry * d + token), weights=weights)


def _attention(
    config: ModelConfig, name: str, b: int, t: int, s: int, new: int, masked: bool = False
) -> Iterator[Operator]:
    """t queries over s keys and values, of which ``new`` are computed here; rotary positions turn queries and keys."""
    d, heads, kv, dim, v = config.d_model, config.n_heads, config.n_kv_heads, config.head_dim, config.value_dim
    yield _linear(f"{name}.query", b, t, d, heads * dim)
    if new:
        yield _linear(f"{name}.key", b, new, d, kv * dim)
        yield _linear(f"{name}.value", b, new, d, kv * v)
    if config.positions == "rotary":
        yield _elementwise(f"{name}.rotary", (b, t, (heads + kv) * dim), 3 * b * t * (heads + kv) * dim)
    shape, pairs = (b, heads, t, s), b * heads * t * s
    keys, values, out = b * kv * s * dim, b * kv * s * v, b * heads * t * v
    yield Operator(
        f"{name}.scores", shape, 2 * pairs * dim, reads=b * heads * t * dim + keys, writes=pairs, masked=masked
    )
    yield Operator(f"{name}.softmax", shape, elementwise=3 * pairs, reads=pairs, writes=pairs, masked=masked)
    yield Operator(f"{name}.values", (b, heads, t, v), 2 * pairs * v, reads=pairs + values, writes=out, masked=masked)
    yield _linear(f"{name}.output", b, t, heads * v, d)


def _mlp(config: ModelConfig, b: int, t: int) -> Iterator[Operator]:
    d, f = config.d_model, config.d_ffn
    for name in ("gate", "up") if config.gated else ("up",):
        yield _linear(f"mlp.{name}", b, t, d, f)
    yield _elementwise("mlp.activation", (b, t, f), ACTIVATION[config.activation] * b * t * f)
    if config.gated:
        yield _elementwise("mlp.multiply", (b, t, f), b * t * f, inputs=2)
    yield _linear("mlp.down", b, t, f, d)


def _stack(
    config: ModelConfig, b: int, t: int, layers: int, *, past: int = 0, causal: bool = False, memory: int = 0
) -> Iterator[Operator]:
    """All layers of one stack: operators that occur once a layer. A ``memory`` is of so many tokens to look at."""
    layer = [*_attention(config, "attention", b, t, past + t, t, masked=causal)]
    if memory:
        layer += _attention(config, "cross_attention", b, t, memory, 0 if past else memory)
    layer += _mlp(config, b, t)
    layer += [_norm(config, "norms.layer", b, t)] * (config.norms_per_layer + bool(memory))
    add = _elementwise("residual.add", (b, t, config.d_model), b * t * config.d_model, inputs=2)
    layer += [add] * (2 + bool(memory))
    return (replace(operator, count=layers) for operator in layer)


def operators(
    config: ModelConfig, batch: int, time: int, *, past: int = 0, source: int | None = None
) -> list[Operator]:
    """The forward pass over ``batch`` sequences of ``time`` tokens, after ``past`` tokens whose keys are cached.

    With an encoder, ``source`` is the length of what it reads (``time`` unless given); with ``past`` it ran before, and
    what cross-attention needs of it is cached too. Biases, sinks, what scales embeddings or is added to them, and what
    is no arithmetic are left out.
    Raises BadSize for lengths that cannot be.
    """
    check_whole("batch", batch)
    check_whole("time", time)
    check_whole("past", past, at_least=0)
    memory = (time if source is None else source) if config.encoder_layers else 0
    if config.encoder_layers:
        check_whole("source", memory)
    d, b, t = config.d_model, batch, time
    found = [Operator("embedding.look_up", (b, t, d), reads=b * t * d, writes=b * t * d)]
    if memory and not past:
        found += _stack(config, b, memory, config.encoder_layers)
        found += [_norm(config, "norms.around", b, memory)] * config.final_norm
    found += _stack(config, b, t, config.n_layers, past=past, causal=config.causal, memory=memory)
    found += [_norm(config, "norms.around", b, t)] * (config.embedding_norm + config.final_norm)
    if config.head_transform:
        found += [_linear("head.transform", b, t, d, d), _norm(config, "norms.around", b, t)]
        found += [_elementwise("head.activation", (b, t, d), ACTIVATION[config.activation] * b * t * d)]
    return [*found, _linear("head.logits", b, t, d, config.padded_vocabulary)]


def flops_by_operator(
    config: ModelConfig,
    batch: int,
    time: int,
    *,
    past: int = 0,
    source: int | None = None,
    causal: bool = False,
    elementwise: bool = False,
) -> Table:
    """FLOPs of a forward pass by operator, over all layers: of matrix products, or with ``elementwise`` of the rest.

    ``causal`` counts only the pairs that a causal mask leaves: T (T + 1) / 2 of T^2, as a kernel that skips the rest
    does; the notes, PyTorch's counter and most papers count all. Without it the matrix products are what
    ``torch.utils.flop_counter`` counts, exactly; of a plain decoder they are ``forward_flops``, in more terms.
    """
    terms: dict[str, int] = {}
    for operator in operators(config, batch, time, past=past, source=source):
        flops = operator.count * (operator.elementwise if elementwise else operator.matmul)
        if causal and operator.masked:
            flops = flops * (2 * past + time + 1) // (2 * (past + time))  # of T (past + T) pairs
        if flops:
            terms[operator.name] = terms.get(operator.name, 0) + flops
    convention = ELEMENTWISE_CONVENTION if elementwise else MATMUL_CONVENTION
    return Table("FLOPs", terms, convention)
