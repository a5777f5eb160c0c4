"""Lab 2's misconceptions about projections, heads and the cache. Sealed, as exercises.py, which reads them."""

from typing import Any

import torch

from autograder.exercise import Misconception
from autograder.mutated import mutated
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


CALL, SCORED = "attention(x @ w_q, source @ w_k, source @ w_v, mask)", "attention(x @ w_q"
SELF_ATTENTION = [
    Misconception(
        "queries and keys swapped",
        mutated(self_attention, CALL, "attention(source @ w_k, x @ w_q, source @ w_v, mask)"),
        "Row t of the scores belongs to the token that asks. Which of x @ w_q and x @ w_k does `attention` take first?",
    ),
    Misconception(
        "weights transposed",
        mutated(self_attention, CALL, "attention(x @ w_q.mT, source @ w_k.mT, source @ w_v.mT, mask)"),
        "Rows are tokens here, so a weight is (in, out). On which side of it does x stand?",
    ),
    Misconception(
        "context ignored",
        mutated(self_attention, "x if context is None else context", "x"),
        "With a context, whose tokens answer: those of x, or those of the context?",
    ),
    Misconception(
        "queries from the context",
        mutated(self_attention, SCORED, "attention(source @ w_q"),
        "In cross-attention one side asks and the other answers. How many rows has the output: T or S?",
    ),
    Misconception(
        "values from x",
        mutated(self_attention, "source @ w_v", "x @ w_v"),
        "A query finds a key of the context, and then takes the value of the same token. Where is that value from?",
    ),
    Misconception(
        "scaled twice",
        mutated(self_attention, SCORED, f"{SCORED} / w_q.shape[1] ** 0.5"),
        "Who divides by the square root of D: this function, or the `attention` that it calls?",
    ),
    Misconception("mask dropped", mutated(self_attention, CALL, CALL.replace("mask", "None")), NO_MASK),
    Misconception("an attention of its own", own(self_attention), OWN),
]


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


