"""Lab 1's cases of sequence to sequence and of attention. Sealed, as exercises.py."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

from .cases_recurrent import BF16, F64, cell_weights, right_padding

Tensor = torch.Tensor


def teacher_forced_loss(draw: Draw) -> Sequence[Given]:
    V = draw.integer(9, 12)

    def inputs(
        *lengths: int, T: int = 0, dtype: torch.dtype = torch.float32, scale: float = 2.0, start: int = -1, **more: Any
    ) -> dict[str, Any]:
        """Sentences of these lengths, padded to T or the longest; the three marks are any tokens."""
        padding, end, other, *words = draw.shuffled(range(V))
        T = T or max(lengths)
        rows = [[draw.choice(words) for _ in range(n)] + [padding] * (T - n) for n in lengths]
        target = torch.tensor(rows, dtype=torch.int64).reshape(len(lengths), T)
        marks = {"start": {-1: other, 0: padding, 1: end}[start], "end": end, "padding": padding}
        return {"table": draw.normal(V, V, scale=scale, dtype=dtype), "target": target, **marks, **more}

    a, b = draw.integer(4, 5), draw.integer(2, 3)
    return [
        Given("one sentence", "values", inputs(a), public=True),
        Given("as long as each other", "values", inputs(a, a, a), public=True),
        Given("one word each", "values", inputs(1, 1, 1, 1)),
        Given("starts with the end mark", "values", inputs(a, a, start=1)),
        Given("two lengths", "padding", inputs(a + 2, b), public=True),
        Given("starts with padding", "padding", inputs(b, a, 1, start=0), public=True),
        Given("padded more than it needs", "padding", inputs(a, b, T=a + 3)),
        Given("a sentence without words", "padding", inputs(a, 0, b), public=True),
        Given("nothing but the end", "padding", inputs(0, 0, T=b)),
        Given("gradient", "gradient", inputs(a, b, gradient=True), public=True),
        Given("gradient, float64", "gradient", inputs(b, a, 1, gradient=True, dtype=F64)),
        Given("large logits", "precision", inputs(a, b, scale=300.0), public=True),
        Given("float64", "precision", inputs(a, b, dtype=F64), public=True),
        Given("bfloat16", "precision", inputs(a, b, dtype=BF16), public=True),
        Given("bfloat16, one sentence", "precision", inputs(a, dtype=BF16)),
    ]


def scores(draw: Draw) -> Sequence[Given]:
    B, T, S, Ds, Dh = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 6), draw.integer(4, 5), draw.integer(6, 7)

    def inputs(
        kind: str, Ds: int = Ds, Dh: int = Dh, T: int = T, S: int = S, dtype: torch.dtype = torch.float32, **more: Any
    ) -> dict[str, Any]:
        K, A = draw.integer(2, 3), draw.integer(3, 5)
        shapes: dict[str, dict[str, tuple[int, ...]]] = {
            "dot": {},
            "multiplicative": {"w": (Ds, Dh)},
            "reduced": {"u": (Ds, K), "v": (Dh, K)},
            "additive": {"w_1": (Dh, A), "w_2": (Ds, A), "v": (A,)},
        }
        weights = {name: draw.normal(*s, scale=1.3 * s[0] ** -0.5, dtype=dtype) for name, s in shapes[kind].items()}
        states = {"s": draw.normal(B, T, Ds, dtype=dtype), "h": draw.normal(B, S, Dh, dtype=dtype)}
        return {"kind": kind, **states, **weights, "weights": list(weights), **more}

    given = []
    for kind in ("dot", "multiplicative", "reduced", "additive"):
        wide = {"Ds": Dh} if kind == "dot" else {}
        same = {"Ds": Dh, "T": S}
        given += [
            Given(kind, kind, inputs(kind, **wide), public=True),
            Given(f"{kind}, all alike", kind, inputs(kind, **same), public=True),
            Given(f"{kind}, one token each", kind, inputs(kind, T=1, S=1, **wide)),
            Given(
                f"{kind}, gradient",
                kind,
                inputs(kind, **wide, dtype=F64, cotangent=draw.normal(B, T, S, dtype=F64)),
                public=kind != "dot",
            ),
            Given(f"{kind}, bfloat16", kind, inputs(kind, **wide, dtype=BF16), public=kind == "dot"),
        ]
    return given


def attend(draw: Draw) -> Sequence[Given]:
    B, T, S, C, Cs = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 6), draw.integer(2, 3), draw.integer(4, 5)

    def inputs(
        *returns: str, T: int = T, S: int = S, Cs: int = Cs, dtype: torch.dtype = torch.float32, scale: float = 1.5,
        **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        states = {"h": draw.normal(B, S, C, dtype=dtype), "s": draw.normal(B, T, Cs, dtype=dtype)}
        return {"scores": draw.normal(B, T, S, scale=scale, dtype=dtype), **states, "returns": list(returns), **more}

    both = ("weights", "[a; s]")
    first = torch.zeros(B, S, dtype=torch.bool)
    first[:, 0] = True

    def mask() -> Tensor:
        return right_padding(draw, B, S)

    def padding_first() -> dict[str, Any]:
        """Padding scores thousands above zero, tokens thousands below."""
        given = inputs(*both, mask=mask())
        given["scores"] += torch.where(given["mask"][:, None], -8000.0, 8000.0)
        return given

    return [
        Given("weights", "distribution", inputs("weights"), public=True),
        Given("weights, square", "distribution", inputs("weights", T=S)),
        Given("large scores", "distribution", inputs("weights", scale=2000.0), public=True),
        Given("one source token", "distribution", inputs("weights", S=1)),
        Given("context and state", "context", inputs("[a; s]"), public=True),
        Given("context and state, equal widths", "context", inputs("[a; s]", Cs=C), public=True),
        Given("one step", "context", inputs("[a; s]", T=1)),
        Given("gradient", "context", inputs("[a; s]", cotangent=draw.normal(B, T, C + Cs)), public=True),
        Given("padded source", "mask", inputs(*both, mask=mask()), public=True),
        Given("padded source, large scores", "mask", inputs(*both, mask=mask(), scale=2000.0), public=True),
        Given("padding scores far above tokens", "mask", padding_first(), public=True),
        Given("padded source, square", "mask", inputs(*both, T=S, mask=right_padding(draw, B, S)), public=True),
        Given("one token, the rest padding", "mask", inputs(*both, mask=first)),
        Given("padded source, gradient", "mask", inputs(*both, mask=mask(), cotangent=draw.normal(B, T, C + Cs))),
        Given("float64", "precision", inputs(*both, dtype=F64), public=True),
        Given("bfloat16", "precision", inputs(*both, dtype=BF16), public=True),
        Given("bfloat16, padded", "precision", inputs(*both, dtype=BF16, mask=mask())),
    ]


def seq2seq(draw: Draw) -> Sequence[Given]:
    B, T, S, Cx, C = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 6), draw.integer(4, 5), draw.integer(2, 3)

    def inputs(
        B: int = B, T: int = T, S: int = S, V: int = 7, Vs: int = 11, padded: bool = False, dtype=torch.float32,
        cotangent: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        cells = {kind: cell_weights(draw, Cx, C, dtype) for kind in ("encoder", "decoder")}
        given = {f"{kind}_{name}": w for kind, cell in cells.items() for name, w in cell.items()}
        shapes = {"source_embedding": (Vs, Cx), "target_embedding": (V, Cx), "output": (2 * C, V), "output_bias": (V,)}
        given |= {name: draw.normal(*shape, dtype=dtype) for name, shape in shapes.items()}
        given |= {"source": draw.integers(B, S, high=Vs), "inputs": draw.integers(B, T, high=V)}
        given["mask"] = right_padding(draw, B, S) if padded else torch.ones(B, S, dtype=torch.bool)
        return {**given, "cotangent": draw.normal(B, T, V, dtype=dtype)} if cotangent else given

    return [
        Given("no padding", "values", inputs(), public=True),
        Given("other sizes", "values", inputs(B + 1, T + 2, S + 1, V=9)),
        Given("one word each", "values", inputs(T=1, S=1)),
        Given("one sentence", "values", inputs(B=1)),
        Given("float64", "values", inputs(dtype=F64), public=True),
        Given("padding", "padding", inputs(padded=True), public=True),
        Given("padding, as long as the source", "padding", inputs(T=S, padded=True), public=True),
        Given("padding, other sizes", "padding", inputs(B + 1, T + 1, S + 2, padded=True)),
        Given("gradient", "gradient", inputs(padded=True, dtype=F64, cotangent=True), public=True),
        Given("gradient, no padding", "gradient", inputs(dtype=F64, cotangent=True)),
    ]


def input_feeding(draw: Draw) -> Sequence[Given]:
    B, T, S, Cy = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 6), draw.integer(3, 4)
    C, Ch = draw.integer(2, 3), draw.integer(4, 5)

    def inputs(
        T: int = T, Ch: int = Ch, B: int = B, S: int = S, dtype: torch.dtype = torch.float32, **more: Any
    ) -> dict[str, Any]:
        states = {"s_0": draw.normal(B, C, dtype=dtype), "h": draw.normal(B, S, Ch, dtype=dtype)}
        return {"y": draw.normal(B, T, Cy, dtype=dtype), **states, **cell_weights(draw, Cy + Ch, C, dtype), **more}

    return [
        Given("some steps", "values", inputs(), public=True),
        Given("equal widths", "values", inputs(Ch=Cy), public=True),
        Given("one step", "values", inputs(T=1)),
        Given("more steps", "values", inputs(T=T + 3)),
        Given("padded source", "mask", inputs(mask=right_padding(draw, B, S)), public=True),
        Given("padded source, one sentence", "mask", inputs(B=1, mask=torch.arange(S)[None] < S - 2)),
        Given("gradient", "values", inputs(dtype=F64, cotangent=draw.normal(B, T, Ch + C, dtype=F64)), public=True),
        Given("one source token", "values", inputs(S=1)),
    ]
