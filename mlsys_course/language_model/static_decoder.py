"""A LLaMA that only decodes: the same numbers as lab 3's ``Decoder``, with less of everything around the products.

What it saves: one product for q, k and v, and one for gate and up; cosines from a table; caches that are taken once;
logits of the last token only.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..attention import causal_mask
from ..attention.positions import rotary_angles
from ..foundations import BadInput
from ..substrate.model_config import ModelConfig, check_served
from ..transformer import Block, Decoder

SERVED = {"norm": "rms", "norm_position": "pre", "positions": "rotary", "gated": True, "activation": "silu",
          "attention_biases": "", "mlp_biases": False, "final_norm": True}  # fmt: skip


class Layer(NamedTuple):
    """One block's weights, those that read the same input as one matrix; and what it remembers."""

    attention_gain: Tensor
    query_key_value: Tensor
    output: Tensor
    network_gain: Tensor
    gate_up: Tensor
    down: Tensor
    keys: Float[Tensor, "B K capacity D"]
    values: Float[Tensor, "B K capacity D"]


class StaticDecoder:
    """``model`` for decoding: called as ``(tokens, caches=decoder.caches)``, so that ``generate`` takes it as it is.

    ``caches`` stands for the memory of up to ``capacity`` tokens of ``batch`` sequences, which this holds itself;
    ``reset`` empties it. Logits are those of the last token, (B, 1, V). Weights are copied: later changes of the model
    are not seen. Serves configurations like ``llama``'s. Raises BadSize for others, BadInput where tokens do not fit.

    On a card the step of one token is recorded once, as a CUDA graph, and then replayed: of hundreds of small kernels
    none waits for Python. What is recorded has fixed shapes: it looks at all places and masks those to come.
    """

    @torch.no_grad()
    def __init__(self, model: Decoder, capacity: int, batch: int = 1):
        config = model.config
        check_served(config, SERVED, "a static decoder is for LLaMA's kind")
        weight = model.embedding.tokens.weight.detach()
        self.config, self.capacity, self.batch = config, capacity, batch
        self.embedding, self.head = weight, model.head.vocabulary.weight.detach()
        self.gain, self.offset = model.stack.norm.get_parameter("gain").detach(), 0
        self.layers = [_layer(cast(Block, block), config, (batch, config.n_kv_heads, capacity, config.head_dim), weight)
                       for block in model.stack.blocks]  # fmt: skip
        self.cos, self.sin = (table.to(weight.dtype) for table in _tables(config, capacity, weight))
        self.places = torch.arange(capacity, device=weight.device)
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def caches(self) -> Sequence["StaticDecoder"]:
        """What a caller hands on as ``caches``: it has an ``offset``, as a list of ``KVCache`` has."""
        return [self]

    def reset(self) -> None:
        """Forget all tokens."""
        self.offset = 0

    @torch.no_grad()
    def __call__(self, tokens: Int[Tensor, "B T"], caches: Sequence["StaticDecoder"]) -> Float[Tensor, "B 1 V"]:
        """Logits for the token after the last of ``tokens``, which come after all that were given before."""
        start, end = self.offset, self.offset + tokens.shape[1]
        if caches is None or caches[0] is not self:
            raise BadInput("a static decoder reads each token once; call it with caches=decoder.caches")
        if end > self.capacity or len(tokens) != self.batch:
            raise BadInput(f"{tuple(tokens.shape)} tokens after {start} do not fit {self.batch} x {self.capacity}")
        self.offset = end
        if tokens.is_cuda and tokens.shape[1] == 1:
            return self._replayed(tokens, start)
        T, several = tokens.shape[1], tokens.shape[1] > 1
        mask = causal_mask(T, end, device=tokens.device) if several and start else None
        x, cos, sin = F.embedding(tokens, self.embedding), self.cos[start:end], self.sin[start:end]
        for layer in self.layers:
            q, k, v = self._projected(x, layer, cos, sin)
            layer.keys[:, :, start:end], layer.values[:, :, start:end] = k, v
            seen = layer.keys[:, :, :end], layer.values[:, :, :end]
            y = F.scaled_dot_product_attention(q, *seen, mask, is_causal=several and not start, enable_gqa=True)
            x = self._finished(x, y, layer)
        return F.linear(self._norm(x[:, -1:], self.gain), self.head)

    def _replayed(self, tokens: Int[Tensor, "B 1"], start: int) -> Float[Tensor, "B 1 V"]:
        """``_next`` as it was recorded: it reads and writes the same memory each time."""
        if self._graph is None:
            self._token, self._place = tokens.clone(), self.places[start : start + 1].clone()
            beside = torch.cuda.Stream()  # the first call of a kernel may take memory: not while it is recorded
            with torch.cuda.stream(beside):
                self._next(self._token, self._place)
            torch.cuda.current_stream().wait_stream(beside)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._logits = self._next(self._token, self._place)
        self._token.copy_(tokens)
        self._place.fill_(start)
        self._graph.replay()
        return self._logits.clone()

    def _next(self, token: Int[Tensor, "B 1"], place: Int[Tensor, " 1"]) -> Float[Tensor, "B 1 V"]:
        """Logits after one token that comes at ``place``, in shapes that do not depend on it."""
        x, cos, sin = F.embedding(token, self.embedding), self.cos[place], self.sin[place]
        seen = self.places <= place  # (capacity,)
        for layer in self.layers:
            q, k, v = self._projected(x, layer, cos, sin)
            layer.keys.index_copy_(2, place, k)
            layer.values.index_copy_(2, place, v)
            groups = q.view(self.batch, self.config.n_kv_heads, -1, self.config.head_dim)  # that share keys, as rows
            y = F.scaled_dot_product_attention(groups, layer.keys, layer.values, seen.expand(groups.shape[2], -1))
            x = self._finished(x, y.view(q.shape), layer)
        return F.linear(self._norm(x, self.gain), self.head)

    def _projected(self, x: Tensor, layer: Layer, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q (B, H, T, D), k and v (B, K, T, D), q and k turned; cos and sin are (T, D), signs included."""
        H, K, D = self.config.n_heads, self.config.n_kv_heads, self.config.head_dim
        merged = F.linear(self._norm(x, layer.attention_gain), layer.query_key_value)
        heads = merged.unflatten(-1, (H + 2 * K, D)).transpose(1, 2)
        turning = heads[:, : H + K]
        turned = turning * cos + turning.roll(D // 2, -1) * sin
        return turned[:, :H], turned[:, H:], heads[:, H + K :]

    def _finished(self, x: Tensor, y: Tensor, layer: Layer) -> Tensor:
        """The rest of a block, after attention y (B, H, T, D)."""
        x = x + F.linear(y.transpose(1, 2).flatten(2), layer.output)
        gate, up = F.linear(self._norm(x, layer.network_gain), layer.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, layer.down)

    def _norm(self, x: Tensor, gain: Tensor) -> Tensor:
        return F.rms_norm(x, gain.shape, gain, self.config.epsilon)


def _layer(block: Block, config: ModelConfig, shape: tuple[int, ...], like: Tensor) -> Layer:
    attention, network = block.attention, block.feed_forward
    assert network.gate is not None  # checked by SERVED
    return Layer(
        block.attention_norm.get_parameter("gain").detach(),
        torch.cat([part.weight for part in (attention.query, attention.key, attention.value)]),
        attention.output.weight.detach(),
        block.feed_forward_norm.get_parameter("gain").detach(),
        torch.cat([network.gate.weight, network.up.weight]),
        network.down.weight.detach(),
        like.new_zeros(shape),
        like.new_zeros(shape),
    )


def _tables(config: ModelConfig, capacity: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (capacity, D) of every position's angles; the first half's sines are negative."""
    precise = torch.promote_types(like.dtype, torch.float32)
    angles = rotary_angles(
        capacity, config.head_dim, 0, config.rotary_base, precise, like.device, scaling=config.rotary_scaling
    )
    return torch.cat((angles.cos(), angles.cos()), -1), torch.cat((-angles.sin(), angles.sin()), -1)
