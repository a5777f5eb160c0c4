"""Data and pretrained weights that install as packages: nothing is downloaded when a lab runs."""

from .digits import digits
from .growth import CARDS, MODELS, Card, Model
from .installed import DataMissing
from .letters import letter_windows
from .minilm import MiniLM, Projections, minilm, pieces, words
from .quality import bleu, changed_bleu
from .ratings import Rating, ratings
from .smollm2 import SmolLM2, smollm2
from .verses import Verse, plain_words, verse_pairs, verses
from .vocabulary import END, PADDING, START, UNKNOWN, Vocabulary, padded

__all__ = [
    "DataMissing",
    "CARDS",
    "Card",
    "MODELS",
    "Model",
    "digits",
    "letter_windows",
    "MiniLM",
    "Projections",
    "minilm",
    "pieces",
    "words",
    "SmolLM2",
    "smollm2",
    "Rating",
    "ratings",
    "Verse",
    "verses",
    "verse_pairs",
    "plain_words",
    "Vocabulary",
    "padded",
    "PADDING",
    "START",
    "END",
    "UNKNOWN",
    "bleu",
    "changed_bleu",
]
