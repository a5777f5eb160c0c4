"""Data and pretrained weights that install as packages: nothing is downloaded when a lab runs."""

from .installed import DataMissing
from .minilm import MiniLM, Projections, minilm, pieces, words

__all__ = ["DataMissing", "MiniLM", "Projections", "minilm", "pieces", "words"]
