"""Lab 4, sealed: exercises and points. Cases and misconceptions stand beside."""

import math
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Choice, Item, Part, Question, exercises_of
from mlsys_course import language_model

from . import (
    cases_decoding,
    cases_objectives,
    cases_tokens,
    cases_weights,
    drivers,
    mistakes_objectives,
    mistakes_tokens,
)
from . import mistakes_decoding as wrong

exercise = exercises_of(language_model)


def variants(draw: Draw) -> dict[str, Any]:
    """A loss and a length of tokens to reckon with, the four answers in a drawn order, and a secret of models."""
    letters, nats = draw.choice([2.5, 3.2, 4.0, 4.4]), draw.choice([2.6, 3.0, 3.4, 3.9])
    right = nats / math.log(2) / letters
    answers = [right, nats / letters, nats / math.log(2), nats * math.log(2) / letters]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": f"{answers[i]:.3g}" for letter, i in zip("abcd", order, strict=True)}
    numbers = {"letters": f"{letters:g}", "nats": f"{nats:g}", "secret": draw.integer(0, 2**60)}
    return {**numbers, **options, "bits_answer": "abcd"[order.index(0)]}


def exercises(v: dict[str, Any]) -> list[Item]:
    """The lab's items in the notebook's order: 100 points, and 10 for extensions."""
    return [*_tokens(), *_objectives(v), *_decoding(v), *_search_and_weights()]


def _tokens() -> list[Item]:
    learned = {"merges": 5, "ties": 3, "runs": 2, "edges": 2}
    coded = {"encode": 5, "decode": 4, "special": 4, "edges": 2}
    c, m = cases_tokens, mistakes_tokens
    return [
        exercise("train_merges", learned, c.train_merges, m.TRAIN_MERGES),
        exercise("BytePairTokenizer", coded, c.tokenizer, m.BYTE_PAIR_TOKENIZER),
    ]


def _objectives(v: dict[str, Any]) -> list[Item]:
    loss = {"shift": 3, "ignored": 3, "gradient": 2, "precision": 1, "edges": 1}
    masks = {"chosen": 3, "replaced": 3, "labels": 2, "special": 1}
    surprise = {"one window": 2, "windows": 3, "edges": 1}
    rubric = [
        (2.0, "says that a loss per token depends on how the text is cut; that bits a character are of one text and "
              "count the same letters, whatever the tokenizer"),
        (1.5, "reads the figure: quotes bits of the model and of gzip, and says what the model knows (what follows "
              "what, in general) that gzip does not (repetitions of the last 32 kB)"),
        (1.5, "says that an honest file has the model's weights and tokenizer in it, or that both sides need the book"),
    ]  # fmt: skip
    c, m = cases_objectives, mistakes_objectives
    return [
        exercise("causal_loss", loss, c.causal_loss, m.CAUSAL_LOSS),
        exercise("mask_tokens", masks, c.mask_tokens, m.MASK_TOKENS),
        Choice("bits_choice", 3, list("abcd"), v["bits_answer"]),
        Question("compression", rubric),
        exercise("perplexity", surprise, c.perplexity, m.PERPLEXITY, kind="extension"),
    ]


def _decoding(v: dict[str, Any]) -> list[Item]:
    chosen = {"temperature": 3, "top k": 3, "top p": 3, "limits": 3}
    written = {"greedy": 4, "caches": 4, "drawn": 3, "end": 2, "bad input": 1}
    source = {"values": 2, "padding": 1, "end": 1}
    drawn = {"next_distribution": Part(drivers.tilted, lambda logits, *rest, **more: logits.numel())}

    def heard(tokens: torch.Tensor, key: int) -> torch.Tensor:
        return 3 * drivers.heard(tokens, key + v["secret"])

    def understood(source: torch.Tensor, key: int) -> torch.Tensor:
        return drivers.understood(source, key + v["secret"])

    drawn["heard"] = Part(heard, lambda tokens, key: 12 * tokens.numel(), 10000, secret=True)
    read = {"understood": Part(understood, lambda source, key: 8 * source.numel(), 10000, secret=True)}
    c = cases_decoding
    return [
        exercise("next_distribution", chosen, c.next_distribution, wrong.NEXT_DISTRIBUTION),
        exercise("generate", written, c.generate, wrong.GENERATE, parts=drawn),
        exercise("generate_target", source, c.generate_target, wrong.GENERATE_TARGET, kind="extension", parts=read),
    ]


def _search_and_weights() -> list[Item]:
    beam = {"beam": 3, "end": 3, "length": 2, "edges": 1}
    file = {"names": 3, "pairs": 4, "head": 2, "bad files": 2}
    theirs = ("mlsys_course.transformer.from_llama", "mlsys_course.transformer.weights")
    w = cases_weights
    return [
        exercise("beam_search", beam, w.beam_search, wrong.BEAM_SEARCH),
        exercise("load_llama", file, w.load_llama, wrong.LOAD_LLAMA, forbidden=theirs),
    ]
