"""Attention over encoder states: a distribution, a weighted mean, and what the decoder makes of it."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..substrate.dtypes import check_floating
from .recurrent import Cell, check_mask, rnn_cell
from .scoring import Score, dot_product_score


def mean_pool(h: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"] | None = None) -> Float[Tensor, "B C"]:
    """The mean of each sequence's states, padding left out: attention that looks at all tokens alike.

    The sum runs in float32 or better; the result has h's dtype. Raises ValueError for a sequence without a token.
    """
    check_floating(h=h)
    mask = _mask(mask, h)
    precise = h.to(torch.promote_types(h.dtype, torch.float32))
    total = torch.where(mask[..., None], precise, 0).sum(1)  # (B, C)
    return (total / mask.sum(1, keepdim=True)).to(h.dtype)


def attention_distribution(
    scores: Float[Tensor, "B T S"], mask: Bool[Tensor, "B S"] | None = None
) -> Float[Tensor, "B T S"]:
    """softmax over the source, with a weight of exactly 0 at padding; ``mask`` is True at tokens.

    The softmax runs in float32 or better; the result has the scores' dtype. Raises ValueError for a source without a
    token.
    """
    check_floating(scores=scores)
    mask = _mask(mask, scores.transpose(-2, -1))
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return precise.masked_fill(~mask[:, None, :], float("-inf")).softmax(-1).to(scores.dtype)


def attend(
    scores: Float[Tensor, "B T S"],
    h: Float[Tensor, "B S C"],
    s: Float[Tensor, "B T Cs"],
    mask: Bool[Tensor, "B S"] | None = None,
) -> tuple[Float[Tensor, "B T S"], Float[Tensor, "B T Cas"]]:
    """The weights alpha, and [a; s]: each context a = sum_i alpha_i h_i beside its decoder state.

    Source: Bahdanau et al. 2014, equations 5 and 6; Luong et al. 2015 for [a; s]. Lab 1, exercise ``attend``.
    """
    weights = attention_distribution(scores, mask)
    return weights, torch.cat((weights @ h, s), dim=-1)  # (B, T, S) @ (B, S, C)


def attention_context(
    s: Float[Tensor, "B T Cs"],
    h: Float[Tensor, "B S C"],
    mask: Bool[Tensor, "B S"] | None = None,
    score: Score = dot_product_score,
) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T S"]]:
    """For each decoder state, the encoder states' mean by weight a = sum_i alpha_i h_i, and the weights alpha.

    ``score`` is a function of (s, h). Source: Bahdanau et al. 2014, equations 4 to 6.
    """
    weights = attention_distribution(score(s, h), mask)
    return weights @ h, weights  # (B, T, S) @ (B, S, C)


def attentional_state(
    a: Float[Tensor, "*batch C"], s: Float[Tensor, "*batch Cs"], w_c: Float[Tensor, "Cas Co"]
) -> Float[Tensor, "*batch Co"]:
    """tanh([a; s] w_c), the context before the state: what the next word is predicted from.

    Raises ValueError where w_c has not C + Cs rows. Source: Luong et al. 2015, equation 5. Lab 1's ``attend``
    stops at [a; s].
    """
    if w_c.shape[0] != a.shape[-1] + s.shape[-1]:
        widths = f"a is {a.shape[-1]} wide and s {s.shape[-1]}"
        raise ValueError(f"{widths}, but w_c {tuple(w_c.shape)} has not {a.shape[-1] + s.shape[-1]} rows")
    return torch.tanh(torch.cat((a, s), dim=-1) @ w_c)


def input_feeding(
    y: Float[Tensor, "B T Cy"],
    s_0: Float[Tensor, "B Cs"],
    h: Float[Tensor, "B S C"],
    mask: Bool[Tensor, "B S"] | None,
    w_xh: Float[Tensor, "Cyc Cs"],
    w_hh: Float[Tensor, "Cs Cs"],
    b: Float[Tensor, " Cs"],
    *,
    cell: Cell = rnn_cell,
    score: Score = dot_product_score,
    attend: Callable[..., tuple[Tensor, Tensor]] = attend,
) -> Float[Tensor, "B T Cj"]:
    """A decoder that is told where it looked: step t reads [y_t; a_{t-1}], with a_0 = 0, and its state attends to h.

    a_t are the first C channels of what ``attend(scores, h, s, mask)`` returns second, which is returned for all steps.
    Raises ValueError for no step. Source: Luong et al. 2015, section 3.3, where a is behind a layer of its own. Lab 1,
    extension ``input_feeding``.
    """
    if y.ndim != 3 or y.shape[1] < 1:
        raise ValueError(f"y {tuple(y.shape)} should be (B, T, C) with T of at least 1")
    s, a, joined = s_0, torch.zeros_like(h[:, 0]), []
    for t in range(y.shape[1]):
        s = cell(torch.cat((y[:, t], a), dim=-1), s, w_xh, w_hh, b)  # (B, Cs)
        _, both = attend(score(s[:, None], h), h, s[:, None], mask)  # (B, 1, Cj)
        a = both[:, 0, : h.shape[-1]]
        joined.append(both)
    return torch.cat(joined, dim=1)


def _mask(mask: Tensor | None, h: Tensor) -> Tensor:
    """The mask, all True where there is none, with a token in each row."""
    if h.ndim != 3 or h.shape[1] < 1:
        raise ValueError(f"a source of shape {tuple(h.shape)} has no token; leave empty sequences out")
    if mask is None:
        return torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)
    check_mask(mask, h.shape[:2])
    empty = (~mask.any(1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"mask has no True in rows {empty}; leave sequences without a token out")
    return mask