MULTI_HEAD = [
    *of_heads(multi_head_attention, "attention(q, k, v, mask)"),
    Misconception(
        "output projection missing",
        mutated(multi_head_attention, " @ w_o", ""),
        "The heads stand side by side, and nothing has mixed them yet. Which weight have you not used?",
    ),
    Misconception(
        "one wide head",
        mutated(multi_head_attention, split_heads=lambda x, n_heads: x, merge_heads=lambda x: x),
        "Into how many softmaxes does each query's attention split?",
    ),
    Misconception(
        "head_dim from C",
        width_over_heads,
        "H * D may differ from C: read the head dimension off the projection's width instead of off x.",
    ),
]
GROUPED_QUERY = [
    *of_heads(grouped_query_attention, "n_heads), mask)"),
    Misconception(
        "key-value heads tiled",
        mutated(grouped_query_attention, repeat_kv=lambda x, n_heads: x.repeat(1, n_heads // x.shape[1], 1, 1)),
        "With 4 query heads on 2 key-value heads, which one does query head 1 read? Write out the pairs.",
    ),
    Misconception(
        "all read the first",
        mutated(grouped_query_attention, repeat_kv=lambda x, n_heads: x[:, :1].expand(-1, n_heads, -1, -1)),
        "When all query heads share one pair, it is multi-query attention. How many pairs are there here?",
    ),
    Misconception(
        "keys and values not shared out",
        mutated(grouped_query_attention, repeat_kv=lambda x, n_heads: x),
        "`attention` was called with H heads of queries and K heads of keys. Which operation hands each query head its "
        "own?",
    ),
]

# ---- the cache -------------------------------------------------------------------------------------------------------

BEFORE, TURNED = "0 if past is None else past[0].shape[-2]", "q, k = rotary(q, offset), rotary(k, offset)"
CACHED_ATTENTION = [
    Misconception(
        "every piece at position 0",
        mutated(cached_attention, BEFORE, "0"),
        "Four tokens are in the cache. At which position does the next one stand?",
    ),
    Misconception(
        "offset counted after appending",
        mutated(cached_attention, BEFORE, f"x.shape[-2] + ({BEFORE})"),
        "Without a past, at which position does your first token stand?",
    ),
    Misconception(
        "mask aligned to the first key",
        mutated(
            cached_attention,
            "causal_mask(x.shape[-2], k.shape[-2], device=x.device)",
            "causal_mask(k.shape[-2])[: x.shape[-2]]",
        ),
        "With one new token, how many of the cached keys does yours see? It may see all of them.",
    ),
    Misconception(
        "not causal",
        mutated(cached_attention, "n_heads), mask)", "n_heads), None)"),
        "Several new tokens may come at once. May the first of them see the second?",
    ),
    Misconception(
        "new keys before old ones",
        mutated(cached_attention, "(past[0], k)", "(k, past[0])", "(past[1], v)", "(v, past[1])"),
        "Time runs along the cache: where do the newest keys belong?",
    ),
    Misconception(
        "keys cached for every query head",
        mutated(cached_attention, "w_o, (k, v)", "w_o, (repeat_kv(k, n_heads), repeat_kv(v, n_heads))"),
        "How many heads does the past hold that you return? Grouped heads were made to keep K, not H.",
    ),
    Misconception(
        "queries not turned",
        mutated(cached_attention, TURNED, "k = rotary(k, offset)"),
        "Scores depend on distance when both sides are turned. Which side of yours is not?",
    ),
    Misconception(
        "values turned",
        mutated(cached_attention, TURNED, "q, k, v = (rotary(each, offset) for each in (q, k, v))"),
        "Positions decide who looks where. Do they belong into what is found there, the values?",
    ),
    Misconception(
        "positions left out",
        mutated(cached_attention, TURNED, "pass"),
        "Where in your code is `rotary` called?",
    ),
]

ZEROS = ("x.new_empty(", "x.new_zeros(")  # what lies there by chance would tell one mistake from itself
RETURNED, COUNTED = "keys[..., :end, :], values[..., :end, :]", "self.offset = end"
KV_CACHE = [
    Misconception(
        "a new memory at each call",
        mutated(KVCache, COUNTED, f"{COUNTED}; self._memory = keys, values = keys.clone(), values.clone()"),
        "What you return is right, and each call copies all earlier tokens. Take memory for `capacity` tokens once.",
    ),
    Misconception(
        "the whole memory",
        mutated(KVCache, RETURNED, "keys, values", *ZEROS),
        "How many keys do you return after one token? Beyond `offset` there is nothing yet.",
    ),
    Misconception(
        "always from the start",
        mutated(
            KVCache,
            "keys[..., start:end, :]",
            "keys[..., : end - start, :]",
            "values[..., start:end, :]",
            "values[..., : end - start, :]",
            *ZEROS,
        ),
        "Where in the memory do the second call's tokens belong?",
    ),
    Misconception(
        "counts calls",
        mutated(KVCache, COUNTED, "self.offset = end = start + 1"),
        "Three tokens came in one call. By how much does `offset` grow?",
    ),
    Misconception(
        "only the new ones",
        mutated(KVCache, RETURNED, "k, v"),
        "A new query looks at all keys so far. How many do you return after the second call?",
    ),
    Misconception(
        "keys and values swapped",
        mutated(KVCache, RETURNED, "values[..., :end, :], keys[..., :end, :]"),
        "Which does `append` take first, and which does it return first?",
    ),
    Misconception(
        "cut at the end",
        mutated(
            KVCache,
            "if end > self",
            "if start >= self",
            "end, :] = k",
            "end, :] = k[..., : self.capacity - start, :]",
            "end, :] = v",
            "end, :] = v[..., : self.capacity - start, :]",
        ),
        "Two tokens come and one fits. What does your cache do with the other, and who learns of it?",
    ),
    Misconception(
        "counts before it looks",
        mutated(KVCache, "if end > self", f"{COUNTED}\n        if end > self"),
        "After the error, does the cache still hold what it held? Look at `offset`.",
    ),
]
