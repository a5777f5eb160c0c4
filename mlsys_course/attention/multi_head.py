"""Several heads side by side: multi-head and grouped-query attention over explicit weight matrices."""

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor

from .scaled_dot_product import attention

Attention = Callable[..., Tensor]  # (q, k, v, mask) -> output, as ``attention``


def split_heads(x: Float[Tensor, "B T HD"], n_heads: int) -> Float[Tensor, "B H T D"]:
    """Consecutive blocks of D channels become heads: head h owns channels h*D to (h+1)*D."""
    B, T, width = x.shape
    if n_heads < 1 or width % n_heads:
        raise ValueError(f"n_heads={n_heads} does not divide the projected width {width}; make it H * head_dim")
    return x.reshape(B, T, n_heads, width // n_heads).transpose(1, 2)  # (B, T, H, D) -> (B, H, T, D)


def merge_heads(x: Float[Tensor, "B H T D"]) -> Float[Tensor, "B T HD"]:
    """The inverse of ``split_heads``."""
    return x.transpose(1, 2).flatten(2)  # (B, T, H, D) -> (B, T, H*D)


def multi_head_attention(
    x: Float[Tensor, "B T C"],
    w_q: Float[Tensor, "C HD"],
    w_k: Float[Tensor, "C HD"],
    w_v: Float[Tensor, "C HD"],
    w_o: Float[Tensor, "HD C"],
    n_heads: int,
    mask: Bool[Tensor, "*#batch #T #T"] | None = None,
    attention: Attention = attention,
) -> Float[Tensor, "B T C"]:
    """Self-attention in ``n_heads`` heads: each attends on its own block of channels, w_o mixes their results.

    Rows are tokens, so that q = x @ w_q. ``mask`` broadcasts to (B, H, T, T). ``attention`` may be any function of
    (q, k, v, mask) with heads as leading dimensions. Raises ValueError where heads do not divide the width.
    Source: Vaswani et al. 2017, section 3.2.2. Lab 2, exercise ``multi_head_attention``.
    """
    q, k, v = (split_heads(x @ w, n_heads) for w in (w_q, w_k, w_v))  # (B, H, T, D)
    return merge_heads(attention(q, k, v, mask)) @ w_o  # (B, T, H*D) @ (H*D, C)


def grouped_query_attention(
    x: Float[Tensor, "B T C"],
    w_q: Float[Tensor, "C HD"],
    w_k: Float[Tensor, "C KD"],
    w_v: Float[Tensor, "C KD"],
    w_o: Float[Tensor, "HD C"],
    n_heads: int,
    n_kv_heads: int,
    mask: Bool[Tensor, "*#batch #T #T"] | None = None,
    attention: Attention = attention,
) -> Float[Tensor, "B T C"]:
    """Multi-head attention whose ``n_heads`` query heads share ``n_kv_heads`` heads of keys and values.

    Query head h reads key-value head h // (n_heads / n_kv_heads). One key-value head is multi-query attention, as many
    as query heads is multi-head attention. Raises ValueError where n_kv_heads does not divide n_heads, or heads do
    not divide a width. Source: Ainslie et al. 2023, "GQA". Lab 2, exercise ``grouped_query_attention``.
    """
    if n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ValueError(f"n_kv_heads={n_kv_heads} does not divide n_heads={n_heads}; choose one of its divisors")
    q = split_heads(x @ w_q, n_heads)  # (B, H, T, D)
    k, v = (split_heads(x @ w, n_kv_heads) for w in (w_k, w_v))  # (B, K, T, D)
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"query heads are {q.shape[-1]} wide, key heads {k.shape[-1]}; both need one head_dim")
    group = n_heads // n_kv_heads
    k, v = (heads.repeat_interleave(group, dim=1) for heads in (k, v))  # (B, H, T, D)
    return merge_heads(attention(q, k, v, mask)) @ w_o  # (B, T, H*D) @ (H*D, C)
