"""Words as whole numbers, and sentences of unequal length as one tensor."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

PADDING, START, END, UNKNOWN = range(4)
SIGNS = ("<padding>", "<start>", "<end>", "<unknown>")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, by number; the first four are signs: padding, start, end, and an unknown word."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], size: int) -> "Vocabulary":
        """The signs and the ``size`` - 4 most frequent words; of equally frequent ones, those that come first."""
        if size <= len(SIGNS):
            raise ValueError(f"size={size}, but {len(SIGNS)} numbers are signs; choose {len(SIGNS) + 1} or more")
        counts = Counter(word for sentence in sentences for word in sentence)
        return cls((*SIGNS, *(word for word, _ in counts.most_common(size - len(SIGNS)))))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def numbers(self, sentence: Sequence[str]) -> list[int]:
        """Each word's number; UNKNOWN where the vocabulary lacks it."""
        return [self._numbers.get(word, UNKNOWN) for word in sentence]

    def sentence(self, numbers: Iterable[int]) -> list[str]:
        """The words of ``numbers`` before the first END; padding is left out."""
        found = []
        for number in numbers:
            if number == END:
                break
            if number != PADDING:
                found.append(self.words[number])
        return found

    def __len__(self) -> int:
        return len(self.words)


def padded(sentences: Sequence[Sequence[int]], device: torch.device | str | None = None) -> Int[Tensor, "B T"]:
    """Sentences of numbers as rows, filled with PADDING on the right. Raises ValueError for one without words."""
    empty = [row for row, sentence in enumerate(sentences) if not len(sentence)]
    if empty or not len(sentences):
        raise ValueError(f"sentences {empty} of {len(sentences)} have no words; leave empty sentences out")
    T = max(map(len, sentences))
    rows = [[*sentence, *[PADDING] * (T - len(sentence))] for sentence in sentences]
    return torch.tensor(rows, device=device)
