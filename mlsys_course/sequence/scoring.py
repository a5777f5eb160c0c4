"""Four ways to score how well a decoder's state s fits an encoder's state h."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Score = Callable[[Tensor, Tensor], Tensor]  # (s (..., T, Ds), h (..., S, Dh)) -> scores (..., T, S)


def dot_product_score(s: Float[Tensor, "*batch T D"], h: Float[Tensor, "*batch S D"]) -> Float[Tensor, "*batch T S"]:
    """e = s . h, which asks for equal widths. Source: Luong et al. 2015. Lab 1, exercise ``scores``."""
    if s.shape[-1] != h.shape[-1]:
        raise ValueError(f"s {tuple(s.shape)}, h {tuple(h.shape)}: a dot product needs equal widths; "
                         "multiplicative_score takes any")  # fmt: skip
    return s @ h.transpose(-2, -1)


def multiplicative_score(
    s: Float[Tensor, "*batch T Ds"], h: Float[Tensor, "*batch S Dh"], w: Float[Tensor, "Ds Dh"]
) -> Float[Tensor, "*batch T S"]:
    """e = s W h. Source: Luong et al. 2015, where it is called general. Lab 1, exercise ``scores``."""
    _check("w", w, rows=s, columns=h)
    return s @ w @ h.transpose(-2, -1)  # (..., T, Dh) @ (..., Dh, S)


def reduced_rank_score(
    s: Float[Tensor, "*batch T Ds"],
    h: Float[Tensor, "*batch S Dh"],
    u: Float[Tensor, "Ds K"],
    v: Float[Tensor, "Dh K"],
) -> Float[Tensor, "*batch T S"]:
    """e = (s u) . (h v): multiplicative with W = u v^T of rank at most K, which is never built.

    Rows are tokens, so u and v are the notes' U and V transposed. Lab 1, exercise ``scores``.
    """
    _check("u", u, rows=s)
    _check("v", v, rows=h)
    if u.shape[1] != v.shape[1]:
        raise ValueError(f"u {tuple(u.shape)} and v {tuple(v.shape)} have different ranks; make their columns equal")
    return (s @ u) @ (h @ v).transpose(-2, -1)


def additive_score(
    s: Float[Tensor, "*batch T Ds"],
    h: Float[Tensor, "*batch S Dh"],
    w_1: Float[Tensor, "Dh A"],
    w_2: Float[Tensor, "Ds A"],
    v: Float[Tensor, " A"],
) -> Float[Tensor, "*batch T S"]:
    """e = v . tanh(h w_1 + s w_2): a network of one hidden layer, A wide, for every pair.

    Source: Bahdanau et al. 2014, section A.1.2. Lab 1, exercise ``scores``.
    """
    _check("w_1", w_1, rows=h)
    _check("w_2", w_2, rows=s)
    if not w_1.shape[1] == w_2.shape[1] == v.shape[0]:
        shapes = f"w_1 {tuple(w_1.shape)}, w_2 {tuple(w_2.shape)}, v {tuple(v.shape)}"
        raise ValueError(f"{shapes}: the hidden layer has one width; make the columns of both and v equal")
    pairs = (h @ w_1)[..., None, :, :] + (s @ w_2)[..., :, None, :]  # (..., T, S, A)
    return torch.tanh(pairs) @ v


def scores(
    kind: str, s: Float[Tensor, "*batch T Ds"], h: Float[Tensor, "*batch S Dh"], *weights: Tensor
) -> Float[Tensor, "*batch T S"]:
    """One of the four by its ``kind``: "dot", "multiplicative", "reduced" or "additive", with its weights in order.

    Raises ValueError for another kind, or widths that do not fit. Lab 1, exercise ``scores``.
    """
    if kind not in SCORES:
        raise ValueError(f"kind={kind!r}; choose one of {', '.join(SCORES)}")
    return SCORES[kind](s, h, *weights)


SCORES = {
    "dot": dot_product_score,
    "multiplicative": multiplicative_score,
    "reduced": reduced_rank_score,
    "additive": additive_score,
}


def score_parameters(d_s: int, d_h: int, rank: int, width: int) -> dict[str, int | None]:
    """How many numbers each score learns; None for a dot product of unequal widths, which there is not.

    ``rank`` is K of the reduced rank, ``width`` the hidden layer A of the additive score. Raises ValueError for a size
    below 1.
    """
    if min(d_s, d_h, rank, width) < 1:
        raise ValueError(f"d_s={d_s}, d_h={d_h}, rank={rank}, width={width}: each must be 1 or more")
    return {
        "dot_product": 0 if d_s == d_h else None,
        "multiplicative": d_s * d_h,
        "reduced_rank": rank * (d_s + d_h),
        "additive": width * (d_s + d_h + 1),
    }


def _check(name: str, weight: Tensor, rows: Tensor, columns: Tensor | None = None) -> None:
    expected = (rows.shape[-1], weight.shape[-1] if columns is None else columns.shape[-1])
    if weight.shape != expected:
        raise ValueError(f"{name} is {tuple(weight.shape)}, expected {expected}; rows are tokens, as in s @ w")
