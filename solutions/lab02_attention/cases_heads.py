"""Lab 2's cases for heads. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given, calls

Tensor = torch.Tensor
BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64


def self_attention(draw: Draw) -> Sequence[Given]:
    """Widths all differ, but where a mistake can only show if some are equal."""
    B, T, S, C = draw.integer(2, 3), draw.integer(4, 5), draw.integer(6, 8), draw.choice([10, 12])

    def inputs(*leading: int, D: int = 6, Dv: int = 5, Cs: int = 0, dtype: torch.dtype = torch.float32) -> dict:
        """With Cs there is a context of that width."""
        given = {"x": draw.normal(*leading, T, C, dtype=dtype)}
        widths = {"w_q": (C, D), "w_k": (Cs or C, D), "w_v": (Cs or C, Dv)}
        given |= {name: draw.normal(*shape, scale=shape[0] ** -0.5, dtype=dtype) for name, shape in widths.items()}
        return {**given, "context": draw.normal(*leading, S, Cs, dtype=dtype)} if Cs else given

    causal = torch.ones(T, T, dtype=torch.bool).tril()
    some = draw.booleans(T, S)
    some[:, 0], some[0, -1] = True, False

    def cotangent(Dv: int = 5) -> Tensor:
        return draw.normal(B, T, Dv)

    def shaped(leading: list[int], context: str, mask: str, marked: bool = False, **more: Any) -> dict[str, Any]:
        """A context as long as x or not, as wide or not; masks of every shape that broadcasts."""
        given = inputs(*leading, Cs={"none": 0, "wider": C + 2}.get(context, C), **more)
        rows = T if context in ("none", "like x") else S
        if context == "like x":
            given["context"] = draw.normal(*leading, T, C, dtype=given["x"].dtype)
        shape = {
            "all": (*leading, T, rows),
            "rows": (T, rows),
            "keys": (*leading[:1], *(1 for _ in leading[1:]), 1, rows),
        }
        if mask != "none":
            given["mask"] = draw.booleans(*shape[mask])
            given["mask"][..., 0] = True
        return {**given, "marked": True} if marked else given

    def halves(dtype: torch.dtype) -> list[dict[str, Any]]:
        rows = [shaped([B], "none", "rows", dtype=dtype), shaped([], "wider", "keys", dtype=dtype)]
        return [{**row, "cotangent": draw.normal(*row["x"].shape[:-1], 5, dtype=dtype)} for row in rows]

    fields: dict[str, Sequence[Any]] = {
        "leading": [[B], [], [1], [B, 2]],
        "context": ["none", "like x", "as wide", "wider"],
    }
    fields["mask"] = ["none", "rows", "keys", "all"]
    every = crossed(fields)
    marked = [shaped([B], context, mask, marked=True) for context in ("none", "wider") for mask in ("none", "rows")]

    return [
        Given("self", "values", inputs(B), public=True),
        Given("square weights", "values", inputs(B, D=C, Dv=C), public=True),
        Given("context", "context", inputs(B, Cs=C + 4), public=True),
        Given("context of the same width", "context", inputs(B, D=C, Dv=C, Cs=C), public=True),
        Given("causal mask", "mask", {**inputs(B), "mask": causal}, public=True),
        Given("mask over a context", "mask", {**inputs(B, Cs=C - 2), "mask": some}),
        Given("gradient", "gradient", {**inputs(B), "mask": causal, "cotangent": cotangent()}, public=True),
        Given("gradient, context", "gradient", {**inputs(B, Cs=C + 1), "cotangent": cotangent()}),
        Given("an attention that doubles", "parameter", {**inputs(B), "marked": True}, public=True),
        Given("an attention that doubles, everywhere", "parameter", calls(*marked)),
        Given(
            "contexts of every shape", "context", calls(*(shaped(**row) for row in every if row["context"] != "none"))
        ),
        Given("masks of every shape", "mask", calls(*(shaped(**row) for row in every if row["context"] == "none"))),
        Given("one call after the other", "values", calls(inputs(B), inputs(B), inputs(), inputs(1), inputs(B, 2))),
        Given("16 bits", "values", calls(*halves(BF16), *halves(F16))),
        Given("float64", "values", calls(*halves(F64))),
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


MASKS = ["none", "causal", "keys", "sentences", "all", "heads"]


def mask_of(draw: Draw, kind: str, B: int, H: int, T: int) -> dict[str, Tensor]:
    """A mask of that shape, or none; every query may attend to its own token."""
    if kind == "none":
        return {}
    if kind == "keys":
        return {"mask": padding(draw, B, T)}
    if kind == "causal":
        return {"mask": torch.ones(T, T, dtype=torch.bool).tril()}
    leading = {"heads": (H,), "sentences": (B, 1)}.get(kind, (B, H))
    return {"mask": draw.booleans(*leading, T, T) | torch.eye(T, dtype=torch.bool)}


def graded(draw: Draw, inputs: dict[str, Any], mask: str = "none", scale: float = 0.3) -> dict[str, Any]:
    """Inputs with such a mask, and with gradients asked for."""
    x = inputs["x"]
    cotangent = draw.normal(*x.shape, scale=scale, dtype=x.dtype)
    return {**inputs, **mask_of(draw, mask, len(x), inputs["n_heads"], x.shape[1]), "cotangent": cotangent}


def in_common(draw: Draw, inputs: Any, H: int) -> list[Given]:
    """What heads have in common, grouped or not: equal sizes, masks, dtypes, the attention that is handed in."""
    sizes = [{}, {"T": H, "B": H}, {"T": 1, "B": 1}, {"B": 1, "D": H}, {"D": 1}]
    dtypes = {F64: ("float64", ["causal"]), BF16: ("bfloat16", ["none", "keys"]), F16: ("float16", ["causal", "keys"])}

    def masked(mask: str, T: int) -> dict[str, Any]:
        return {**inputs(B=2, T=T), **mask_of(draw, mask, 2, H, T)}

    marked = [{**masked("none", 4), "marked": True}, {**graded(draw, inputs(B=2), "heads"), "marked": True}]
    twice = [(mask, T) for mask in MASKS for T in ((4, H) if mask in ("none", "causal", "heads") else (4,))]
    return [
        Given("one call after the other", "values", calls(*(inputs(**size) for size in sizes))),
        Given("a mask after the other", "mask", calls(*(masked(*of) for of in twice), graded(draw, inputs(), "heads"))),
        Given("an attention that doubles, everywhere", "parameter", calls(*marked)),
        *(
            Given(
                f"{name}, with gradients",
                "precision",
                calls(*(graded(draw, inputs(dtype=d), m, 0.1) for m in masks)),
            )
            for d, (name, masks) in dtypes.items()
        ),
    ]


def multi_head(draw: Draw) -> Sequence[Given]:
    B, T, H, D = draw.integer(2, 3), draw.integer(5, 7), draw.choice([3, 4]), draw.choice([4, 6])
    C = H * D
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    both = causal & padding(draw, B, T)

    def inputs(**changed: Any) -> dict[str, Any]:
        return heads_inputs(draw, **{"B": B, "T": T, "C": C, "H": H, **changed})

    def shaped(mask: str, **changed: int) -> dict[str, Any]:
        return {**inputs(**changed), **mask_of(draw, mask, B, changed["H"], T)}

    fields: dict[str, Sequence[Any]] = {"mask": MASKS, "H": [H, 1], "D": [D, D - 2]}
    return [
        Given("heads", "values", inputs(), public=True),
        Given("other heads", "values", inputs(C=20, H=5)),
        Given("two heads", "values", inputs(B=1, C=16, H=2)),
        Given("causal mask", "mask", {**inputs(), "mask": causal}, public=True),
        Given("causal and padding mask", "mask", {**inputs(), "mask": both}, public=True),
        Given(
            "gradient",
            "gradient",
            {**inputs(), "mask": causal, "cotangent": draw.normal(B, T, C, scale=0.3)},
            public=True,
        ),
        Given("narrow heads", "edges", inputs(D=D - 2), public=True),
        Given("wide heads", "edges", inputs(D=D + 3)),
        Given("bfloat16", "precision", inputs(dtype=BF16), public=True),
        Given("an attention that doubles", "parameter", {**inputs(B=1), "marked": True}, public=True),
        Given("heads, widths and masks", "edges", calls(*(shaped(**row) for row in crossed(fields)))),
        *in_common(draw, inputs, H),
    ]


def grouped(draw: Draw) -> Sequence[Given]:
    B, T, K, D = draw.integer(2, 3), draw.integer(5, 7), draw.choice([2, 3]), draw.choice([4, 6])
    H = 2 * K
    C = H * D
    causal = torch.ones(T, T, dtype=torch.bool).tril()

    def inputs(**changed: Any) -> dict[str, Any]:
        return heads_inputs(draw, **{"B": B, "T": T, "C": C, "H": H, "K": K, **changed})

    def shaped(mask: str, **changed: int) -> dict[str, Any]:
        return {**inputs(**changed), **mask_of(draw, mask, B, H, T)}

    fields: dict[str, Sequence[Any]] = {"mask": MASKS, "K": [K, H], "D": [D, D + 3]}
    return [
        Given("groups, widths and masks", "edges", calls(*(shaped(**row) for row in crossed(fields)))),
        *in_common(draw, inputs, H),
        Given("gradients of every group", "gradient", calls(*(graded(draw, inputs(K=k), "all") for k in (1, K, H)))),
        Given("groups of every number", "values", calls(*(inputs(H=12, K=k, D=3) for k in (1, 2, 3, 4, 6, 12)))),
        Given("groups of two", "values", inputs(), public=True),
        Given("groups of three", "values", inputs(H=3 * K, D=D), public=True),
        Given("groups of four", "values", inputs(C=32, H=8, K=2)),
        Given("causal mask", "mask", {**inputs(), "mask": causal}, public=True),
        Given(
            "gradient",
            "gradient",
            {**inputs(), "mask": causal, "cotangent": draw.normal(B, T, C, scale=0.3)},
            public=True,
        ),
        Given("one key-value head", "edges", inputs(K=1), public=True),
        Given("bfloat16", "precision", inputs(dtype=BF16), public=True),
        Given("an attention that doubles", "parameter", {**inputs(B=1), "marked": True}, public=True),
    ]
