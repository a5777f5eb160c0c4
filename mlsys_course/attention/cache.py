"""Keys and values of the tokens so far, so that a new token computes its own only."""

import torch
from jaxtyping import Float
from torch import Tensor

from .masks import causal_mask
from .multi_head import Attention, merge_heads, repeat_kv, split_heads
from .positions import rotary_positions
from .scaled_dot_product import attention

Pair = tuple[Tensor, Tensor]  # keys (B, K, S, D) and values (B, K, S, Dv)


class KVCache:
    """One layer's keys and values, up to ``capacity`` tokens, in memory that is taken once.

    ``offset`` counts the tokens so far, so it is the position of the next one. For decoding, without gradients: what
    ``append`` returns are views of memory that later calls write to. Lab 2, extension ``KVCache``.
    """

    def __init__(self, capacity: int):
        if capacity < 1:
            raise ValueError(f"capacity={capacity}; a cache holds at least one token")
        self.capacity, self.offset = capacity, 0
        self._memory: tuple[Tensor, ...] = ()

    def append(self, k: Float[Tensor, "*batch T D"], v: Float[Tensor, "*batch T Dv"]) -> Pair:
        """Keep T more tokens; all keys (..., S, D) and values (..., S, Dv) so far, the new ones last.

        Shapes, dtype and device are those of the first call. Raises ValueError, and keeps what it has, where the
        tokens do not fit.
        """
        start, end = self.offset, self.offset + k.shape[-2]
        if end > self.capacity:
            raise ValueError(f"{end} tokens do not fit a cache of capacity={self.capacity}; make a larger one")
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            raise ValueError("k or v requires a gradient, which a cache would cut off; decode under torch.no_grad()")
        if not self._memory:
            self._memory = tuple(x.new_empty(*x.shape[:-2], self.capacity, x.shape[-1]) for x in (k, v))
        keys, values = self._memory
        _check_fits("k", k, keys)
        _check_fits("v", v, values)
        if k.shape[-2] != v.shape[-2]:
            raise ValueError(f"k {tuple(k.shape)}, v {tuple(v.shape)}: each key needs a value; make their T equal")
        keys[..., start:end, :] = k
        values[..., start:end, :] = v
        self.offset = end
        return keys[..., :end, :], values[..., :end, :]


def _check_fits(name: str, x: Tensor, memory: Tensor) -> None:
    """All but T must be as in the first call: broadcasting would spread one sequence over a batch."""
    same_shape = (*x.shape[:-2], x.shape[-1]) == (*memory.shape[:-2], memory.shape[-1])
    if not same_shape or x.dtype != memory.dtype or x.device != memory.device:
        raise ValueError(
            f"{name} is {x.dtype} {tuple(x.shape)} on {x.device}, but the cache is {memory.dtype} "
            f"{tuple(memory.shape)} on {memory.device}; only T may differ, or start a new cache"
        )


def cached_attention(
    x: Float[Tensor, "*batch T C"],
    w_q: Float[Tensor, "C HD"],
    w_k: Float[Tensor, "C KD"],
    w_v: Float[Tensor, "C KD"],
    w_o: Float[Tensor, "HD C"],
    n_heads: int,
    n_kv_heads: int,
    past: Pair | None = None,
    attention: Attention = attention,
    rotary: Attention = rotary_positions,
) -> tuple[Float[Tensor, "*batch T C"], Pair]:
    """Causal grouped-query attention of the *next* T tokens, with rotary positions: their outputs, and the new past.

    ``past`` holds the turned keys and the values (B, K, S, D) of the S tokens before; x stands at positions S to
    S + T - 1. Fed piece by piece, it gives what one call on all tokens gives. This one concatenates, which a reader
    follows and autograd too; ``KVCache`` is what decoding uses. Lab 2, extension ``cached_attention``.
    """
    q = split_heads(x @ w_q, n_heads)  # (B, H, T, D)
    k, v = (split_heads(x @ w, n_kv_heads) for w in (w_k, w_v))  # (B, K, T, D)
    offset = 0 if past is None else past[0].shape[-2]
    q, k = rotary(q, offset), rotary(k, offset)
    if past is not None:
        k, v = torch.cat((past[0], k), dim=-2), torch.cat((past[1], v), dim=-2)  # (B, K, S + T, D)
    mask = causal_mask(x.shape[-2], k.shape[-2], device=x.device)
    y = attention(q, repeat_kv(k, n_heads), repeat_kv(v, n_heads), mask)
    return merge_heads(y) @ w_o, (k, v)
