"""Lab 2's misconceptions about decoding from a cache. Sealed, as exercises.py, which reads them."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from mlsys_course import attention as component

Tensor = torch.Tensor
Candidate = Callable[..., Any]


def step_like(
    offset: str = "before", mask: str = "last", past_last: bool = False, expanded: bool = False, turned: str = "qk"
) -> Candidate:
    """A wrong ``cached_attention``; ``turned`` names what rotary positions turn."""

    def candidate(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, past=None, attention=None, rotary=None) -> Any:
        q = component.split_heads(x @ w_q, n_heads)
        k, v = (component.split_heads(x @ w, n_kv_heads) for w in (w_k, w_v))
        T, S = x.shape[1], 0 if past is None else past[0].shape[2]
        start = {"before": S, "none": 0, "after": S + T}[offset]
        q, k, v = (rotary(t, start) if name in turned else t for name, t in zip("qkv", (q, k, v), strict=True))
        if past is not None:
            order = (lambda old, new: (new, old)) if past_last else (lambda old, new: (old, new))
            k, v = (torch.cat(order(old, new), 2) for old, new in zip(past, (k, v), strict=True))
        wide = [component.repeat_kv(t, n_heads) for t in (k, v)]
        masks = {"last": component.causal_mask(T, S + T), "first": torch.ones(T, S + T).tril().bool(), "none": None}
        y = component.merge_heads(attention(q, *wide, masks[mask])) @ w_o
        return y, tuple(wide) if expanded else (k, v)

    return candidate


CACHED_ATTENTION = [
    Misconception(
        "every piece at position 0",
        step_like(offset="none"),
        "Four tokens are in the cache. At which position does the next one stand?",
    ),
    Misconception(
        "offset counted after appending",
        step_like(offset="after"),
        "Without a past, at which position does your first token stand?",
    ),
    Misconception(
        "mask aligned to the first key",
        step_like(mask="first"),
        "With one new token, how many of the cached keys does yours see? It may see all of them.",
    ),
    Misconception(
        "not causal",
        step_like(mask="none"),
        "Several new tokens may come at once. May the first of them see the second?",
    ),
    Misconception(
        "new keys before old ones",
        step_like(past_last=True),
        "Time runs along the cache: where do the newest keys belong?",
    ),
    Misconception(
        "keys cached for every query head",
        step_like(expanded=True),
        "How many heads does the past hold that you return? Grouped heads were made to keep K, not H.",
    ),
    Misconception(
        "queries not turned",
        step_like(turned="k"),
        "Scores depend on distance when both sides are turned. Which side of yours is not?",
    ),
    Misconception(
        "values turned",
        step_like(turned="qkv"),
        "Positions decide who looks where. Do they belong into what is found there, the values?",
    ),
    Misconception(
        "positions left out",
        step_like(turned=""),
        "Where in your code is `rotary` called?",
    ),
]


class Like:
    """A right ``KVCache``, whose parts the mistakes below change."""

    def __init__(self, capacity: int):
        self.capacity, self.offset, self.memory = capacity, 0, []

    def room(self, T: int) -> None:
        if self.offset + T > self.capacity:
            raise ValueError(f"{self.offset + T} tokens, and room for {self.capacity}")

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.room(k.shape[2])
        if not self.memory:
            self.memory = [x.new_zeros(*x.shape[:2], self.capacity, x.shape[3]) for x in (k, v)]
        self.write(k, v)
        return self.read()

    def write(self, k: Tensor, v: Tensor) -> None:
        end = self.offset + k.shape[2]
        for kept, x in zip(self.memory, (k, v), strict=True):
            kept[:, :, self.offset : end] = x[:, :, : max(0, self.capacity - self.offset)]
        self.offset = end

    def read(self) -> tuple[Tensor, Tensor]:
        k, v = (kept[:, :, : self.offset] for kept in self.memory)
        return k, v


class Concatenates(Like):
    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.room(k.shape[2])
        old = self.memory or [k[:, :, :0], v[:, :, :0]]
        self.memory = [torch.cat((kept, x), 2) for kept, x in zip(old, (k, v), strict=True)]
        self.offset += k.shape[2]
        return self.memory[0], self.memory[1]


class WholeMemory(Like):
    def read(self) -> tuple[Tensor, Tensor]:
        return self.memory[0], self.memory[1]


class Overwrites(Like):
    def write(self, k: Tensor, v: Tensor) -> None:
        for kept, x in zip(self.memory, (k, v), strict=True):
            kept[:, :, : k.shape[2]] = x
        self.offset += k.shape[2]


class CountsCalls(Like):
    def write(self, k: Tensor, v: Tensor) -> None:
        start = self.offset
        super().write(k, v)
        self.offset = start + 1


class OnlyNew(Like):
    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        super().append(k, v)
        return k, v


class NoLimit(Like):
    def room(self, T: int) -> None:
        if self.offset >= self.capacity:
            raise ValueError("full")


class CountsFirst(Like):
    def room(self, T: int) -> None:
        self.offset += T
        if self.offset > self.capacity:
            raise ValueError("full")
        self.offset -= T


class Swapped(Like):
    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        k, v = super().append(k, v)
        return v, k


KV_CACHE = [
    Misconception(
        "a new memory at each call",
        Concatenates,
        "What you return is right, and each call copies all earlier tokens. Take memory for `capacity` tokens once.",
    ),
    Misconception(
        "the whole memory",
        WholeMemory,
        "How many keys do you return after one token? Beyond `offset` there is nothing yet.",
    ),
    Misconception("always from the start", Overwrites, "Where in the memory do the second call's tokens belong?"),
    Misconception("counts calls", CountsCalls, "Three tokens came in one call. By how much does `offset` grow?"),
    Misconception(
        "only the new ones",
        OnlyNew,
        "A new query looks at all keys so far. How many do you return after the second call?",
    ),
    Misconception(
        "keys and values swapped", Swapped, "Which does `append` take first, and which does it return first?"
    ),
    Misconception(
        "cut at the end",
        NoLimit,
        "Two tokens come and one fits. What does your cache do with the other, and who learns of it?",
    ),
    Misconception(
        "counts before it looks",
        CountsFirst,
        "After the error, does the cache still hold what it held? Look at `offset`.",
    ),
]
