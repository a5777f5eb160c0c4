"""Lab 2's misconceptions about projections, heads and the cache. Sealed, as exercises.py, which reads them."""

from typing import Any

import torch

from autograder.exercise import Misconception
from autograder.mutated import mutated, wrong
from mlsys_course.attention import (
    KVCache,
    attention,
    cached_attention,
    grouped_query_attention,
    merge_heads,
    multi_head_attention,
    self_attention,
)

Tensor = torch.Tensor

INTERLEAVED = "Head 0 owns the first D channels of the projection. Which channels does yours own?"
NO_MASK = "Masked or not, your result is the same. Does the mask reach `attention`?"
SPLIT = "A reshape keeps the order in memory. After (B, T, H*D), which axis must be cut in two, and which one moved?"
MERGE = "Before the heads are joined, T must stand before H again; a reshape alone mixes tokens with heads."
OWN = "This case hands in an attention that doubles its results, and yours are not doubled. Which one do you call?"


def own(function: Any) -> Any:
    """The right composite, with an attention of its own in the place of the one that it is handed."""
    return lambda *given, attention=None, **options: function(*given, **options)


def causal(x: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
    below = torch.ones(x.shape[-2], source.shape[-2], dtype=torch.bool).tril()
    return below if mask is None else mask & below


CALL, SCORED = "attention(x @ w_q, source @ w_k, source @ w_v, mask)", "attention(x @ w_q"
mistake = wrong(self_attention)
SELF_ATTENTION = [
    mistake("queries and keys swapped",
        "Row t of the scores belongs to the token that asks. Which of x @ w_q and x @ w_k does `attention` take first?",
        CALL, "attention(source @ w_k, x @ w_q, source @ w_v, mask)"),
    mistake("weights transposed", "Rows are tokens here, so a weight is (in, out). On which side of it does x stand?",
        CALL, "attention(x @ w_q.mT, source @ w_k.mT, source @ w_v.mT, mask)"),
    mistake("context ignored", "With a context, whose tokens answer: those of x, or those of the context?",
        "x if context is None else context", "x"),
    mistake("queries from the context",
        "In cross-attention one side asks and the other answers. How many rows has the output: T or S?",
        SCORED, "attention(source @ w_q"),
    mistake("values from x",
        "A query finds a key of the context, and then takes the value of the same token. Where is that value from?",
        "source @ w_v", "x @ w_v"),
    mistake("scaled twice", "Who divides by the square root of D: this function, or the `attention` that it calls?",
        SCORED, f"{SCORED} / w_q.shape[1] ** 0.5"),
    mistake("mask dropped", NO_MASK, CALL, CALL.replace("mask", "None")),
    mistake("always causal", "Without a mask every token may see every other. Where does yours hide some?",
        CALL, f"{CALL[:-5]}always(x, source, mask))", always=causal),
    Misconception("an attention of its own", own(self_attention), OWN),
]  # fmt: skip


def split_by_reshape(x: Tensor, n_heads: int) -> Tensor:
    B, T, width = x.shape
    return x.reshape(B, n_heads, T, width // n_heads)


def merge_by_reshape(x: Tensor) -> Tensor:
    B, _, T, _ = x.shape
    return x.reshape(B, T, -1)


def split_every_nth(x: Tensor, n_heads: int) -> Tensor:
    B, T, width = x.shape
    return x.reshape(B, T, width // n_heads, n_heads).permute(0, 3, 1, 2)


def merge_every_nth(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(2)


def of_heads(function: Any, masked: str) -> list[Misconception]:
    """What goes wrong with heads, grouped or not; ``masked`` is how ``function`` hands on its mask."""
    every_nth = mutated(function, split_heads=split_every_nth, merge_heads=merge_every_nth)
    return [
        Misconception("split by reshape", mutated(function, split_heads=split_by_reshape), SPLIT),
        Misconception("merged by reshape", mutated(function, merge_heads=merge_by_reshape), MERGE),
        Misconception("heads take every Hth channel", every_nth, INTERLEAVED),
        Misconception("heads split every Hth channel", mutated(function, split_heads=split_every_nth), INTERLEAVED),
        Misconception("mask dropped", mutated(function, masked, masked.replace("mask", "None")), NO_MASK),
        Misconception("an attention of its own", own(function), OWN),
    ]


def width_over_heads(x, w_q, w_k, w_v, w_o, n_heads, mask=None, attention=attention) -> Tensor:
    B, T, C = x.shape
    q, k, v = ((x @ w).reshape(B, T, n_heads, C // n_heads).transpose(1, 2) for w in (w_q, w_k, w_v))
    return merge_heads(attention(q, k, v, mask)) @ w_o


mistake = wrong(multi_head_attention)
MULTI_HEAD = [
    *of_heads(multi_head_attention, "attention(q, k, v, mask)"),
    mistake("output projection missing",
        "The heads stand side by side, and nothing has mixed them yet. Which weight have you not used?",
        " @ w_o", ""),
    mistake("one wide head", "Into how many softmaxes does each query's attention split?",
        split_heads=lambda x, n_heads: x, merge_heads=lambda x: x),
    Misconception("head_dim from C", width_over_heads,
        "H * D may differ from C. Where does your code take C for it, on the way into the heads or out of them?"),
]  # fmt: skip
mistake = wrong(grouped_query_attention)
GROUPED_QUERY = [
    *of_heads(grouped_query_attention, "n_heads), mask)"),
    mistake("key-value heads tiled",
        "With 4 query heads on 2 key-value heads, which one does query head 1 read? Write out the pairs.",
        repeat_kv=lambda x, n_heads: x.repeat(1, n_heads // x.shape[1], 1, 1)),
    mistake("all read the first",
        "When all query heads share one pair, it is multi-query attention. How many pairs are there here?",
        repeat_kv=lambda x, n_heads: x[:, :1].expand(-1, n_heads, -1, -1)),
    mistake("keys and values not shared out",
        "`attention` was called with H heads of queries and K heads of keys. Which operation hands each query head its "
        "own?",
        repeat_kv=lambda x, n_heads: x),
]  # fmt: skip

# ---- the cache -------------------------------------------------------------------------------------------------------

BEFORE, TURNED = "0 if past is None else past[0].shape[-2]", "q, k = rotary(q, offset), rotary(k, offset)"
mistake = wrong(cached_attention)
CACHED_ATTENTION = [
    mistake("every piece at position 0", "Four tokens are in the cache. At which position does the next one stand?",
        BEFORE, "0"),
    mistake("offset counted after appending", "Without a past, at which position does your first token stand?",
        BEFORE, f"x.shape[-2] + ({BEFORE})"),
    mistake("mask aligned to the first key",
        "With one new token, how many of the cached keys does yours see? It may see all of them.",
        "causal_mask(x.shape[-2], k.shape[-2], device=x.device)", "causal_mask(k.shape[-2])[: x.shape[-2]]"),
    mistake("not causal", "Several new tokens may come at once. May the first of them see the second?",
        "n_heads), mask)", "n_heads), None)"),
    mistake("new keys before old ones", "Time runs along the cache: where do the newest keys belong?",
        "(past[0], k)", "(k, past[0])", "(past[1], v)", "(v, past[1])"),
    mistake("keys cached for every query head",
        "How many heads does the past hold that you return? Grouped heads were made to keep K, not H.",
        "w_o, (k, v)", "w_o, (repeat_kv(k, n_heads), repeat_kv(v, n_heads))"),
    mistake("queries not turned", "Scores depend on distance when both sides are turned. Which side of yours is not?",
        TURNED, "k = rotary(k, offset)"),
    mistake("values turned", "Positions decide who looks where. Do they belong into what is found there, the values?",
        TURNED, "q, k, v = (rotary(each, offset) for each in (q, k, v))"),
    Misconception("an attention of its own", own(cached_attention), OWN),
    mistake("positions left out", "Where in your code is `rotary` called?", TURNED, "pass"),
]  # fmt: skip

ZEROS = ("x.new_empty(", "x.new_zeros(")  # what lies there by chance would tell one mistake from itself
RETURNED, COUNTED = "keys[..., :end, :], values[..., :end, :]", "self.offset = end"
mistake = wrong(KVCache)
KV_CACHE = [
    mistake("a new memory at each call",
        "What you return is right, and a copy: each call copies all earlier tokens, into new memory or on the way out.",
        COUNTED, f"{COUNTED}; self._memory = keys, values = keys.clone(), values.clone()"),
    mistake("the whole memory", "How many keys do you return after one token? Beyond `offset` there is nothing yet.",
        RETURNED, "keys, values", *ZEROS),
    mistake("always from the start", "Where in the memory do the second call's tokens belong?",
        "keys[..., start:end, :]", "keys[..., : end - start, :]", "values[..., start:end, :]",
        "values[..., : end - start, :]", *ZEROS),
    mistake("counts calls", "Three tokens came in one call. By how much does `offset` grow?",
        COUNTED, "self.offset = end = start + 1"),
    mistake("only the new ones", "A new query looks at all keys so far. How many do you return after the second call?",
        RETURNED, "k, v"),
    mistake("keys and values swapped", "Which does `append` take first, and which does it return first?",
        RETURNED, "values[..., :end, :], keys[..., :end, :]"),
    mistake("never full", "Which error tells the caller that the tokens do not fit? See the docstring.",
        "if end > self.capacity", "if False"),
    mistake("cut at the end",
        "Two tokens come and one fits. What does your cache do with the other, and who learns of it?",
        "if end > self", "if start >= self", "end, :] = k", "end, :] = k[..., : self.capacity - start, :]",
        "end, :] = v", "end, :] = v[..., : self.capacity - start, :]"),
    mistake("counts before it looks", "After the error, does the cache still hold what it held? Look at `offset`.",
        "if end > self", f"{COUNTED}\n        if end > self"),
]  # fmt: skip
