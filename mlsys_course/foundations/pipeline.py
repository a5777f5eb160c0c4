"""``pipeline()``: a model between what makes numbers of an input and what makes an answer of numbers."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from .softmax import softmax


def pipeline(
    preprocess: Callable[[Any], Any], forward: Callable[[Any], Any], postprocess: Callable[[Any], Any]
) -> Callable[[Any], list]:
    """A function that passes an input through the three stages, and returns a list with one answer for each input.

    A list is several inputs, each of which goes through on its own; anything else is one. Lecture 000, "Transformer
    everywhere"; Hugging Face's ``pipeline()`` has the same stages. Lab 0, exercise ``pipeline``.
    """

    def run(inputs: Any) -> list:
        several = inputs if isinstance(inputs, list) else [inputs]
        return [postprocess(forward(preprocess(one))) for one in several]

    return run


def best_label(logits: Tensor, labels: Sequence[str]) -> dict[str, Any]:
    """The label with the largest logit and its probability: what a pipeline that classifies answers."""
    score, index = softmax(logits).max(-1)
    return {"label": labels[int(index)], "score": float(score)}
