"""Lab 1's cases of teacher forcing, scores and attention. Sealed, as exercises.py."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import ON_A_CARD, Given, calls, on_a_card

from .cases_recurrent import BF16, F16, F64, any_padding, right_padding

Tensor = torch.Tensor


def teacher_forced_loss(draw: Draw) -> Sequence[Given]:
    V = draw.integer(9, 12)

    def inputs(
        *lengths: int, T: int = 0, dtype: torch.dtype = torch.float32, scale: float = 2.0, start: int = -1, V: int = V,
        **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Sentences of these lengths, padded to T or the longest; the three marks are any tokens."""
        padding, end, other, *words = draw.shuffled(range(V))
        T = T or max(lengths)
        rows = [[draw.choice(words) for _ in range(n)] + [padding] * (T - n) for n in lengths]
        target = torch.tensor(rows, dtype=torch.int64).reshape(len(lengths), T)
        marks = {"start": {-1: other, 0: padding, 1: end}[start], "end": end, "padding": padding}
        return {"table": draw.normal(V, V, scale=scale, dtype=dtype), "target": target, **marks, **more}

    a, b = draw.integer(4, 5), draw.integer(2, 3)
    many = [([b, a, 1], a, -1), ([a, 0, b], a + 1, 0), ([0, 0], b, 1), ([1], 1, 0), ([0, 1, 2, 3, 4, 5], 5, 1)]

    def halves(dtype: torch.dtype) -> list[dict[str, Any]]:
        return [inputs(b, a, 1, dtype=dtype, scale=1000.0), inputs(a, 0, dtype=dtype, gradient=True)]

    same = [inputs(1, 1, 1, 1), inputs(*[a] * a, start=1), inputs(9, 9, V=10, start=0)]
    slopes = [inputs(b, 1, start=1, gradient=True, dtype=F64)]
    slopes += [inputs(1, 0, T=3, start=0, scale=300.0, gradient=True, dtype=F64)]
    lengths = [inputs(*each, T=T, start=start) for each, T, start in many]
    first = Given("one sentence", "values", inputs(a), public=True)
    return [
        first,
        Given("as long as each other", "values", inputs(a, a, a), public=True),
        Given("one call after the other", "values", calls(*same)),
        Given("two lengths", "padding", inputs(a + 2, b), public=True),
        Given("starts with padding", "padding", inputs(b, a, 1, start=0), public=True),
        Given("a sentence without words", "padding", inputs(a, 0, b), public=True),
        Given("lengths of every kind", "padding", calls(*lengths)),
        Given("gradient", "gradient", inputs(a, b, gradient=True), public=True),
        Given("gradients, one after the other", "gradient", calls(*slopes)),
        Given("large logits", "precision", inputs(a, b, scale=300.0), public=True),
        Given("large logits, far apart", "precision", inputs(b, 1, scale=3000.0)),
        Given("float64", "precision", inputs(a, b, dtype=F64), public=True),
        Given("bfloat16", "precision", inputs(a, b, dtype=BF16), public=True),
        Given("16 bits", "precision", calls(*halves(BF16), *halves(F16))),
        on_a_card(first),
        Given("on a card, padded", "device", {**inputs(1, 0, T=2), **ON_A_CARD}),
    ]


