"""Sentiment analysis in three stages: words to ids, a mean of vectors through a small network, logits to a label."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from safetensors import safe_open
from torch import Tensor

from ..substrate import data
from .network import forward
from .pipeline import best_label, pipeline
from .problems import BadInput
from .tokens import look_up
from .training import initial, train

LABELS = ("NEGATIVE", "POSITIVE")


@dataclass(frozen=True)
class WordVectors:
    """A vector of length ``SIZE`` for each of MiniLM's 30,522 word pieces."""

    vocabulary: dict[str, int]
    table: Tensor  # (V, C)

    def ids(self, text: str) -> Tensor:
        """The ids of the text's words, those that the vocabulary lacks left out; BadInput where none is left."""
        found = [self.vocabulary[word] for word in data.words(text) if word in self.vocabulary]
        if not found:
            raise BadInput(f"no word of {text[:40]!r} is in the vocabulary; give a text with common English words")
        return torch.tensor(found, device=self.table.device)

    def mean(self, ids: Tensor) -> Tensor:
        """The mean vector of the words with these ids, (1, C): word order is lost here."""
        return look_up(self.table, ids).mean(0, keepdim=True)


SIZE = 8.0  # entries near 0.4: a size at which the first layer learns at once


def word_vectors(device: torch.device | str = "cpu") -> WordVectors:
    """MiniLM's word embeddings, all scaled to one length. Raises DataMissing without the package."""
    model = data.minilm()
    with safe_open(model.weights, framework="pt") as file:
        table = file.get_tensor("embeddings.word_embeddings.weight")
    return WordVectors(dict(model.vocabulary), (SIZE * table / table.norm(dim=-1, keepdim=True)).to(device))


def rated_words(vectors: WordVectors) -> tuple[Tensor, Tensor]:
    """Ids of the words that people rated and MiniLM knows whole, and 1 for those rated above 0."""
    known = {r.word: r.mean for r in data.ratings() if r.word.isalpha() and r.word in vectors.vocabulary}
    ids = torch.tensor([vectors.vocabulary[word] for word in known], device=vectors.table.device)
    return ids, torch.tensor([int(mean > 0) for mean in known.values()], device=ids.device)


def sentiment_classifier(seed: int = 0, device: torch.device | str = "cpu") -> Callable[[str | list[str]], list[dict]]:
    """``classifier(text)`` -> ``[{'label': 'POSITIVE', 'score': 0.99}]``; trained here, in about a second.

    A network of three layers learns the sign of people's ratings of some 2,200 words from the words' vectors. What it
    says of a sentence is what it says of the mean of its words.
    """
    vectors = word_vectors(device)
    ids, labels = rated_words(vectors)
    generator = torch.Generator().manual_seed(seed)
    weights, biases = initial([vectors.table.shape[1], 32, 16, 2], generator, device)
    weights, biases, _ = train(look_up(vectors.table, ids), labels, weights, biases, generator, epochs=20, lr=0.1)
    return pipeline(
        vectors.ids,
        lambda found: forward(vectors.mean(found), weights, biases)[0][-1][0],
        lambda logits: best_label(logits, LABELS),
    )
