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


def window_mask(
    T: int, window: int, S: int | None = None, device: torch.device | str | None = None
) -> Bool[Tensor, "T S"]:
    """True at the last ``window`` keys up to and with query t's own: sliding-window attention, as Mistral 7B has it.

    A causal mask with a bounded past, aligned as ``causal_mask(T, S)``. Raises ValueError for a window below 1.
    Source: Child et al. 2019, Beltagy et al. 2020, "Longformer". Lab 2, extension ``window_mask``.
    """
    if window < 1:
        raise ValueError(f"window={window}; a token sees at least itself, so choose a window of 1 or more")
    causal = causal_mask(T, S, device)
    return causal & ~causal.tril(causal.shape[1] - T - window)


def prefix_mask(prefix: Int[Tensor, " B"], T: int) -> Bool[Tensor, "B 1 T T"]:
    """Causal, but the first ``prefix[b]`` tokens of sequence b all see each other, and everyone sees them.

    Source: Liu et al. 2018, "Generating Wikipedia", and Raffel et al. 2020, section 3.2.1, who compare it with the
    encoder-decoder that T5 is. Lab 2, extension ``prefix_mask``.
    """
    return causal_mask(T, device=prefix.device) | padding_mask(prefix, T)


def document_mask(documents: Int[Tensor, "B T"]) -> Bool[Tensor, "B 1 T T"]:
    """Causal within a document, for several documents packed into one row: token t has the number ``documents[b, t]``.

    Lab 2, extension ``document_mask``.
    """
    if documents.ndim != 2 or documents.is_floating_point():
        given = f"{documents.dtype} of shape {tuple(documents.shape)}"
        raise ValueError(f"documents is {given}, expected whole numbers of shape (B, T); number each token's document")
    same = documents[:, None, :, None] == documents[:, None, None, :]  # (B, 1, T, T)
    return same & causal_mask(documents.shape[1], device=documents.device)
