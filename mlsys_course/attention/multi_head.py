"""Several heads side by side: multi-head and grouped-query attention over explicit weight matrices."""

from jaxtyping import Bool, Float
from torch import Tensor

from .projections import Attention
from .scaled_dot_product import attention


def split_heads(x: Float[Tensor, "*batch T HD"], n_heads: int) -> Float[Tensor, "*batch H T D"]:
    """Consecutive blocks of D channels become heads: head h owns channels h*D to (h+1)*D."""
    width = x.shape[-1]
    if n_heads < 1 or width % n_heads:
        raise ValueError(f"n_heads={n_heads} does not divide the projected width {width}; make it H * head_dim")
    return x.unflatten(-1, (n_heads, width // n_heads)).transpose(-3, -2)  # (..., T, H, D) -> (..., H, T, D)


def merge_heads(x: Float[Tensor, "*batch H T D"]) -> Float[Tensor, "*batch T HD"]:
    """The inverse of ``split_heads``."""
    return x.transpose(-3, -2).flatten(-2)  # (..., T, H, D) -> (..., T, H*D)


def multi_head_attention(
    x: Float[Tensor, "*batch T C"],
    w_q: Float[Tensor, "C HD"],
    w_k: Float[Tensor, "Cs HD"],
    w_v: Float[Tensor, "Cs HD"],
    w_o: Float[Tensor, "HD C"],
    n_heads: int,
    mask: Bool[Tensor, "*#heads #T #S"] | None = None,
    attention: Attention = attention,
    context: Float[Tensor, "*batch S Cs"] | None = None,
) -> Float[Tensor, "*batch T C"]:
    """Self-attention in ``n_heads`` heads: each attends on its own block of channels, w_o mixes their results.

    With a ``context``, keys and values come from there (cross-attention), and S counts its tokens. Rows are tokens,
    so that q = x @ w_q. ``mask`` broadcasts to (..., H, T, S). ``attention`` may be any function of (q, k, v, mask)
    with heads as leading dimensions. Raises ValueError where heads do not divide the width.
    Source: Vaswani et al. 2017, section 3.2.2. Lab 2, exercise ``multi_head_attention``.
    """
    source = x if context is None else context
    q = split_heads(x @ w_q, n_heads)  # (B, H, T, D)
    k, v = (split_heads(source @ w, n_heads) for w in (w_k, w_v))  # (B, H, S, D)
    return merge_heads(attention(q, k, v, mask)) @ w_o  # (B, T, H*D) @ (H*D, C)


def grouped_query_attention(
    x: Float[Tensor, "*batch T C"],
    w_q: Float[Tensor, "C HD"],
    w_k: Float[Tensor, "Cs KD"],
    w_v: Float[Tensor, "Cs KD"],
    w_o: Float[Tensor, "HD C"],
    n_heads: int,
    n_kv_heads: int,
    mask: Bool[Tensor, "*#heads #T #S"] | None = None,
    attention: Attention = attention,
    context: Float[Tensor, "*batch S Cs"] | None = None,
) -> Float[Tensor, "*batch T C"]:
    """Multi-head attention whose ``n_heads`` query heads share ``n_kv_heads`` heads of keys and values.

    Query head h reads key-value head h // (n_heads / n_kv_heads). One key-value head is multi-query attention, as many
    as query heads is multi-head attention. The rest is as in ``multi_head_attention``. Raises ValueError where
    n_kv_heads does not divide n_heads, or heads do not divide a width. Source: Ainslie et al. 2023, "GQA"; Shazeer
    2019 for one head. Lab 2, exercise ``grouped_query_attention``.
    """
    if n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ValueError(f"n_kv_heads={n_kv_heads} does not divide n_heads={n_heads}; choose one of its divisors")
    source = x if context is None else context
    q = split_heads(x @ w_q, n_heads)  # (B, H, T, D)
    k, v = (split_heads(source @ w, n_kv_heads) for w in (w_k, w_v))  # (B, K, S, D)
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"query heads are {q.shape[-1]} wide, key heads {k.shape[-1]}; both need one head_dim")
    return merge_heads(attention(q, repeat_kv(k, n_heads), repeat_kv(v, n_heads), mask)) @ w_o


def repeat_kv(x: Float[Tensor, "*batch K S D"], n_heads: int) -> Float[Tensor, "*batch H S D"]:
    """Each key-value head as often as query heads share it: head h of the result is head h // (n_heads / K) of x."""
    K = x.shape[-3]
    if n_heads % K:
        raise ValueError(f"{K} key-value heads do not divide n_heads={n_heads}; choose one of its divisors")
    return x if n_heads == K else x.repeat_interleave(n_heads // K, dim=-3)
