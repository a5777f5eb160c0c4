"""Lab 1's misconceptions about scores and attention. Sealed, as exercises.py."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from mlsys_course import sequence as component

from . import references

Tensor = torch.Tensor
Candidate = Callable[..., Any]


def scores_like(**changed: Candidate) -> Candidate:
    """A wrong ``scores``: one kind, or ``every`` kind afterwards, is computed otherwise."""

    def candidate(kind: str, s: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
        score: Candidate = changed.get(kind) or references.SCORES[kind]
        found = score(s, h, *weights)
        return changed["every"](found, s) if "every" in changed else found

    return candidate


def additive(inside: Candidate = torch.tanh, swapped: bool = False, join: Candidate = torch.add) -> Candidate:
    def score(s: Tensor, h: Tensor, w_1: Tensor, w_2: Tensor, v: Tensor) -> Tensor:
        if swapped and w_1.shape == w_2.shape:
            w_1, w_2 = w_2, w_1
        return inside(join((h @ w_1)[:, None], (s @ w_2)[:, :, None])) @ v

    return score


def transposed_if_square(s: Tensor, h: Tensor, w: Tensor) -> Tensor:
    return component.multiplicative_score(s, h, w.T if w.shape[0] == w.shape[1] else w)


def factors_swapped(s: Tensor, h: Tensor, u: Tensor, v: Tensor) -> Tensor:
    return component.reduced_rank_score(s, h, *((v, u) if u.shape == v.shape else (u, v)))


def sum_then_bend(s: Tensor, h: Tensor, w_1: Tensor, w_2: Tensor, v: Tensor) -> Tensor:
    return torch.tanh((h @ w_1 @ v)[:, None] + (s @ w_2 @ v)[:, :, None])


def bent_apart(s: Tensor, h: Tensor, w_1: Tensor, w_2: Tensor, v: Tensor) -> Tensor:
    return (torch.tanh(h @ w_1)[:, None] + torch.tanh(s @ w_2)[:, :, None]) @ v


SCORES = [
    Misconception(
        "scaled",
        scores_like(every=lambda e, s: e / s.shape[-1] ** 0.5),
        "Your scores come out too small. The scale by a width's root is lab 2's; what do the equations here divide by?",
    ),
    Misconception(
        "softmax already",
        scores_like(every=lambda e, s: e.softmax(-1)),
        "Your rows sum to 1. A score may be any number; which exercise makes a distribution of them?",
    ),
    Misconception(
        "source by target",
        scores_like(every=lambda e, s: e.mT),
        "Which axis of the result counts target tokens, the second or the third?",
    ),
    Misconception(
        "weight transposed",
        scores_like(multiplicative=transposed_if_square),
        "In s W h, which axis of w meets s? Widths may be equal, so the shapes do not tell.",
    ),
    Misconception(
        "u and v exchanged", scores_like(reduced=factors_swapped), "Of the two thin matrices, which one multiplies s?"
    ),
    Misconception(
        "reduced rank bent",
        scores_like(reduced=lambda s, h, u, v: torch.tanh(s @ u) @ torch.tanh(h @ v).mT),
        "Is there a bend in the reduced-rank score?",
    ),
    Misconception(
        "reduced rank scaled",
        scores_like(reduced=lambda s, h, u, v: references.SCORES["reduced"](s, h, u, v) / u.shape[-1] ** 0.5),
        "1/sqrt(K) is lab 2's, where sU is a query and hV a key. Does this table divide by anything?",
    ),
    Misconception(
        "additive without its bend",
        scores_like(additive=additive(lambda z: z)),
        "Without a bend, the part with s is the same for all source tokens. What does the softmax make of it?",
    ),
    Misconception(
        "w_1 and w_2 exchanged", scores_like(additive=additive(swapped=True)), "Which of w_1 and w_2 multiplies h?"
    ),
    Misconception(
        "multiplied instead of added",
        scores_like(additive=additive(join=torch.mul)),
        "What joins the part of h and the part of s in the additive score?",
    ),
    Misconception(
        "bent after v",
        scores_like(additive=sum_then_bend),
        "Does the tanh bend the A numbers of the hidden layer, or the one score that v makes of them?",
    ),
    Misconception(
        "bent before the sum", scores_like(additive=bent_apart), "Is one sum bent here, or are two bent parts added?"
    ),
]


def attend_like(
    weigh: Candidate | None = None,
    join: Candidate = lambda a, s: torch.cat([a, s], dim=-1),
    mean: Candidate = lambda weights, h: weights @ h,
    seen: Candidate = lambda h, mask: h,
) -> Candidate:
    """A wrong ``attend``: other weights, another join, another mean."""

    def candidate(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        weights = (weigh or component.attention_distribution)(scores, mask)
        return weights, join(mean(weights, seen(h, mask)), s)

    return candidate


def over_targets(scores: Tensor, mask: Tensor | None) -> Tensor:
    return (scores if mask is None else scores.masked_fill(~mask[:, None], -1e9)).softmax(1)


def cleared_afterwards(scores: Tensor, mask: Tensor | None) -> Tensor:
    return scores.softmax(-1) if mask is None else scores.softmax(-1) * mask[:, None]


def renormalised(scores: Tensor, mask: Tensor | None) -> Tensor:
    kept = cleared_afterwards(scores, mask)
    return kept / kept.sum(-1, keepdim=True)


def lowered(scores: Tensor, mask: Tensor | None) -> Tensor:
    return (scores if mask is None else scores + (~mask)[:, None] * -1e4).softmax(-1)


def zero_scores(scores: Tensor, mask: Tensor | None) -> Tensor:
    return (scores if mask is None else scores * mask[:, None]).softmax(-1)


def by_exponentials(scores: Tensor, mask: Tensor | None) -> Tensor:
    grown = scores.exp() if mask is None else scores.exp() * mask[:, None]
    return grown / grown.sum(-1, keepdim=True)


def largest_only(scores: Tensor, mask: Tensor | None) -> Tensor:
    hidden = scores if mask is None else scores.masked_fill(~mask[:, None], -torch.inf)
    return torch.nn.functional.one_hot(hidden.argmax(-1), scores.shape[-1]).to(scores.dtype)


def in_float32(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    precise = torch.promote_types(h.dtype, torch.float32)
    return references.attend(scores.to(precise), h.to(precise), s.to(precise), mask)


def always_float32(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return tuple(x.to(h.dtype) for x in references.attend(scores.float(), h.float(), s.float(), mask))  # type: ignore


ATTEND = [
    Misconception(
        "softmax over target tokens",
        attend_like(over_targets),
        "Along which axis do the weights sum to 1: for a target token over the source, or the other way round?",
    ),
    Misconception(
        "padding looked at",
        attend_like(lambda e, mask: component.attention_distribution(e)),
        "With and without the mask your weights are the same. What should a padded source token weigh?",
    ),
    Misconception(
        "mask inverted",
        attend_like(
            lambda e, mask: component.attention_distribution(e, None if mask is None else ~mask | mask.all(1)[:, None])
        ),
        "Read again what True means in the mask.",
    ),
    Misconception(
        "cleared after the softmax",
        attend_like(cleared_afterwards),
        "With a mask, do your weights still sum to 1? Ask when padding must drop out.",
    ),
    Misconception(
        "cleared after the softmax, then divided by the sum",
        attend_like(renormalised),
        "Padding may score thousands above every token. What has the softmax left of the tokens then?",
    ),
    Misconception(
        "padding lowered by too little",
        attend_like(lowered),
        "You subtract a large number from padding's scores. Is it large enough, where padding scores thousands above "
        "the tokens?",
    ),
    Misconception(
        "states of padding cleared, not their weights",
        attend_like(
            lambda e, mask: component.attention_distribution(e),
            seen=lambda h, mask: h if mask is None else h * mask[..., None],
        ),
        "Nothing of padding's states gets into your context. Do the tokens' weights sum to 1?",
    ),
    Misconception(
        "scores of padding set to zero",
        attend_like(zero_scores),
        "A score of 0 is a score like another. What does its exponential weigh?",
    ),
    Misconception(
        "exponentials overflow",
        attend_like(by_exponentials),
        "How large is exp(2000)? A softmax does not change when each row's largest score is subtracted.",
    ),
    Misconception(
        "the best only",
        attend_like(largest_only),
        "Your weights are 0 and 1. Is it the largest score alone that counts, or each by its exponential?",
    ),
    Misconception(
        "state before context", attend_like(join=lambda a, s: torch.cat([s, a], dim=-1)), "Which comes first in [a; s]?"
    ),
    Misconception(
        "context only", attend_like(join=lambda a, s: a), "What the decoder itself knows is missing from your result."
    ),
    Misconception(
        "plain mean",
        attend_like(mean=lambda weights, h: h.mean(1, keepdim=True).expand(-1, weights.shape[1], -1)),
        "Your weights are right. Does your context use them?",
    ),
    Misconception(
        "context divided by the length",
        attend_like(mean=lambda weights, h: weights @ h / h.shape[1]),
        "The weights sum to 1. Is there anything left to divide by?",
    ),
    Misconception(
        "result in float32", in_float32, "Computing in float32 is right for half precision; which dtype is asked for?"
    ),
    Misconception(
        "always in float32",
        always_float32,
        "float64 comes in with 16 digits. How many are left after `.float()`, and which dtypes need it at all?",
    ),
]
