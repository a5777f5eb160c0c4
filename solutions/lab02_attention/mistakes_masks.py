"""Lab 2's misconceptions about masks. Sealed, as exercises.py, which reads them."""

from collections.abc import Callable

import torch

from autograder.exercise import Misconception
from mlsys_course import attention as component

Tensor = torch.Tensor
Candidate = Callable[..., Tensor]


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


def band(first: int = 0, left: bool = False, causal: bool = True) -> Candidate:
    """A wrong ``window_mask``: ``first`` shifts where the window begins, ``left`` aligns it to the first key."""

    def candidate(T: int, window: int, S: int | None = None, device: torch.device | None = None) -> Tensor:
        S = T if S is None else S
        distance = torch.arange(T)[:, None] + (0 if left else S - T) - torch.arange(S)
        return (distance < window + first) & ((distance >= 0) if causal else (distance > -window))

    return candidate


WINDOW_MASK = [
    Misconception("one too many", band(first=1), "With a window of 1, what does a token see?"),
    Misconception("one too few", band(first=-1), "The token itself is one of the window's. How many keys are left?"),
    Misconception("sees the future", band(causal=False), "How far ahead of itself may a token look?"),
    Misconception(
        "aligned to the first key",
        band(left=True),
        "With S > T the queries are the last T positions. Where does the last query's window end?",
    ),
    Misconception(
        "no window",
        lambda T, window, S=None, device=None: component.causal_mask(T, S, device),
        "How many keys does your last query see? At most `window` are allowed.",
    ),
]


def prefix_like(rule: Candidate) -> Candidate:
    """A wrong ``prefix_mask``, from a rule of (causal (T, T), key in prefix (B, 1, 1, T), query in prefix)."""

    def candidate(prefix: Tensor, T: int) -> Tensor:
        keys = component.padding_mask(prefix, T)
        return rule(component.causal_mask(T, device=prefix.device), keys, keys.mT).expand(len(prefix), 1, T, T).clone()

    return candidate


PREFIX_MASK = [
    Misconception(
        "and instead of or",
        prefix_like(lambda causal, keys, queries: causal & keys),
        "A token after the prefix sees its own past as well. Which of `&` and `|` lets it?",
    ),
    Misconception(
        "prefix ignored",
        prefix_like(lambda causal, keys, queries: causal | torch.zeros_like(keys)),
        "Inside the prefix attention is not causal. What may token 0 see there?",
    ),
    Misconception(
        "prefix only",
        prefix_like(lambda causal, keys, queries: keys),
        "Every query of yours sees the prefix, and nothing else. What does a token see of its own past after it?",
    ),
    Misconception(
        "prefix sees all",
        prefix_like(lambda causal, keys, queries: causal | queries),
        "May a token of the prefix see what comes after the prefix?",
    ),
    Misconception(
        "one too many",
        lambda prefix, T: component.prefix_mask(prefix + 1, T),
        "A prefix of 2 is tokens 0 and 1. May token 0 see token 2?",
    ),
]


def document_like(rule: Candidate) -> Candidate:
    """A wrong ``document_mask``, from a rule of (same document, causal)."""

    def candidate(documents: Tensor) -> Tensor:
        same = documents[:, None, :, None] == documents[:, None, None, :]
        return rule(same, component.causal_mask(documents.shape[1]).expand_as(same))

    return candidate


DOCUMENT_MASK = [
    Misconception(
        "not causal",
        document_like(lambda same, causal: same),
        "Within a document, too, a token must not see the next one.",
    ),
    Misconception(
        "documents ignored",
        document_like(lambda same, causal: causal.clone()),
        "May a token of the second document see the first?",
    ),
    Misconception(
        "or instead of and",
        document_like(lambda same, causal: same | causal),
        "Two conditions must hold: the same document, and not the future.",
    ),
    Misconception(
        "shape (B, T, T)",
        lambda documents: component.document_mask(documents)[:, 0],
        "The mask must broadcast to scores of shape (B, H, T, T). Against which axes does (B, T, T) line up?",
    ),
    Misconception(
        "only other documents",
        document_like(lambda same, causal: ~same & causal),
        "True is where a query may attend: in its own document, or in the others?",
    ),
]
