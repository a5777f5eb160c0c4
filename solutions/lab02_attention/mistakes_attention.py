"""Lab 2's misconceptions about attention itself. Sealed, as exercises.py, which reads them."""

import math
from collections.abc import Callable

import torch

from autograder.exercise import Misconception
from mlsys_course import attention as component

Tensor = torch.Tensor
Candidate = Callable[..., Tensor]


def attention_like(scores_of: Candidate | None = None, weights_of: Candidate | None = None) -> Candidate:
    """A wrong ``attention``: the right one with its scores or its weights computed otherwise."""

    def candidate(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = (scores_of or scaled_scores)(q, k)
        return (weights_of or masked_softmax)(scores, mask).to(v.dtype) @ v

    return candidate


def scaled_scores(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT).to(torch.promote_types(q.dtype, torch.float32)) / math.sqrt(q.shape[-1])


def masked_softmax(scores: Tensor, mask: Tensor | None, dim: int = -1) -> Tensor:
    if mask is None:
        return scores.softmax(dim)
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim).masked_fill(~mask, 0)


def naive_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    grown = scores.exp() if mask is None else scores.exp() * mask
    total = grown.sum(-1, keepdim=True)
    return grown / total.where(total > 0, 1)


def infinite_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    return scores.softmax(-1) if mask is None else scores.masked_fill(~mask, -torch.inf).softmax(-1)


def in_float32(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    precise = torch.promote_types(q.dtype, torch.float32)
    return component.attention(q.to(precise), k.to(precise), v.to(precise), mask)


def always_float32(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return component.attention(q.float(), k.float(), v.float(), mask).to(q.dtype)


def scaled_by_values(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = scaled_scores(q, k) * math.sqrt(q.shape[-1] / v.shape[-1])
    return masked_softmax(scores, mask).to(v.dtype) @ v


def finite_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    return scores.softmax(-1) if mask is None else scores.masked_fill(~mask, -1e9).softmax(-1)


def cleared_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Right but for its number for minus infinity."""
    return scores.softmax(-1) if mask is None else scores.masked_fill(~mask, -1e9).softmax(-1) * mask


def patched_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Zeros come out, and NaN goes back to the scores: nothing stops it, as masked_fill would have done."""
    if mask is None:
        return scores.softmax(-1)
    return (scores + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)).softmax(-1).nan_to_num(0.0)


def patched_output(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Zeros come out, and NaN goes back to v: zero times the NaN weights."""
    return (infinite_softmax(scaled_scores(q, k), mask).to(v.dtype) @ v).nan_to_num(0.0)


PATCHED = (
    "Your zeros are right, and the gradient behind them is not: a NaN that is replaced afterwards was still computed, "
    "and the backward pass goes through it."
)
ATTENTION = [
    Misconception(
        "scale missing",
        attention_like(scores_of=lambda q, k: scaled_scores(q, k) * math.sqrt(q.shape[-1])),
        "Look at the denominator in the equation: what happens to the scores before the softmax?",
    ),
    Misconception(
        "scaled by the width",
        attention_like(scores_of=lambda q, k: scaled_scores(q, k) / math.sqrt(q.shape[-1])),
        "The scores come out too small. Which grows in proportion to D: their variance or their standard deviation?",
    ),
    Misconception(
        "scaled by the width of v",
        scaled_by_values,
        "Two widths may differ here, D and Dv. Which of them does a score sum over?",
    ),
    Misconception(
        "softmax over queries",
        attention_like(weights_of=lambda s, m: masked_softmax(s, m, dim=-2)),
        "Along which axis must the weights sum to 1: for a query over the keys, or for a key over the queries?",
    ),
    Misconception(
        "mask inverted",
        attention_like(weights_of=lambda s, m: masked_softmax(s, None if m is None else ~m)),
        "Read again what True means in the mask.",
    ),
    Misconception(
        "mask after the softmax",
        attention_like(weights_of=lambda s, m: s.softmax(-1) if m is None else s.softmax(-1) * m),
        "With a mask, do the weights of a row still sum to 1? Ask when the forbidden keys must drop out.",
    ),
    Misconception(
        "mask added as numbers",
        attention_like(weights_of=lambda s, m: s.softmax(-1) if m is None else (s + m).softmax(-1)),
        "A bool added to a score counts as 0 or 1. Is that enough to keep a key from being attended to?",
    ),
    Misconception(
        "row without keys is NaN",
        attention_like(weights_of=infinite_softmax),
        "One query may attend to nothing at all: what does the softmax divide by there? See the limit case.",
    ),
    Misconception(
        "row without keys averages all",
        attention_like(weights_of=finite_softmax),
        "With every score at one large negative number, what are the softmax's weights? See the limit case.",
    ),
    Misconception(
        "a fill that is not the lowest",
        attention_like(weights_of=cleared_softmax),
        "Scores may be as large as the dtype holds, of either sign. Which number is below all that a key can score?",
    ),
    Misconception("weights repaired after a NaN", attention_like(weights_of=patched_softmax), PATCHED),
    Misconception("output repaired after a NaN", patched_output, PATCHED),
    Misconception(
        "exponential overflows",
        attention_like(weights_of=naive_softmax),
        "How large is exp(200) in float32? A softmax does not change when each row's maximum is subtracted.",
    ),
    Misconception(
        "result in float32",
        in_float32,
        "Computing in float32 is right for half precision; which dtype should the result have?",
    ),
    Misconception(
        "always in float32",
        always_float32,
        "float64 comes in with 16 digits. How many are left after `.float()`, and which dtypes need it at all?",
    ),
]
