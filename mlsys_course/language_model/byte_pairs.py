"""Byte-pair encoding, learned: the most frequent pair of tokens becomes a token, again and again."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..foundations import BadInput

Pair = tuple[int, int]


def train_merges(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    """The pairs of tokens that become one token, in order; ``words`` are pieces of text with their counts.

    Tokens 0 to 255 are the bytes, and merge n makes token 256 + n. Each merge takes the pair of neighbours that stands
    most often in all words together; of equally frequent ones that with the smaller first token, then with the smaller
    second. It replaces all of them, from the left in each word. Ends early where no word has a pair left.
    Raises BadInput for ``n_merges`` below 0. Source: Sennrich et al. 2016, algorithm 1; on bytes Radford et al. 2019.
    Lab 4, exercise ``train_merges``.
    """
    if n_merges < 0:
        raise BadInput(f"n_merges={n_merges}; choose 0 or more")
    texts, counts = [list(word) for word in words], list(words.values())
    pairs: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that a pair stands in, or stood in before
    for n, (tokens, count) in enumerate(zip(texts, counts, strict=True)):
        _count(pairs, tokens, count, places, n)
    merges: list[Pair] = []
    while len(merges) < n_merges:
        most = max(pairs.values(), default=0)
        if most == 0:
            break
        best = min(pair for pair, count in pairs.items() if count == most)
        for n in places.pop(best):  # the other words stay as they are: that is what makes it fast
            _count(pairs, texts[n], -counts[n])
            texts[n] = merged(texts[n], best, 256 + len(merges))
            _count(pairs, texts[n], counts[n], places, n)
        merges.append(best)
    return merges


def _count(
    pairs: Counter[Pair],
    tokens: Sequence[int],
    count: int,
    places: defaultdict[Pair, set[int]] | None = None,
    n: int = 0,
) -> None:
    """Add ``count`` to each pair of neighbours of word ``n``, and note the word under them."""
    for pair in pairwise(tokens):
        pairs[pair] += count
        if places is not None:
            places[pair].add(n)


def merged(tokens: Sequence[int], pair: Pair, made: int) -> list[int]:
    """The tokens with ``made`` for each occurrence of the pair, found from the left."""
    found, at = [], 0
    while at < len(tokens):
        if tuple(tokens[at : at + 2]) == pair:
            found.append(made)
            at += 2
        else:
            found.append(tokens[at])
            at += 1
    return found
