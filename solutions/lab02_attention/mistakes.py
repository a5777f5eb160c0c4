"""Lab 2's misconceptions: wrong candidates with their hints, by exercise. Sealed, as exercises.py, which reads them."""

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
        "exponential overflows",
        attention_like(weights_of=naive_softmax),
        "How large is exp(200) in float32? A softmax does not change when each row's maximum is subtracted.",
    ),
    Misconception(
        "result in float32",
        in_float32,
        "Computing in float32 is right for half precision; which dtype should the result have?",
    ),
]


def triangle(upper: bool = False, diagonal: int = 0, left: bool = False, additive: bool = False) -> Candidate:
    """A wrong ``causal_mask``."""

    def candidate(T: int, S: int | None = None, device: torch.device | None = None) -> Tensor:
        S = T if S is None else S
        ones = torch.ones(T, S, dtype=torch.bool, device=device)
        shift = diagonal + (0 if left else S - T)
        mask = ones.triu(shift) if upper else ones.tril(shift)
        return torch.zeros(T, S, device=device).masked_fill(~mask, -torch.inf) if additive else mask

    return candidate


CAUSAL_MASK = [
    Misconception(
        "looks ahead",
        triangle(upper=True),
        "Row t is query t. Which columns are its past, those to the left of the diagonal or to the right?",
    ),
    Misconception("diagonal left out", triangle(diagonal=-1), "May a token attend to itself?"),
    Misconception(
        "inverted",
        triangle(upper=True, diagonal=1),
        "In this course True is where a query may attend. In which entries is your mask True?",
    ),
    Misconception(
        "aligned to the first key",
        triangle(left=True),
        "With S > T the queries are the last T positions. What may the last query see?",
    ),
    Misconception(
        "additive",
        triangle(additive=True),
        "The lecture adds a matrix of 0 and minus infinity; the mask asked for here has dtype bool.",
    ),
]


def padding_like(rule: Candidate) -> Candidate:
    """A wrong ``padding_mask``, from a rule of (key, lengths of shape (B, 1), T)."""

    def candidate(lengths: Tensor, T: int) -> Tensor:
        return rule(torch.arange(T, device=lengths.device), lengths[:, None], T)[:, None, None, :]

    return candidate


PADDING_MASK = [
    Misconception(
        "one too many",
        padding_like(lambda key, n, T: key <= n),
        "A sequence of length 3 has tokens 0, 1 and 2. How many True does your row have?",
    ),
    Misconception(
        "inverted",
        padding_like(lambda key, n, T: key >= n),
        "True is where a query may attend: at the real tokens, or at the padding?",
    ),
    Misconception(
        "padding on the left",
        padding_like(lambda key, n, T: key >= T - n),
        "At which end of a sequence does the padding stand here?",
    ),
    Misconception(
        "shape (B, T)",
        lambda lengths, T: component.padding_mask(lengths, T)[:, 0, 0],
        "The mask must broadcast to scores of shape (B, H, T, T). Against which axes does (B, T) line up?",
    ),
    Misconception(
        "masks queries",
        lambda lengths, T: component.padding_mask(lengths, T).transpose(-2, -1),
        "Padding must not be attended *to*. Which of the scores' last two axes are the keys?",
    ),
]


