"""Mutants of a lab's solution against its sealed cases: how many wrong versions slip past."""

from .equivalent import Equivalent, equivalents
from .judging import Score, score, scores
from .mutants import Mutant, mutants

__all__ = ["Equivalent", "Mutant", "Score", "equivalents", "mutants", "score", "scores"]
