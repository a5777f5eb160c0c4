"""Which keys a query may attend to: bool masks, True where it may."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def causal_mask(T: int, S: int | None = None, device: torch.device | str | None = None) -> Bool[Tensor, "T S"]:
    """True where key s is not after query t; the T queries are the last T of the S positions.

    With S=None there are as many keys as queries. With S > T the first S - T keys come from a cache: query t stands
    at position t + S - T. Raises ValueError where S < T or T < 1.
    Source: Vaswani et al. 2017, section 3.2.3. Lab 2, exercise ``causal_mask``.
    """
    S = T if S is None else S
    if T < 1 or S < T:
        raise ValueError(f"causal_mask needs 1 <= T <= S, but T={T} and S={S}; S counts the queries' own keys too")
    query = torch.arange(S - T, S, device=device)[:, None]  # (T, 1)
    key = torch.arange(S, device=device)  # (S,)
    return key <= query  # (T, S)


def padding_mask(lengths: Int[Tensor, " B"], T: int) -> Bool[Tensor, "B 1 1 T"]:
    """True where key t is one of the first ``lengths[b]`` tokens of sequence b; broadcasts over heads and queries.

    Combine with ``causal_mask(T)`` by ``&``. On the device of ``lengths``. Raises ValueError where ``lengths`` is not
    a list of whole numbers. Lab 2, exercise ``padding_mask``.
    """
    if lengths.ndim != 1 or lengths.is_floating_point() or lengths.dtype == torch.bool:
        given = f"{lengths.dtype} of shape {tuple(lengths.shape)}"
        raise ValueError(f"lengths is {given}, expected whole numbers of shape (B,); pass one length for each sequence")
    key = torch.arange(T, device=lengths.device)
    return (key < lengths[:, None])[:, None, None, :]  # (B, T) -> (B, 1, 1, T)
