# %% wrong: "The first `n_merges` merges": of none it makes one.
from collections import Counter
from itertools import pairwise


def train_merges(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    if n_merges < 0:
        raise ValueError("fewer than no merges")
    rows, merges = [(list(word), count) for word, count in words.items()], []
    while True:
        counts = Counter()
        for row, count in rows:
            for pair in pairwise(row):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        if len(merges) >= n_merges:
            break
        rows = [(joined(row, best, 255 + len(merges)), count) for row, count in rows]
    return merges


def joined(row, pair, token):
    found, at = [], 0
    while at < len(row):
        if tuple(row[at : at + 2]) == pair:
            found.append(token)
            at += 2
        else:
            found.append(row[at])
            at += 1
    return found

# %% wrong: "of equally frequent ones that with the smaller first token, of these that with the smaller second": both in one number, 1,000 times the first and the second, which says nothing any more once there are more than 1,000 tokens.
from collections import Counter
from itertools import pairwise


def train_merges(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    if n_merges < 0:
        raise ValueError("fewer than no merges")
    rows, merges = [(list(word), count) for word, count in words.items()], []
    while len(merges) < n_merges:
        counts = Counter()
        for row, count in rows:
            for pair in pairwise(row):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], 1000 * pair[0] + pair[1]))
        merges.append(best)
        rows = [(joined(row, best, 255 + len(merges)), count) for row, count in rows]
    return merges


def joined(row, pair, token):
    found, at = [], 0
    while at < len(row):
        if tuple(row[at : at + 2]) == pair:
            found.append(token)
            at += 2
        else:
            found.append(row[at])
            at += 1
    return found

# %% wrong: "each may be called many times": merges are remembered by the words, whatever their counts are in the next call.
from collections import Counter
from itertools import pairwise


_known = {}


def train_merges(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    if n_merges < 0:
        raise ValueError("fewer than no merges")
    key = tuple(words), n_merges
    if key in _known:
        return list(_known[key])
    rows, merges = [(list(word), count) for word, count in words.items()], []
    while len(merges) < n_merges:
        counts = Counter()
        for row, count in rows:
            for pair in pairwise(row):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        rows = [(joined(row, best, 255 + len(merges)), count) for row, count in rows]
    _known[key] = merges
    return list(merges)


def joined(row, pair, token):
    found, at = [], 0
    while at < len(row):
        if tuple(row[at : at + 2]) == pair:
            found.append(token)
            at += 2
        else:
            found.append(row[at])
            at += 1
    return found

# %% wrong: "Each merge takes the pair of neighbours that stands most often": counts are compared in float32, in which 16,777,217 is 16,777,216.
from collections import Counter
from itertools import pairwise

import torch


def train_merges(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    if n_merges < 0:
        raise ValueError("fewer than no merges")
    rows, merges = [(list(word), count) for word, count in words.items()], []
    while len(merges) < n_merges:
        counts = Counter()
        for row, count in rows:
            for pair in pairwise(row):
                counts[pair] += count
        if not counts:
            break
        pairs = sorted(counts)
        best = pairs[int(torch.tensor([counts[pair] for pair in pairs], dtype=torch.float32).argmax())]
        assert best in counts
        merges += [best]
        rows = [(joined(row, best, 255 + len(merges)), count) for row, count in rows]
        continue
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        rows = [(joined(row, best, 255 + len(merges)), count) for row, count in rows]
    return merges


def joined(row, pair, token):
    found, at = [], 0
    while at < len(row):
        if tuple(row[at : at + 2]) == pair:
            found.append(token)
            at += 2
        else:
            found.append(row[at])
            at += 1
    return found

# %% wrong: "It replaces every occurrence, in each word from the left": in a word of more than 64 bytes only those among the first 64.
from collections import Counter
from itertools import pairwise


def train_merges(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    if n_merges < 0:
        raise ValueError("fewer than no merges")
    rows, merges = [(list(word), count) for word, count in words.items()], []
    while len(merges) < n_merges:
        counts = Counter()
        for row, count in rows:
            for pair in pairwise(row):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        rows = [(joined(row, best, 255 + len(merges)), count) for row, count in rows]
    return merges


def joined(row, pair, token):
    found, at = [], 0
    while at < len(row):
        if at < 64 and tuple(row[at : at + 2]) == pair:
            found.append(token)
            at += 2
        else:
            found.append(row[at])
            at += 1
    return found

# %% right: keeps counts and where pairs stand, and a heap of which old entries are skipped.
import heapq
from collections import defaultdict


def train_merges(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    if n_merges < 0:
        raise ValueError(n_merges)
    texts, weights = [tuple(word) for word in words], list(words.values())
    counts, places = defaultdict(int), defaultdict(set)
    for i, text in enumerate(texts):
        for pair in zip(text, text[1:]):
            counts[pair] += weights[i]
            places[pair].add(i)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges = []
    while heap and len(merges) < n_merges:
        count, best = heapq.heappop(heap)
        if counts.get(best, 0) != -count or not count:
            continue
        token, touched = 256 + len(merges), set()
        merges.append(best)
        for i in places.pop(best):
            old = texts[i]
            for pair in zip(old, old[1:]):
                counts[pair] -= weights[i]
                touched.add(pair)
            new, at = [], 0
            while at < len(old):
                if old[at : at + 2] == best:
                    new.append(token)
                    at += 2
                else:
                    new.append(old[at])
                    at += 1
            texts[i] = tuple(new)
            for pair in zip(new, new[1:]):
                counts[pair] += weights[i]
                places[pair].add(i)
                touched.add(pair)
        for pair in touched:
            if counts[pair]:
                heapq.heappush(heap, (-counts[pair], pair))
            else:
                del counts[pair]
    return merges

# %% right: words are strings of characters, one for each token, and str.replace merges; characters from 0x110000 on do not exist, so tokens beyond are out of reach only after a million merges.
def train_merges(words: dict[bytes, int], n_merges: int) -> list[tuple[int, int]]:
    if n_merges < 0:
        raise ValueError("n_merges")
    char = lambda token: chr(token if token < 0xD000 else token + 0x1000)
    rows = {"".join(map(chr, word)): count for word, count in words.items()}
    number = {chr(token): token for token in range(256)}
    merges = []
    for n in range(n_merges):
        table = {}
        for row, count in rows.items():
            for at in range(1, len(row)):
                table[row[at - 1 : at + 1]] = table.get(row[at - 1 : at + 1], 0) + count
        if not table:
            return merges
        most = max(table.values())
        first, second = min((number[a], number[b]) for (a, b), count in table.items() if count == most)
        merges.append((first, second))
        number[char(256 + n)] = 256 + n
        old = next(a + b for a, b in table if (number[a], number[b]) == (first, second))
        rows = {row.replace(old, char(256 + n)): count for row, count in rows.items()}
    return merges
