"""Language models: text from a model, and real weights. Lab 4."""

from .beam_search import Hypothesis, beam_search
from .decoding import next_distribution, repetition_penalty, sample
from .generate import generate, generate_batch, generate_target
from .llama import load_llama

__all__ = [
    "next_distribution",
    "sample",
    "repetition_penalty",
    "generate",
    "generate_batch",
    "generate_target",
    "Hypothesis",
    "beam_search",
    "load_llama",
]
