"""Where queries, keys and values come from: three linear maps of the hidden states."""

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor

from .scaled_dot_product import attention

Attention = Callable[..., Tensor]  # (q, k, v, mask) -> output, as ``attention``


def self_attention(
    x: Float[Tensor, "*batch T C"],
    w_q: Float[Tensor, "C D"],
    w_k: Float[Tensor, "Cs D"],
    w_v: Float[Tensor, "Cs Dv"],
    mask: Bool[Tensor, "*#batch #T #S"] | None = None,
    context: Float[Tensor, "*batch S Cs"] | None = None,
    attention: Attention = attention,
) -> Float[Tensor, "*batch T Dv"]:
    """One head: queries from x; keys and values from x too, or from ``context``, which makes it cross-attention.

    Rows are tokens, so that q = x @ w_q. ``mask`` broadcasts to (..., T, S); without a context S is T. ``attention``
    may be any function of (q, k, v, mask). Raises ValueError where a weight does not fit its input.
    Source: Vaswani et al. 2017, section 3.2.3. Lab 2, exercise ``self_attention``.
    """
    source = x if context is None else context
    for name, w, given in (("w_q", w_q, x), ("w_k", w_k, source), ("w_v", w_v, source)):
        if w.shape[0] != given.shape[-1]:
            raise ValueError(f"{name} {tuple(w.shape)} maps {w.shape[0]} channels, but its input {tuple(given.shape)} "
                             f"has {given.shape[-1]}; rows are tokens and q = x @ w_q")  # fmt: skip
    return attention(x @ w_q, source @ w_k, source @ w_v, mask)
