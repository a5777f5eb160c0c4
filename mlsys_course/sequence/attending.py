"""Attention over encoder states: a distribution, a weighted mean, and what the decoder makes of it."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..substrate.dtypes import check_floating
from .recurrent import check_mask
from .scores import Score, dot_product_score


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
    token. Lab 1, exercise ``attend``.
    """
    check_floating(scores=scores)
    mask = _mask(mask, scores.transpose(-2, -1))
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return precise.masked_fill(~mask[:, None, :], float("-inf")).softmax(-1).to(scores.dtype)


def attend(
    s: Float[Tensor, "B T Cs"],
    h: Float[Tensor, "B S C"],
    mask: Bool[Tensor, "B S"] | None = None,
    score: Score = dot_product_score,
) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T S"]]:
    """For each decoder state, the encoder states' mean by weight a = sum_i alpha_i h_i, and the weights alpha.

    ``score`` is a function of (s, h). Source: Bahdanau et al. 2014, equations 4 to 6. Lab 1, exercise ``attend``.
    """
    weights = attention_distribution(score(s, h), mask)
    return weights @ h, weights  # (B, T, S) @ (B, S, C)


def attentional_state(
    a: Float[Tensor, "*batch C"], s: Float[Tensor, "*batch Cs"], w_c: Float[Tensor, "Cas Co"]
) -> Float[Tensor, "*batch Co"]:
    """tanh([a; s] w_c), the context before the state: what the next word is predicted from.

    Raises ValueError where w_c has not C + Cs rows. Source: Luong et al. 2015, equation 5. Lab 1, exercise
    ``attend``, which stops at [a; s].
    """
    if w_c.shape[0] != a.shape[-1] + s.shape[-1]:
        widths = f"a is {a.shape[-1]} wide and s {s.shape[-1]}"
        raise ValueError(f"{widths}, but w_c {tuple(w_c.shape)} has not {a.shape[-1] + s.shape[-1]} rows")
    return torch.tanh(torch.cat((a, s), dim=-1) @ w_c)


def input_feeding(
    y: Float[Tensor, "B T Cy"],
    s_0: Float[Tensor, "B Cs"],
    cell: Callable[[Tensor, Tensor], Tensor],
    attended: Callable[[Tensor], Tensor],
    o_0: Float[Tensor, "B Co"],
) -> Float[Tensor, "B T Co"]:
    """A decoder that is told what it attended to: step t reads [y_t; o_{t-1}], and o_t = attended(s_t).

    ``cell`` maps (input (B, Cy + Co), state) to the next state, ``attended`` a state (B, Cs) to its attentional state.
    The o_t of all steps. Raises ValueError for no step. Source: Luong et al. 2015, section 3.3. Lab 1, extension
    ``input_feeding``.
    """
    if y.ndim != 3 or y.shape[1] < 1:
        raise ValueError(f"y {tuple(y.shape)} should be (B, T, C) with T of at least 1")
    s, o, outputs = s_0, o_0, []
    for t in range(y.shape[1]):
        s = cell(torch.cat((y[:, t], o), dim=-1), s)
        o = attended(s)
        outputs.append(o)
    return torch.stack(outputs, dim=1)  # (B, T, Co)


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
