"""Text for small language models, letter by letter."""

from functools import cache

import torch
from torch import Tensor

from .verses import verses


@cache
def letter_windows(letters: int, verse_count: int = 4000, modern: bool = False) -> tuple[Tensor, str]:
    """The Bible of 1611 in lower case, cut into pieces: int64 of shape (pieces, letters), and the alphabet they index.

    Of the first ``verse_count`` verses; what is left at the end is left out. With ``modern`` the same verses in today's
    English, without the letters that the old ones lack. Raises DataMissing, an ImportError.
    """
    text = " ".join(verse.archaic for verse in verses()[:verse_count]).lower()
    alphabet = "".join(sorted(set(text)))
    text = " ".join(verse.modern for verse in verses()[:verse_count]).lower() if modern else text
    codes = torch.tensor([alphabet.index(letter) for letter in text if letter in alphabet])
    return codes[: len(codes) // letters * letters].view(-1, letters), alphabet
