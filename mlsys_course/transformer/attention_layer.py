"""Lab 2's attention as a layer: four projections, heads, positions that turn or bias, a cache."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..attention import KVCache, attention, merge_heads, repeat_kv, rotary_positions, split_heads
from ..substrate.model_config import ModelConfig, check_served

SERVED = {"value_multiple": 1, "sinks": False, "qk_norm": False}


class Attention(nn.Module):
    """Grouped-query attention over x, or with a ``memory`` cross-attention: queries from x, keys and values from there.

    ``causal`` hides later tokens, the T queries being the last T of S; ``mask`` hides more. ``bias`` is added to the
    scores. With a ``cache``, x holds the tokens that come next, and keys and values join the earlier ones. Positions
    that turn queries and keys turn them here, and not in cross-attention, whose sides count for themselves.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        check_served(config, SERVED, "lab 3's attention has values as wide as keys, no sinks, no norms of its own")
        self.config = config
        C, D = config.d_model, config.head_dim
        biases = {letter: letter in config.attention_biases for letter in "QKVO"}
        self.query = nn.Linear(C, config.n_heads * D, bias=biases["Q"])
        self.key = nn.Linear(C, config.n_kv_heads * D, bias=biases["K"])
        self.value = nn.Linear(C, config.n_kv_heads * D, bias=biases["V"])
        self.output = nn.Linear(config.n_heads * D, C, bias=biases["O"])

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        mask: Bool[Tensor, "*#batch #T #S"] | None = None,
        *,
        causal: bool = False,
        memory: Float[Tensor, "B S C"] | None = None,
        bias: Float[Tensor, "H T S"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        config, source = self.config, x if memory is None else memory
        q = split_heads(self.query(x), config.n_heads)  # (B, H, T, D)
        k = split_heads(self.key(source), config.n_kv_heads)  # (B, K, S, D)
        v = split_heads(self.value(source), config.n_kv_heads)
        if memory is None:
            q, k = self.turned(q, k, cache.offset if cache else 0)
        if cache is not None:
            k, v = cache.append(k, v)
        if not config.fast:  # the kernels share heads themselves
            k, v = repeat_kv(k, config.n_heads), repeat_kv(v, config.n_heads)  # (B, H, S, D)
        y = attention(q, k, v, mask, causal=causal, bias=bias, backend="sdpa" if config.fast else "naive")
        return self.output(merge_heads(y))

    def turned(
        self, q: Float[Tensor, "B H T D"], k: Float[Tensor, "B K T D"], offset: int = 0
    ) -> tuple[Float[Tensor, "B H T D"], Float[Tensor, "B K T D"]]:
        """Queries and keys as they stand at ``offset`` and after, turned where positions are rotary."""
        if self.config.positions != "rotary":
            return q, k
        base, scaling = self.config.rotary_base, self.config.rotary_scaling
        return rotary_positions(q, offset, base, scaling=scaling), rotary_positions(k, offset, base, scaling=scaling)


def relative_buckets(
    T: int, S: int, buckets: int, max_distance: int, causal: bool, device: torch.device | str | None = None
) -> Int[Tensor, "T S"]:
    """Which bias each pair of a query and a key shares, by their distance; the queries are the last T of S.

    Half of the buckets hold one distance each, from 0 on; the other half ever longer ranges of distances, growing as
    the logarithm does, the last one everything from ``max_distance`` on. Without ``causal``, later keys have the upper
    half of all buckets to themselves. Source: Raffel et al. 2020, "T5", section 2.1.
    """
    query, key = torch.arange(S - T, S, device=device)[:, None], torch.arange(S, device=device)
    later = key - query  # (T, S)
    first = torch.zeros_like(later)
    distance = (-later).clamp_min(0)
    if not causal:
        buckets //= 2
        first, distance = (later > 0) * buckets, later.abs()
    exact = buckets // 2
    growth = torch.log(distance.float().clamp_min(1) / exact) / math.log(max_distance / exact) * (buckets - exact)
    far = (exact + growth.long()).clamp_max(buckets - 1)
    return first + torch.where(distance < exact, distance, far)


class RelativeBias(nn.Module):
    """A learned number for each bucket and head, added to the scores; all layers of a stack share one."""

    def __init__(self, config: ModelConfig, causal: bool):
        super().__init__()
        self.table = nn.Embedding(config.buckets, config.n_heads)
        self.max_distance, self.causal = config.max_distance, causal

    def forward(self, T: int, S: int) -> Float[Tensor, "H T S"]:
        table = self.table.weight
        buckets = relative_buckets(T, S, table.shape[0], self.max_distance, self.causal, table.device)
        return self.table(buckets).permute(2, 0, 1)  # (T, S, H) -> (H, T, S)
