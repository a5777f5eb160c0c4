"""Lab 2's specification: references and points; cases and mistakes lie beside. Sealed: no student's."""

import math
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Choice, Exercise, Item, Part, Question, exercises_of
from mlsys_course import attention

from . import cases_attention, cases_cache, cases_heads, cases_masks, cases_positions, mistakes, mistakes_heads

FORBIDDEN = (
    "torch.nn.functional.scaled_dot_product_attention",
    "torch.nn.functional.multi_head_attention_forward",
    "torch._native_multi_head_attention",
    "torch._scaled_dot_product_attention_math",
    "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu",
    "torch.ops.aten._scaled_dot_product_efficient_attention",
    "torch.ops.aten._scaled_dot_product_flash_attention",
    "torch.ops.aten._scaled_dot_product_cudnn_attention",
    "torch.nn.MultiheadAttention",
    "torch.nn.TransformerEncoderLayer",
)
Tensor = torch.Tensor


def variants(draw: Draw) -> dict[str, Any]:
    """A head width and a variance to reckon with, and the four answers in a drawn order."""
    d_k, variance = draw.choice([64, 100, 144, 256]), draw.choice([0.5, 2.0, 3.0])
    right = variance * math.sqrt(d_k)
    answers = [right, variance * d_k, variance**2 * d_k, math.sqrt(variance * d_k)]
    order = draw.shuffled(range(4))
    letters = "abcd"
    options = {f"option_{letter}": f"{answers[i]:.4g}" for letter, i in zip(letters, order, strict=True)}
    return {"d_k": d_k, "variance": f"{variance:g}", **options, "scale_answer": letters[order.index(0)]}


def scores_elements(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> int:
    """What a call of ``attention`` makes: elements of the scores, as a mask may broadcast them, and of the output."""
    try:
        leading = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
        scores = torch.Size([*leading, q.shape[-2], k.shape[-2]])
        masked = scores if mask is None else torch.broadcast_shapes(scores, mask.shape)
    except RuntimeError:
        return 0  # nothing is computed: the reference says what does not fit
    return math.prod(masked) + math.prod(masked[:-1]) * v.shape[-1]


exercise = exercises_of(attention, forbidden=FORBIDDEN)
PART = {"attention": Part(attention.attention, scores_elements)}


def exercises(v: dict[str, Any]) -> list[Item]:
    """The lab's items in the notebook's order; 100 points, and 20 more for extensions."""
    return [*_attention_and_masks(v), *_heads(), *_positions(), *_cache()]


def _attention_and_masks(v: dict[str, Any]) -> list[Item]:
    scores = {"values": 6, "stability": 2, "mask": 4, "empty rows": 2, "gradient": 3, "precision": 3}
    cases, wrong = cases_masks, mistakes
    return [
        exercise("attention", scores, cases_attention.attention, wrong.ATTENTION),
        Choice("scale_choice", 3, ["a", "b", "c", "d"], v["scale_answer"]),
        exercise("causal_mask", {"square": 4, "cached keys": 2, "device": 1}, cases.causal_mask, wrong.CAUSAL_MASK),
        exercise("padding_mask", {"values": 3, "edges": 2, "device": 1}, cases.padding_mask, wrong.PADDING_MASK),
        extension("window_mask", {"square": 1, "cached keys": 1, "device": 1}, cases.window_mask, wrong.WINDOW_MASK),
        extension("prefix_mask", {"values": 1, "edges": 1}, cases.prefix_mask, wrong.PREFIX_MASK),
        extension("document_mask", {"values": 1, "edges": 1, "device": 1}, cases.document_mask, wrong.DOCUMENT_MASK),
    ]


def extension(*given: Any, **rest: Any) -> Exercise:
    """An exercise for bonus points."""
    return exercise(*given, kind="extension", **rest)


def _heads() -> list[Item]:
    one = {"values": 3, "context": 2, "mask": 1, "gradient": 1, "parameter": 1}
    heads = {"values": 5, "mask": 4, "gradient": 2, "edges": 3, "precision": 1, "parameter": 1}
    groups = {"values": 4, "mask": 3, "gradient": 2, "edges": 2, "precision": 1, "parameter": 1}
    cases, wrong = cases_heads, mistakes_heads
    return [
        exercise("self_attention", one, cases.self_attention, wrong.SELF_ATTENTION, parts=PART),
        exercise("multi_head_attention", heads, cases.multi_head, wrong.MULTI_HEAD, parts=PART),
        exercise("grouped_query_attention", groups, cases.grouped, wrong.GROUPED_QUERY, parts=PART),
    ]


def _positions() -> list[Item]:
    waves, turns = (
        {"values": 4, "base": 1, "edges": 2, "device": 1},
        {"values": 5, "offset": 3, "base": 1, "precision": 2},
    )
    turns |= {"gradient": 2, "device": 1}
    near = {"float32": 1e-4, "float64": 1e-4}  # float32 angles are good to about 1e-5 where they are largest
    cases, wrong = cases_positions, mistakes
    rubric = [
        (2.0, "says that attention without positions is permutation equivariant: outputs move with their tokens"),
        (1.0, "says what follows for the sentence: as a bag of rows, its outputs are the same in any order"),
        (2.0, "says how sinusoidal and rotary positions each break it: added to the input, turning q and k"),
    ]
    return [
        exercise("sinusoidal_positions", waves, cases.sinusoidal, wrong.SINUSOIDAL, tolerance=near),
        extension("learned_positions", {"rows": 1, "beyond": 1}, cases.learned, wrong.LEARNED),
        exercise("rotary_positions", turns, cases.rotary, wrong.ROTARY, tolerance=near),
        Question("word_order", rubric),
    ]


def _cache() -> list[Item]:
    steps = {"first tokens": 1, "next tokens": 2, "piece by piece": 2, "device": 1}
    keeps = {"contents": 1, "one memory": 1, "full": 1, "device": 1}
    cases, wrong = cases_cache, mistakes_heads
    return [
        extension("cached_attention", steps, cases.cached_attention, wrong.CACHED_ATTENTION, parts=PART),
        extension("KVCache", keeps, cases.kv_cache, wrong.KV_CACHE),
    ]
