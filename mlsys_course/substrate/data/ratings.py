"""Words rated by people from -4 (most negative) to 4 (most positive): the lexicon of VADER. MIT; from vaderSentiment.

Source: Hutto and Gilbert 2014, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text".
"""

from dataclasses import dataclass

from .installed import checked, installed

LEXICON = "1ec9c6e9ee19aade"


@dataclass(frozen=True)
class Rating:
    """What ten people think of a word, an emoticon or an abbreviation: mean, standard deviation, and each of them."""

    word: str
    mean: float
    deviation: float
    people: tuple[int, ...]


def ratings() -> list[Rating]:
    """The 7,520 lines of the lexicon, in its order; a few are written in two ways and stand twice.

    Raises DataMissing, an ImportError, where the package is not installed or holds another lexicon.
    """
    content = checked(installed("vaderSentiment", "vader_lexicon.txt"), LEXICON)
    lines = content.decode("utf-8").splitlines()
    return [_rating(*line.split("\t")) for line in lines if line.strip()]


def _rating(word: str, mean: str, deviation: str, people: str) -> Rating:
    numbers = people.strip().strip("[]").split(",")
    return Rating(word, float(mean), float(deviation), tuple(int(n) for n in numbers))