def scores(draw: Draw) -> Sequence[Given]:
    B, T, S, Ds, Dh = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 6), draw.integer(4, 5), draw.integer(6, 7)

    def inputs(
        kind: str, Ds: int = Ds, Dh: int = Dh, T: int = T, S: int = S, dtype: torch.dtype = torch.float32, B: int = B,
        K: int = 0, cotangent: bool = False, **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """K is the rank, or the width of the hidden layer; of a dot product, states are as wide as the encoder's."""
        Ds, K = Dh if kind == "dot" else Ds, K or draw.integer(2, 4)
        shapes: dict[str, dict[str, tuple[int, ...]]] = {
            "dot": {},
            "multiplicative": {"w": (Ds, Dh)},
            "reduced": {"u": (Ds, K), "v": (Dh, K)},
            "additive": {"w_1": (Dh, K + 1), "w_2": (Ds, K + 1), "v": (K + 1,)},
        }
        weights = {name: draw.normal(*s, scale=1.3 * s[0] ** -0.5, dtype=dtype) for name, s in shapes[kind].items()}
        states = {"s": draw.normal(B, T, Ds, dtype=dtype), "h": draw.normal(B, S, Dh, dtype=dtype)}
        more = {**more, "cotangent": draw.normal(B, T, S, dtype=dtype)} if cotangent else more
        return {"kind": kind, **states, **weights, "weights": list(weights), **more}

    def bent(dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        """Of the additive score, sums in the thousands of either sign, exact in 16 bits."""
        given = inputs("additive", dtype=dtype, **more)
        sign = torch.ones(len(given["v"]))
        sign[::2] = -1
        for state, weight in (("s", "w_2"), ("h", "w_1")):
            given[state] = 16 * draw.integers(*given[state].shape, low=1, high=9).to(dtype)
            given[weight] = (draw.integers(*given[weight].shape, low=1, high=5) * sign).to(dtype)
        return given

    def halves(kind: str) -> dict[str, Any]:
        """Sums of few numbers, which arithmetic in the dtype may take in any order."""
        few: list[dict[str, Any]] = [{"T": 2, "S": 3}, {"T": 1, "S": 2, "B": 1, "K": 2, "cotangent": True}]
        rows = [inputs(kind, Ds=2, Dh=2 + n, dtype=dtype, **row) for dtype in (BF16, F16) for n, row in enumerate(few)]
        large = [bent(dtype, Ds=2, Dh=3, **few[1]) for dtype in (BF16, F16)] if kind == "additive" else []
        return calls(*rows, *large)

    def sizes(kind: str) -> dict[str, Any]:
        rows = [{"again": True}, {"T": 1}, {"S": 1}, {"B": 1, "T": 1, "S": 1, "Ds": 1}, {"T": S, "Ds": Dh, "K": 1}]
        rows += [{"B": 1, "Dh": Ds, "K": Ds}, {"B": T, "S": T, "K": Ds + 2}, {"T": S + 2, "strided": True}]
        large = [bent(), bent(Ds=Dh)] if kind == "additive" else []
        return calls(*(inputs(kind, **row) for row in rows), *large)

    def slopes(kind: str) -> dict[str, Any]:
        rows = [inputs(kind, **row, dtype=F64, cotangent=True) for row in ({"T": 1, "S": 1}, {"B": 1, "Ds": Dh})]
        return calls(*rows, *([bent(F64, cotangent=True)] if kind == "additive" else []))

    given = []
    for kind in ("dot", "multiplicative", "reduced", "additive"):
        precise = {"dtype": F64, "cotangent": True}
        given += [
            Given(kind, kind, inputs(kind), public=True),
            Given(f"{kind}, all alike", kind, inputs(kind, Ds=Dh, T=S), public=True),
            Given(f"{kind}, one call after the other", kind, sizes(kind)),
            Given(f"{kind}, gradient", kind, inputs(kind, **precise), public=kind != "dot"),
            Given(f"{kind}, gradients, one after the other", kind, slopes(kind)),
            Given(f"{kind}, 16 bits", kind, halves(kind)),
        ]
    return [*given, Given("dot, bfloat16", "dot", inputs("dot", dtype=BF16), public=True)]


def attend(draw: Draw) -> Sequence[Given]:
    B, T, S, C, Cs = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 6), draw.integer(2, 3), draw.integer(4, 5)

    def inputs(
        *returns: str, B: int = B, T: int = T, S: int = S, C: int = C, Cs: int = Cs,
        dtype: torch.dtype = torch.float32, scale: float = 1.5, cotangent: bool = False, **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        states = {"h": draw.normal(B, S, C, dtype=dtype), "s": draw.normal(B, T, Cs, dtype=dtype)}
        more = {**more, "cotangent": draw.normal(B, T, C + Cs, dtype=dtype)} if cotangent else more
        return {"scores": draw.normal(B, T, S, scale=scale, dtype=dtype), **states, "returns": list(returns), **more}

    both = ("weights", "[a; s]")

    def mask(B: int = B, S: int = S) -> Tensor:
        return right_padding(draw, B, S)

    def apart(mask: Tensor, high: float, low: float, **more: Any) -> dict[str, Any]:
        """Padding scores about ``high``, tokens about ``low``."""
        given = inputs(*both, B=len(mask), mask=mask, **more)
        far = torch.where(mask[:, None], low, high)
        return {**given, "scores": (given["scores"].float() + far).to(given["scores"].dtype)}

    def anywhere(B: int, S: int) -> list[Tensor]:
        """Padding of every kind, a token or more in each row."""
        found = [each.clone() for each in any_padding(draw, B, S)]
        for each in found:
            each[~each.any(1), draw.integer(0, S - 1)] = True
        return found

    def far(dtype: torch.dtype) -> list[dict[str, Any]]:
        """Whole numbers in the tens of thousands, exact in the dtype; tokens and padding at either end."""
        ends = [(32768.0, -32768.0), (-32768.0, 32768.0), (-49152.0, -49152.0)]
        return [apart(anywhere(2, S)[3], *each, dtype=dtype, scale=0.0) for each in ends]

    def many(S: int, dtype: torch.dtype) -> dict[str, Any]:
        """So many tokens that 16 bits cannot add up what they weigh, and states whose mean is not 0."""
        given = inputs(*both, B=1, T=2, S=S, C=2, dtype=dtype)
        return {**given, "h": given["h"] + 2}

    def halves(dtype: torch.dtype) -> list[dict[str, Any]]:
        rows = [inputs(*both, dtype=dtype), inputs(*both, dtype=dtype, mask=mask(), cotangent=True)]
        return [*rows, inputs(*both, T=S, dtype=dtype, mask=mask(), scale=2000.0), *far(dtype)]

    def padded(*returns: str) -> list[dict[str, Any]]:
        rows = [{"mask": m} for m in anywhere(B, S)[1:6]] + [{"B": S, "T": S, "mask": m} for m in anywhere(S, S)[2:4]]
        rows += [{"B": 1, "T": 1, "mask": mask(1) & (torch.arange(S) > 1)}, {"S": 1, "mask": torch.ones(B, 1).bool()}]
        rows += [{"mask": mask(), "strided": True}, {"mask": mask(B, T), "S": T}, {"S": S + 9, "mask": mask(B, S + 9)}]
        return [inputs(*returns, **row) for row in rows]

    rows = [{"again": True}, {"S": 1}, {"T": 1, "Cs": C}, {"B": 1, "T": 1, "S": 1}, {"B": T, "S": T, "C": 1, "Cs": 1}]
    rows += [{"strided": True}, {"T": S, "S": T, "scale": 20000.0}, {"C": S, "S": 40}]
    looks = [inputs("[a; s]", **row) for row in rows[:5]]
    slopes = [inputs("[a; s]", **row, cotangent=True) for row in ({"T": 1, "B": 1}, {"scale": 100.0})]
    hidden = [inputs(*both, mask=m, dtype=F64, cotangent=True) for m in anywhere(B, S)[2:4]]
    precise = [*hidden, inputs(*both, dtype=F64, cotangent=True), *far(F64)]
    return [
        Given("weights", "distribution", inputs("weights"), public=True),
        Given("large scores", "distribution", inputs("weights", scale=2000.0), public=True),
        Given("weights, one call after the other", "distribution", calls(*(inputs("weights", **row) for row in rows))),
        Given("context and state", "context", inputs("[a; s]"), public=True),
        Given("context and state, equal widths", "context", inputs("[a; s]", Cs=C), public=True),
        Given(
            "context, one call after the other",
            "context",
            calls(*looks, *slopes),
        ),
        Given("gradient", "context", inputs("[a; s]", cotangent=True), public=True),
        Given("padded source", "mask", inputs(*both, mask=mask()), public=True),
        Given("padded source, large scores", "mask", inputs(*both, mask=mask(), scale=2000.0), public=True),
        Given("padding scores far above tokens", "mask", apart(mask(), 8000.0, -8000.0), public=True),
        Given("padded source, square", "mask", inputs(*both, T=S, mask=mask()), public=True),
        Given("padding of every kind", "mask", calls(*padded(*both), *far(torch.float32))),
        Given("gradient, padding", "mask", calls(*hidden)),
        Given("float64", "precision", inputs(*both, dtype=F64), public=True),
        Given("float64, padded", "precision", calls(*precise)),
        Given("bfloat16", "precision", inputs(*both, dtype=BF16), public=True),
        Given("bfloat16, padded", "precision", calls(*halves(BF16), many(900, BF16))),
        Given("float16", "precision", calls(*halves(F16), many(3000, F16))),
    ]
