"""Lab 4, sealed: exercises and points. Cases and misconceptions stand beside."""

import math
from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Item, Question, exercises_of
from mlsys_course import language_model

from . import cases_objectives, cases_tokens, mistakes_objectives, mistakes_tokens

exercise = exercises_of(language_model)


def variants(draw: Draw) -> dict[str, Any]:
    """A loss and a length of tokens to reckon with, and the four answers in a drawn order."""
    letters, nats = draw.choice([2.5, 3.2, 4.0, 4.4]), draw.choice([2.6, 3.0, 3.4, 3.9])
    right = nats / math.log(2) / letters
    answers = [right, nats / letters, nats / math.log(2), nats * math.log(2) / letters]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": f"{answers[i]:.3g}" for letter, i in zip("abcd", order, strict=True)}
    return {"letters": f"{letters:g}", "nats": f"{nats:g}", **options, "bits_answer": "abcd"[order.index(0)]}


def exercises(v: dict[str, Any]) -> list[Item]:
    """The lab's items in the notebook's order."""
    return [*_tokens(), *_objectives(v)]


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
