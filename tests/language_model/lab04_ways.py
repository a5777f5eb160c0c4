"""Lab 4's first exercises solved in other ways: unusual, and right."""

import heapq
import re
from collections import Counter

import torch
import torch.nn.functional as F

from mlsys_course.language_model import split_text


def all_pairs_anew(words, n_merges):
    """Every count from nothing for every merge; tokens as one text with words apart."""
    if n_merges < 0:
        raise ValueError
    texts, merges = {word: list(word) for word in words}, []
    for made in range(256, 256 + n_merges):
        counts = Counter()
        for word, tokens in texts.items():
            for n in range(len(tokens) - 1):
                counts[tokens[n], tokens[n + 1]] += words[word]
        if not counts:
            return merges
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for tokens in texts.values():
            n = 0
            while n < len(tokens) - 1:
                if (tokens[n], tokens[n + 1]) == best:
                    tokens[n : n + 2] = [made]
                n += 1
    return merges


class MergesInOrder:
    """Every merge is tried on every piece, in the order in which they were learned."""

    def __init__(self, merges, special=(), split=split_text):
        self.merges, self.split, self.names = [tuple(pair) for pair in merges], split, list(special)
        self.parts = {n: bytes([n]) for n in range(256)}
        for n, (left, right) in enumerate(self.merges):
            if not {left, right} <= self.parts.keys():
                raise ValueError(f"merge {n}")
            self.parts[256 + n] = self.parts[left] + self.parts[right]
        self.first = len(self.parts)

    def __len__(self):
        return self.first + len(self.names)

    def encode(self, text, allow_special=True):
        fitting = [name for name in self.names if allow_special and name in text]
        if fitting:
            at, _, name = min((text.index(name), -len(name), name) for name in fitting)
            after = self.encode(text[at + len(name) :])
            return [*self.encode(text[:at], False), self.first + self.names.index(name), *after]
        ids = []
        for piece in self.split(text):
            letters = "".join(map(chr, piece.encode("utf-8")))
            for n, (left, right) in enumerate(self.merges):
                letters = letters.replace(chr(left) + chr(right), chr(256 + n))
            ids.extend(map(ord, letters))
        return ids

    def decode(self, ids):
        content = b""
        for one in ids:
            if one >= self.first and one < len(self):
                content += self.names[one - self.first].encode()
            elif one in self.parts:
                content += self.parts[one]
            else:
                raise ValueError(one)
        return str(content, "utf-8", "replace")


class ByQueue(MergesInOrder):
    """A queue of pairs by rank, and special tokens by a pattern, longest first."""

    def encode(self, text, allow_special=True):
        ranks = {pair: n for n, pair in enumerate(self.merges)}
        names = sorted(self.names, key=lambda name: -len(name)) if allow_special else []
        pattern = "|".join(re.escape(name) for name in names) or r"(?!)"
        ids, at = [], 0
        for found in [*re.finditer(pattern, text), None]:
            for piece in self.split(text[at : found.start() if found else len(text)]):
                ids += self.by_queue(list(piece.encode()), ranks)
            if found:
                ids.append(self.first + self.names.index(found[0]))
                at = found.end()
        return ids

    def by_queue(self, tokens, ranks):
        while True:
            queue = [(ranks[pair], n) for n, pair in enumerate(zip(tokens, tokens[1:])) if pair in ranks]  # noqa: B905, RUF007
            if not queue:
                return tokens
            heapq.heapify(queue)
            rank, n = heapq.heappop(queue)
            tokens = [*tokens[:n], 256 + rank, *tokens[n + 2 :]]


def loss_by_loop(logits, labels, ignore_index=-100):
    wide = logits.double() if logits.dtype == torch.float64 else logits.float()
    total, count = wide.sum() * 0, 0
    for row, label in zip(wide, labels.tolist(), strict=True):
        for t, token in enumerate(label[1:]):
            if token == ignore_index:
                continue
            if not 0 <= token < logits.shape[-1]:
                raise ValueError(token)
            total = total + torch.logsumexp(row[t], -1) - row[t, token]
            count += 1
    return total / count if count else total


def loss_by_padding_labels(logits, labels, ignore_index=-100):
    """Labels moved by one, the last not asked; -100 for what is not."""
    moved = F.pad(labels[:, 1:].long(), (0, 1), value=ignore_index)
    moved = torch.where(moved == ignore_index, -100, moved)
    if ((moved != -100) & ((moved < 0) | (moved >= logits.shape[-1]))).any() or (
        ignore_index != -100 and (labels[:, 1:] == -100).any()
    ):
        raise ValueError
    if (moved == -100).all():
        return (logits * 0).sum().to(torch.promote_types(logits.dtype, torch.float32))
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(wide.transpose(1, 2), moved)


def masked_by_clone(ids, u, mask_id, vocabulary, rate=0.15, special=None):
    if rate < 0 or rate > 1:
        raise ValueError
    inputs, labels = ids.clone(), torch.full_like(ids, -100)
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            chooses, kind, which = u[:, b, t].tolist() if u.dtype == torch.float64 else u[:, b, t]
            if chooses < rate and (special is None or not special[b, t]):
                labels[b, t] = ids[b, t]
                if kind < 0.8:
                    inputs[b, t] = mask_id
                elif kind < 0.9:
                    inputs[b, t] = int(which * vocabulary)
    return inputs, labels


def perplexity_by_tokens(model, ids, context, stride):
    if not (len(ids) > 1 and 0 < stride < context):
        raise ValueError
    nats, start, asked = [], 0, 1
    while asked < len(ids):
        window = ids[start : start + context]
        logits = model(window.unsqueeze(0))
        log_p = torch.log_softmax(logits.double(), -1)[0]
        while asked < start + len(window):
            nats.append(-log_p[asked - start - 1, ids[asked]])
            asked += 1
        start += stride
    wide = torch.promote_types(logits.dtype, torch.float32)
    return torch.stack(nats).mean().exp().to(wide)


RIGHT = [
    ("train_merges", all_pairs_anew),
    ("BytePairTokenizer", MergesInOrder),
    ("BytePairTokenizer", ByQueue),
    ("causal_loss", loss_by_loop),
    ("causal_loss", loss_by_padding_labels),
    ("mask_tokens", masked_by_clone),
    ("perplexity", perplexity_by_tokens),
]
