"""Lab 2's specification: references, cases and points. Sealed; students never receive this file."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Choice, Exercise, Given, Item, Part, Question
from mlsys_course import attention as component

from . import mistakes
from . import mistakes_positions as positions

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
BF16 = torch.bfloat16


def variants(draw: Draw) -> dict[str, Any]:
    """A head width and a variance to reckon with, and the four answers in a drawn order."""
    d_k, variance = draw.choice([64, 100, 144, 256]), draw.choice([0.5, 2.0, 3.0])
    right = variance * math.sqrt(d_k)
    answers = [right, variance * d_k, variance**2 * d_k, math.sqrt(variance * d_k)]
    order = draw.shuffled(range(4))
    letters = "abcd"
    options = {f"option_{letter}": f"{answers[i]:.4g}" for letter, i in zip(letters, order, strict=True)}
    return {"d_k": d_k, "variance": f"{variance:g}", **options, "scale_answer": letters[order.index(0)]}


def attention_cases(draw: Draw) -> Sequence[Given]:
    def qkv(*leading: int, T: int, S: int, D: int, Dv: int | None = None, **options: Any) -> dict[str, Any]:
        shapes = {"q": (T, D), "k": (S, D), "v": (S, Dv or D)}
        return {name: draw.normal(*leading, *shape, **options) for name, shape in shapes.items()}

    def whole(B: int, T: int, S: int) -> dict[str, Any]:
        """Scores in the hundreds, exact in float32 whatever the order of operations: whole numbers, and sqrt(D) = 4."""
        large = {name: draw.integers(B, rows, 16, low=-16, high=17).float() for name, rows in (("q", T), ("k", S))}
        return {**large, "v": draw.normal(B, S, 16)}

    def some(*shape: int) -> Tensor:
        """A drawn mask whose rows each hold a True and a False."""
        mask = draw.booleans(*shape)
        mask[..., 0], mask[..., -1] = True, False
        return mask

    B, H, T, S = draw.integer(2, 3), draw.integer(2, 3), draw.integer(5, 6), draw.integer(7, 8)
    D = draw.choice([8, 12, 16])
    given = [
        Given("one head", "values", qkv(B, T=T, S=S, D=D), public=True),
        Given("batch and heads", "values", qkv(B, H, T=T, S=S, D=D, Dv=D + 3), public=True),
        Given("no leading dimension", "values", qkv(T=T, S=T, D=D)),
        Given("one query, one key", "values", qkv(B, T=1, S=1, D=D)),
        Given("strided", "values", {**qkv(B, H, T=T, S=T, D=D), "heads_last": True}),
        Given("large scores", "stability", whole(B, T=T, S=S), public=True),
        Given("large scores, square", "stability", whole(B, T=S, S=S)),
        Given("mask", "mask", {**qkv(B, H, T=T, S=S, D=D), "mask": some(T, S)}, public=True),
        Given("mask of keys", "mask", {**qkv(B, H, T=T, S=S, D=D), "mask": some(B, 1, 1, S)}),
        Given("float64", "mask", {**qkv(B, T=T, S=S, D=D, dtype=torch.float64), "mask": some(B, T, S)}),
    ]
    for name, public in (("a query without keys", True), ("queries without keys", False)):
        mask = some(B, T, S)
        mask[: 1 if public else B, draw.integer(0, T - 1)] = False
        inputs = {**qkv(B, T=T, S=S, D=D), "mask": mask, "cotangent": draw.normal(B, T, D)}
        given.append(Given(name, "empty rows", inputs, public))
    for name, rows in (("gradient", T), ("gradient, one query", 1)):
        inputs = {**qkv(B, H, T=rows, S=S, D=D), "mask": some(rows, S), "cotangent": draw.normal(B, H, rows, D)}
        given.append(Given(name, "gradient", inputs, public=rows > 1))
    given.append(Given("bfloat16", "precision", qkv(B, H, T=T, S=S, D=D, dtype=BF16), public=True))
    given.append(Given("bfloat16, mask", "precision", {**qkv(B, T=T, S=S, D=D, dtype=BF16), "mask": some(T, S)}))
    return given


def causal_mask_cases(draw: Draw) -> Sequence[Given]:
    sizes = draw.sample(range(4, 14), 4)
    T, S = draw.integer(2, 4), draw.integer(6, 12)
    return [
        Given("square", "square", {"T": sizes[0]}, public=True),
        Given("square, other size", "square", {"T": sizes[1]}),
        Given("S stated", "square", {"T": sizes[2], "S": sizes[2]}),
        Given("one token", "square", {"T": 1}),
        Given("cached keys", "cached keys", {"T": T, "S": S}, public=True),
        Given("cached keys, other size", "cached keys", {"T": sizes[3], "S": sizes[3] + T}),
        Given("one query, cached keys", "cached keys", {"T": 1, "S": S}),
    ]


def padding_mask_cases(draw: Draw) -> Sequence[Given]:
    def batch(B: int, T: int, dtype: torch.dtype = torch.int64) -> dict[str, Any]:
        """Lengths from 1 to T - 1; the first is T - 1, where every mistake shows."""
        lengths = draw.integers(B, low=1, high=T).to(dtype)
        lengths[0] = T - 1
        return {"lengths": lengths, "T": T}

    B, T = draw.integer(3, 5), draw.integer(6, 11)
    with_ends = torch.tensor([0, T, draw.integer(1, T - 1)])
    return [
        Given("batch", "values", batch(B, T), public=True),
        Given("batch, other size", "values", batch(B + 1, T + 2)),
        Given("one sequence", "values", batch(1, T)),
        Given("int32", "values", batch(B, T, torch.int32)),
        Given("empty and full", "edges", {"lengths": with_ends, "T": T}, public=True),
        Given("one token", "edges", {"lengths": torch.tensor([1, 0, 1]), "T": 1}),
    ]


def heads_inputs(
    draw: Draw, B: int, T: int, C: int, H: int, K: int | None = None, D: int | None = None, dtype=torch.float32
) -> dict[str, Any]:
    """x, weights and numbers of heads; D is C / H unless stated, and without K there are no key-value heads."""
    D = D or C // H
    widths = {"w_q": (C, H * D), "w_k": (C, (K or H) * D), "w_v": (C, (K or H) * D), "w_o": (H * D, C)}
    weights = {name: draw.normal(*shape, scale=C**-0.5, dtype=dtype) for name, shape in widths.items()}
    heads = {"n_heads": H} if K is None else {"n_heads": H, "n_kv_heads": K}
    return {"x": draw.normal(B, T, C, dtype=dtype), **weights, **heads}


def padding(draw: Draw, B: int, T: int) -> Tensor:
    """(B, 1, 1, T) with at least one token a sequence, and padding in at least one."""
    lengths = draw.integers(B, low=1, high=T + 1)
    lengths[0] = T - 2
    return torch.arange(T)[None, None, None] < lengths[:, None, None, None]


def multi_head_cases(draw: Draw) -> Sequence[Given]:
    B, T, H, D = draw.integer(2, 3), draw.integer(5, 7), draw.choice([3, 4]), draw.choice([4, 6])
    C = H * D
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    both = causal & padding(draw, B, T)

    def inputs(**changed: Any) -> dict[str, Any]:
        return heads_inputs(draw, **{"B": B, "T": T, "C": C, "H": H, **changed})

    return [
        Given("heads", "values", inputs(), public=True),
        Given("other heads", "values", inputs(C=20, H=5)),
        Given("two heads", "values", inputs(B=1, C=16, H=2)),
        Given("causal mask", "mask", {**inputs(), "mask": causal}, public=True),
        Given("causal and padding mask", "mask", {**inputs(), "mask": both}, public=True),
        Given("padding mask", "mask", {**inputs(), "mask": padding(draw, B, T)}),
        Given(
            "gradient",
            "gradient",
            {**inputs(), "mask": causal, "cotangent": draw.normal(B, T, C, scale=0.3)},
            public=True,
        ),
        Given("gradient, no mask", "gradient", {**inputs(), "cotangent": draw.normal(B, T, C, scale=0.3)}),
        Given("narrow heads", "edges", inputs(D=D - 2), public=True),
        Given("wide heads", "edges", inputs(D=D + 3)),
        Given("one head", "edges", inputs(H=1)),
        Given("one token", "edges", inputs(T=1)),
        Given("bfloat16", "precision", inputs(dtype=BF16), public=True),
        Given("bfloat16, causal", "precision", {**inputs(dtype=BF16), "mask": causal}),
    ]


def grouped_query_cases(draw: Draw) -> Sequence[Given]:
    B, T, K, D = draw.integer(2, 3), draw.integer(5, 7), draw.choice([2, 3]), draw.choice([4, 6])
    H = 2 * K
    C = H * D
    causal = torch.ones(T, T, dtype=torch.bool).tril()

    def inputs(**changed: Any) -> dict[str, Any]:
        return heads_inputs(draw, **{"B": B, "T": T, "C": C, "H": H, "K": K, **changed})

    return [
        Given("groups of two", "values", inputs(), public=True),
        Given("groups of three", "values", inputs(H=3 * K, D=D), public=True),
        Given("groups of four", "values", inputs(C=32, H=8, K=2)),
        Given("causal mask", "mask", {**inputs(), "mask": causal}, public=True),
        Given("padding mask", "mask", {**inputs(), "mask": padding(draw, B, T)}),
        Given(
            "gradient",
            "gradient",
            {**inputs(), "mask": causal, "cotangent": draw.normal(B, T, C, scale=0.3)},
            public=True,
        ),
        Given("gradient, no mask", "gradient", {**inputs(), "cotangent": draw.normal(B, T, C, scale=0.3)}),
        Given("one key-value head", "edges", inputs(K=1), public=True),
        Given("as many as heads", "edges", inputs(K=H)),
        Given("one token", "edges", inputs(T=1)),
        Given("bfloat16", "precision", inputs(dtype=BF16), public=True),
        Given("bfloat16, causal", "precision", {**inputs(dtype=BF16), "mask": causal}),
    ]


def sinusoidal_cases(draw: Draw) -> Sequence[Given]:
    T, C = draw.integer(6, 20), 2 * draw.integer(3, 10)
    bases = draw.sample([20.0, 100.0, 500.0, 2000.0], 2)
    return [
        Given("even width", "values", {"T": T, "C": C}, public=True),
        Given("other width", "values", {"T": T + 7, "C": C + 4}),
        Given("longer", "values", {"T": draw.integer(40, 60), "C": 8}),
        Given("base", "base", {"T": T, "C": C, "base": bases[0]}, public=True),
        Given("other base", "base", {"T": T + 1, "C": C + 2, "base": bases[1]}),
        Given("one position", "edges", {"T": 1, "C": C}, public=True),
        Given("one pair", "edges", {"T": T, "C": 2}),
    ]


def rotary_cases(draw: Draw) -> Sequence[Given]:
    B, H, T, D = draw.integer(2, 3), draw.integer(2, 3), draw.integer(5, 9), 2 * draw.integer(3, 6)
    near, far = draw.sample(range(3, 25), 2), draw.sample(range(300, 480), 2)
    base = draw.choice([100.0, 500.0, 2000.0])
    return [
        Given("batch and heads", "values", {"x": draw.normal(B, H, T, D)}, public=True),
        Given("no leading dimension", "values", {"x": draw.normal(T, D)}),
        Given("one pair", "values", {"x": draw.normal(B, T, 2)}),
        Given("float64", "values", {"x": draw.normal(B, T, D, dtype=torch.float64)}),
        Given("offset", "offset", {"x": draw.normal(B, T, D), "offset": near[0]}, public=True),
        Given("one token at an offset", "offset", {"x": draw.normal(B, H, 1, D), "offset": near[1]}),
        Given("base", "base", {"x": draw.normal(B, T, D), "base": base}, public=True),
        Given("base and offset", "base", {"x": draw.normal(T, D), "base": base + 50, "offset": near[1]}),
        Given(
            "bfloat16", "precision", {"x": draw.normal(B, T, D, scale=4.0, dtype=BF16), "offset": far[0]}, public=True
        ),
        Given("bfloat16, other", "precision", {"x": draw.normal(H, T, D, scale=4.0, dtype=BF16), "offset": far[1]}),
        Given("gradient", "gradient", {"x": draw.normal(B, T, D), "cotangent": draw.normal(B, T, D)}, public=True),
        Given("gradient, one pair", "gradient", {"x": draw.normal(T, 2), "cotangent": draw.normal(T, 2), "offset": 2}),
    ]


def scores_elements(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> int:
    """What a call of ``attention`` makes: elements of the scores, as a mask may broadcast them, and of the output."""
    leading = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    scores = torch.Size([*leading, q.shape[-2], k.shape[-2]])
    masked = scores if mask is None else torch.broadcast_shapes(scores, mask.shape)
    return math.prod(masked) + math.prod(masked[:-1]) * v.shape[-1]


def exercise(id: str, module: str, points: dict[str, float], cases: Any, wrong: Any, **rest: Any) -> Exercise:
    """An exercise whose reference has its id as a name."""
    where = f"mlsys_course.attention.{module}"
    return Exercise(id, where, getattr(component, id), points, cases, wrong, forbidden=FORBIDDEN, **rest)


def exercises(v: dict[str, Any]) -> list[Item]:
    """The lab's items in the notebook's order; 100 points."""
    scores = {"values": 6, "stability": 2, "mask": 4, "empty rows": 2, "gradient": 3, "precision": 3}
    heads = {"values": 7, "mask": 4, "gradient": 3, "edges": 3, "precision": 1}
    groups = {"values": 5, "mask": 3, "gradient": 2, "edges": 3, "precision": 1}
    turns = {"values": 6, "offset": 3, "base": 1, "precision": 2, "gradient": 2}
    part = {"attention": Part(component.attention, scores_elements)}
    rubric = [
        (2.0, "says that attention without positions is permutation equivariant: outputs move with their tokens"),
        (1.0, "says what follows for the sentence: as a bag of rows, its outputs are the same in any order"),
        (2.0, "says how sinusoidal and rotary positions each break it: added to the input, turning q and k"),
    ]
    near = {"float32": 1e-4, "float64": 1e-4}  # float32 angles are good to about 1e-5 where they are largest
    return [
        exercise("attention", "scaled_dot_product", scores, attention_cases, mistakes.ATTENTION),
        Choice("scale_choice", 3, ["a", "b", "c", "d"], v["scale_answer"]),
        exercise("causal_mask", "masks", {"square": 5, "cached keys": 3}, causal_mask_cases, mistakes.CAUSAL_MASK),
        exercise("padding_mask", "masks", {"values": 6, "edges": 2}, padding_mask_cases, mistakes.PADDING_MASK),
        exercise(
            "multi_head_attention", "multi_head", heads, multi_head_cases, mistakes.MULTI_HEAD_ATTENTION, parts=part
        ),
        exercise(
            "grouped_query_attention",
            "multi_head",
            groups,
            grouped_query_cases,
            mistakes.GROUPED_QUERY_ATTENTION,
            parts=part,
        ),
        exercise(
            "sinusoidal_positions",
            "positions",
            {"values": 6, "base": 2, "edges": 2},
            sinusoidal_cases,
            positions.SINUSOIDAL_POSITIONS,
            tolerance=near,
        ),
        exercise("rotary_positions", "positions", turns, rotary_cases, positions.ROTARY_POSITIONS, tolerance=near),
        Question("word_order", rubric),
    ]
