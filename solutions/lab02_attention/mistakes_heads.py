"""Lab 2's misconceptions about projections and heads. Sealed, as exercises.py, which reads them."""

from collections.abc import Callable

import torch

from autograder.exercise import Misconception
from mlsys_course import attention as component

Tensor = torch.Tensor
Candidate = Callable[..., Tensor]


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


INTERLEAVED = "Head 0 owns the first D channels of the projection. Which channels does yours own?"
NO_MASK = "Masked or not, your result is the same. Does the mask reach `attention`?"
SPLIT = "A reshape keeps the order in memory. After (B, T, H*D), which axis must be cut in two, and which one moved?"
MERGE = "Before the heads are joined, T must stand before H again; a reshape alone mixes tokens with heads."


def own(function: Candidate) -> Candidate:
    """The right composite, with an attention of its own in the place of the one that it is handed."""
    return lambda *given, attention=None, **options: function(*given, **options)


OWN = "This case hands in an attention that doubles its results, and yours are not doubled. Which one do you call?"


def one_head_like(
    swap: bool = False, transpose: bool = False, scale: bool = False, masked: bool = True, sources: str = "xcc"
) -> Candidate:
    """A wrong ``self_attention``; ``sources`` says what q, k and v are made of, x or the context c."""

    def candidate(x, w_q, w_k, w_v, mask=None, context=None, attention=component.attention) -> Tensor:
        made_of = {"x": x, "c": x if context is None else context}
        weights = [w.mT if transpose else w for w in (w_q, w_k, w_v)]
        q, k, v = (made_of[source] @ w for source, w in zip(sources, weights, strict=True))
        q, k = (k, q) if swap else (q, k)
        return attention(q / q.shape[-1] ** 0.5 if scale else q, k, v, mask if masked else None)

    return candidate


SELF_ATTENTION = [
    Misconception(
        "queries and keys swapped",
        one_head_like(swap=True),
        "Row t of the scores belongs to the token that asks. Which of x @ w_q and x @ w_k does `attention` take first?",
    ),
    Misconception(
        "weights transposed",
        one_head_like(transpose=True),
        "Rows are tokens here, so a weight is (in, out). On which side of it does x stand?",
    ),
    Misconception(
        "context ignored",
        one_head_like(sources="xxx"),
        "With a context, whose tokens answer: those of x, or those of the context?",
    ),
    Misconception(
        "queries from the context",
        one_head_like(sources="ccc"),
        "In cross-attention one side asks and the other answers. How many rows has the output: T or S?",
    ),
    Misconception(
        "values from x",
        one_head_like(sources="xcx"),
        "A query finds a key of the context, and then takes the value of the same token. Where is that value from?",
    ),
    Misconception(
        "scaled twice",
        one_head_like(scale=True),
        "Who divides by the square root of D: this function, or the `attention` that it calls?",
    ),
    Misconception("mask dropped", one_head_like(masked=False), NO_MASK),
    Misconception("an attention of its own", own(component.self_attention), OWN),
]

MULTI_HEAD = [
    Misconception("split by reshape", heads_like(split=split_by_reshape), SPLIT),
    Misconception("merged by reshape", heads_like(merge=merge_by_reshape), MERGE),
    Misconception(
        "heads take every Hth channel",
        heads_like(split=split_every_nth, merge=merge_every_nth),
        INTERLEAVED,
    ),
    Misconception("heads split every Hth channel", heads_like(split=split_every_nth), INTERLEAVED),
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
    Misconception("an attention of its own", own(component.multi_head_attention), OWN),
]

GROUPED_QUERY = [
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
    Misconception(
        "heads take every Hth channel",
        heads_like(split=split_every_nth, merge=merge_every_nth, grouped=True),
        INTERLEAVED,
    ),
    Misconception("heads split every Hth channel", heads_like(split=split_every_nth, grouped=True), INTERLEAVED),
    Misconception(
        "keys and values not shared out",
        heads_like(share=lambda heads, group: heads, grouped=True),
        "`attention` was called with H heads of queries and K heads of keys. Which operation hands each query head its "
        "own?",
    ),
    Misconception("mask dropped", heads_like(masked=False, grouped=True), NO_MASK),
    Misconception("an attention of its own", own(component.grouped_query_attention), OWN),
]
