"""Language models: text to tokens, what is asked of a model, text from a model, and real weights. Lab 4."""

from .beam_search import Hypothesis, beam_search
from .byte_pairs import train_merges
from .decoding import next_distribution, repetition_penalty, sample
from .generate import generate, generate_batch, generate_target
from .llama import load_llama
from .objectives import causal_loss, mask_tokens
from .perplexity import perplexity
from .split import split_text
from .static_decoder import StaticDecoder
from .tokenizer import BytePairTokenizer

__all__ = [
    "split_text",
    "train_merges",
    "BytePairTokenizer",
    "causal_loss",
    "mask_tokens",
    "perplexity",
    "next_distribution",
    "sample",
    "repetition_penalty",
    "generate",
    "generate_batch",
    "generate_target",
    "Hypothesis",
    "beam_search",
    "load_llama",
    "StaticDecoder",
]
