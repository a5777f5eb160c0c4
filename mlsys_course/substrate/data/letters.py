"""Text for small language models, letter by letter."""

from functools import cache

import torch
from torch import Tensor

from .verses import verses


@cache
def letter_windows(letters: int, verse_count: int = 4000) -> tuple[Tensor, str]:
    """The Bible of 1611 in lower case, cut into pieces: int64 of shape (pieces, letters), and the alphabet they index.

    Of the first ``verse_count`` verses; what is left at the end is left out. Raises DataMissing, an ImportError.
    """
    text = " ".join(verse.archaic for verse in verses()[:verse_count]).lower()
    alphabet = "".join(sorted(set(text)))
    codes = torch.tensor([alphabet.index(letter) for letter in text])
    return codes[: len(codes) // letters * letters].view(-1, letters), alphabet