def split_by_reshape(x: Tensor, n_heads: int) -> Tensor:
    B, T, width = x.shape
    return x.reshape(B, n_heads, T, width // n_heads)


def split_every_nth(x: Tensor, n_heads: int) -> Tensor:
    B, T, width = x.shape
    return x.reshape(B, T, width // n_heads, n_heads).permute(0, 3, 1, 2)


def merge_by_reshape(x: Tensor) -> Tensor:
    B, _, T, _ = x.shape
    return x.reshape(B, T, -1)


def merge_every_nth(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(2)


def heads_like(
    split: Candidate = component.split_heads,
    merge: Candidate = component.merge_heads,
    share: Candidate = lambda heads, group: heads.repeat_interleave(group, 1),
    masked: bool = True,
    grouped: bool = False,
) -> Candidate:
    """A wrong ``multi_head_attention``, or ``grouped_query_attention`` with ``grouped``."""

    def candidate(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, mask=None, attention=component.attention) -> Tensor:
        q, k, v = split(x @ w_q, n_heads), split(x @ w_k, n_kv_heads), split(x @ w_v, n_kv_heads)
        k, v = (share(heads, n_heads // n_kv_heads) for heads in (k, v))
        return merge(attention(q, k, v, mask if masked else None)) @ w_o

    def ungrouped(x, w_q, w_k, w_v, w_o, n_heads, mask=None, attention=component.attention) -> Tensor:
        return candidate(x, w_q, w_k, w_v, w_o, n_heads, n_heads, mask, attention)

    return candidate if grouped else ungrouped


def without_output_projection(x, w_q, w_k, w_v, w_o, n_heads, mask=None, attention=component.attention) -> Tensor:
    q, k, v = (component.split_heads(x @ w, n_heads) for w in (w_q, w_k, w_v))
    return component.merge_heads(attention(q, k, v, mask))


def one_wide_head(x, w_q, w_k, w_v, w_o, n_heads, mask=None, attention=component.attention) -> Tensor:
    return attention(x @ w_q, x @ w_k, x @ w_v, mask) @ w_o


def width_over_heads(x, w_q, w_k, w_v, w_o, n_heads, mask=None, attention=component.attention) -> Tensor:
    B, T, C = x.shape
    q, k, v = ((x @ w).reshape(B, T, n_heads, C // n_heads).transpose(1, 2) for w in (w_q, w_k, w_v))
    return component.merge_heads(attention(q, k, v, mask)) @ w_o


NO_MASK = "Masked or not, your result is the same. Does the mask reach `attention`?"
SPLIT = "A reshape keeps the order in memory. After (B, T, H*D), which axis must be cut in two, and which one moved?"
MERGE = "Before the heads are joined, T must stand before H again; a reshape alone mixes tokens with heads."

MULTI_HEAD_ATTENTION = [
    Misconception("split by reshape", heads_like(split=split_by_reshape), SPLIT),
    Misconception("merged by reshape", heads_like(merge=merge_by_reshape), MERGE),
    Misconception(
        "heads take every Hth channel",
        heads_like(split=split_every_nth, merge=merge_every_nth),
        "Head 0 owns the first D channels of the projection. Which channels does yours own?",
    ),
    Misconception("mask dropped", heads_like(masked=False), NO_MASK),
    Misconception(
        "output projection missing",
        without_output_projection,
        "The heads stand side by side, and nothing has mixed them yet. Which weight have you not used?",
    ),
    Misconception("one wide head", one_wide_head, "Into how many softmaxes does each query's attention split?"),
    Misconception(
        "head_dim from C",
        width_over_heads,
        "H * D may differ from C: read the head dimension off the projection's width instead of off x.",
    ),
]

GROUPED_QUERY_ATTENTION = [
    Misconception(
        "key-value heads tiled",
        heads_like(share=lambda heads, group: heads.repeat(1, group, 1, 1), grouped=True),
        "With 4 query heads on 2 key-value heads, which one does query head 1 read? Write out the pairs.",
    ),
    Misconception(
        "all read the first",
        heads_like(share=lambda heads, group: heads[:, :1].expand(-1, heads.shape[1] * group, -1, -1), grouped=True),
        "When all query heads share one pair, it is multi-query attention. How many pairs are there here?",
    ),
    Misconception("split by reshape", heads_like(split=split_by_reshape, grouped=True), SPLIT),
    Misconception("merged by reshape", heads_like(merge=merge_by_reshape, grouped=True), MERGE),
    Misconception("mask dropped", heads_like(masked=False, grouped=True), NO_MASK),
]
