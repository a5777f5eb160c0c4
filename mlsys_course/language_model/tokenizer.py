"""Text to tokens and back, by merges that were learned."""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from ..foundations import BadInput
from .byte_pairs import Pair, merged
from .split import split_text


class BytePairTokenizer:
    """Byte-level byte-pair encoding: any text to ids below ``len(tokenizer)``, and back to the same text.

    Ids: 0 to 255 are the bytes, 256 + n is what merge n makes, and the special tokens follow in their order. ``split``
    cuts a text into the pieces that are encoded each for itself.
    Raises BadInput for a merge of a token that is not made before it, and for a special token that is empty or twice
    there. Source: Radford et al. 2019, section 2.2; ids and results as of Hugging Face's ``tokenizers``.
    Lab 4, exercise ``BytePairTokenizer``.
    """

    def __init__(
        self,
        merges: Sequence[Pair],
        special: Sequence[str] = (),
        split: Callable[[str], Sequence[str]] = split_text,
    ):
        self.split = split
        self.ranks = {(left, right): rank for rank, (left, right) in enumerate(merges)}
        self.bytes = [bytes([byte]) for byte in range(256)]
        for left, right in merges:
            if not (0 <= left < len(self.bytes) and 0 <= right < len(self.bytes)):
                raise BadInput(f"merge ({left}, {right}) comes when the tokens are 0 to {len(self.bytes) - 1}")
            self.bytes.append(self.bytes[left] + self.bytes[right])
        if len(set(special)) < len(special) or "" in special:
            raise BadInput(f"special={list(special)}; give each special token once, and none without letters")
        self.special = {text: len(self.bytes) + n for n, text in enumerate(special)}
        self.bytes += [text.encode() for text in special]
        longest_first = sorted(special, key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if special else None
        self._known: dict[str, list[int]] = {}  # pieces that were encoded before

    def __len__(self) -> int:
        return len(self.bytes)

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        """The text's ids. A special token's text becomes its id (from the left, the longest that fits), or with
        ``allow_special`` False is text like any other, as what a user typed should be.

        Each piece of the text between starts as its UTF-8 bytes; then of all merges that fit the earliest is made,
        everywhere in the piece, until none fits. Half a surrogate pair has no UTF-8: UnicodeEncodeError, a ValueError.
        """
        if self._special is None or not allow_special:
            return self._plain(text)
        ids: list[int] = []
        for part in self._special.split(text):
            ids += [self.special[part]] if part in self.special else self._plain(part)
        return ids

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in self.split(text):
            if piece not in self._known:
                self._known[piece] = self._merged(piece.encode())
            ids += self._known[piece]
        return ids

    def _merged(self, piece: bytes) -> list[int]:
        """One piece's tokens."""
        tokens = list(piece)
        while known := [pair for pair in pairwise(tokens) if pair in self.ranks]:
            first = min(known, key=self.ranks.__getitem__)
            tokens = merged(tokens, first, 256 + self.ranks[first])
        return tokens

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids, special tokens as their text; what is no UTF-8 becomes U+FFFD, as ``bytes.decode`` says
        with "replace": a model may stop in the middle of a character.

        Raises BadInput for an id outside 0 .. len(self) - 1.
        """
        found = [int(one) for one in ids]
        if wrong := [one for one in found if not 0 <= one < len(self.bytes)]:
            raise BadInput(f"id {wrong[0]}, but ids are 0 to {len(self.bytes) - 1}; is it another tokenizer's?")
        return b"".join(self.bytes[one] for one in found).decode(errors="replace")
