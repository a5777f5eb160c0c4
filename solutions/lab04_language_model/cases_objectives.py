"""Lab 4, sealed: cases of the causal loss, of masked tokens and of perplexity."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import ON_A_CARD, Given, calls

F64, BF16, F16 = torch.float64, torch.bfloat16, torch.float16
UNIT = 12.0  # of gradients, which a mean makes small


def causal_loss(draw: Draw) -> Sequence[Given]:
    V = draw.integer(6, 9)

    def inputs(B: int, T: int, dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        """No two neighbours are the same token, so that a slip of one shows."""
        steps = draw.integers(B, T, low=1, high=V)
        return {"logits": draw.normal(B, T, V, dtype=dtype, scale=2.0), "labels": steps.cumsum(1) % V, **more}

    def hidden(B: int, T: int, counts: Sequence[int], sign: int = -100, **more: Any) -> dict[str, Any]:
        """Of sequence b the first counts[b] tokens are not asked."""
        given = inputs(B, T, **more)
        for b, count in enumerate(counts):
            given["labels"][b, :count] = sign
        return given

    def slope(given: dict[str, Any], dtype: torch.dtype = torch.float32) -> dict[str, Any]:
        return {**given, "cotangent": torch.tensor(UNIT, dtype=dtype)}

    def bad(label: int, at: int, **more: Any) -> dict[str, Any]:
        given = inputs(2, 4, bad=True, **more)
        given["labels"][1, at] = label
        return given

    B, T = draw.integer(2, 3), draw.integer(5, 7)
    ends = hidden(3, T, [])
    ends["labels"][0, 2:], ends["labels"][2, 3:] = -100, -100
    zeros = inputs(2, T, ignore_index=0)
    zeros["labels"][0, 1], zeros["labels"][:, 3] = 0, 0
    large = inputs(2, T)
    large["logits"] = draw.integers(2, T, V, low=-400, high=400).float()
    many = inputs(1, 400, BF16)
    unseen = [slope(inputs(2, 4)) for _ in range(3)]
    for given, label, logit in zip(unseen, (V + 3, -7, -100), (3e4, 300.0, -3e4), strict=True):
        given["labels"][:, 0], given["logits"][0, -1], given["logits"][1, -1, 2] = label, logit, logit
    return [
        Given("one text", "shift", inputs(1, T), public=True),
        Given("a batch", "shift", inputs(B, T), public=True),
        Given("other sizes, one call after the other", "shift", calls(inputs(2, 2), inputs(1, 9), inputs(4, 3))),
        Given("large logits", "shift", large),
        Given("a prompt is not asked", "ignored", hidden(1, T, [3]), public=True),
        Given("texts of several lengths", "ignored", ends, public=True),
        Given("prompts of several lengths", "ignored", hidden(3, T, [T - 1, 1, 3])),
        Given("another ignore_index", "ignored", zeros, public=True),
        Given("none is asked", "ignored", slope(hidden(2, 3, [3, 3])), public=True),
        Given("only first tokens, and one more", "ignored",
              calls(inputs(2, 1), hidden(1, 4, [4], V, ignore_index=V), hidden(2, 4, [4, 3]))),
        Given("what is never looked at", "edges", calls(*unseen)),
        Given("gradient, none is asked", "gradient", calls(slope(inputs(2, 1)), slope(inputs(1, 1, F64), F64))),
        Given("gradient", "gradient", slope(inputs(B, T)), public=True),
        Given("gradient, a prompt", "gradient", slope(hidden(2, T, [2, 4]))),
        Given("bfloat16", "precision", slope(many), public=True),
        Given("float16 and float64", "precision", calls(inputs(1, T, F16), slope(inputs(2, 4, F16)))),
        Given("float64", "precision", slope(inputs(2, T, F64), F64)),
        Given("int32", "precision", {**(given := inputs(2, T)), "labels": given["labels"].int()}),
        Given("a label too large", "edges", bad(V, 3), public=True),
        Given("a negative label", "edges", bad(-1, 1), public=True),
        Given("-100 where it is not ignore_index", "edges", bad(-100, 2, ignore_index=0)),
    ]  # fmt: skip


def spread(draw: Draw, n: int) -> torch.Tensor:
    """(i + 1/2) / n in an order that differs between groups of students, float64."""
    return (draw.normal(n).argsort().double() + 0.5) / n


def uniforms(draw: Draw, B: int, T: int, chosen: float | None = None) -> torch.Tensor:
    """Three numbers a token, each evenly spread; with ``chosen`` the first are all below it."""
    u = torch.stack([spread(draw, B * T) for _ in range(3)]).view(3, B, T)
    if chosen is not None:
        u[0] *= chosen
    return u.float()


def mask_tokens(draw: Draw) -> Sequence[Given]:
    V = 2 * draw.integer(20, 30) + 1  # odd, so that no evenly spread number times V is whole

    def inputs(B: int, T: int, chosen: float | None = None, **more: Any) -> dict[str, Any]:
        return {
            "ids": draw.integers(B, T, low=1, high=V - 1),
            "u": uniforms(draw, B, T, chosen),
            "mask_id": V - 1,
            "vocabulary": V,
            **more,
        }

    def ends(B: int, T: int) -> torch.Tensor:
        """The first place and the last ones of each row."""
        special = torch.zeros(B, T, dtype=torch.bool)
        special[:, 0] = True
        for b in range(B):
            special[b, T - 1 - b :] = True
        return special

    fields = {"rate": [0.4, 0.9], "special": [None, ends(2, 10)], "dtype": [torch.int64, torch.int32]}
    known = [{"rate": 0.4}]
    mixed = []
    for row in crossed(fields, known):
        given = inputs(2, 10, rate=row["rate"])
        given["ids"] = given["ids"].to(row["dtype"])
        mixed.append({**given, **({"special": row["special"]} if row["special"] is not None else {})})
    borders = inputs(1, 4, rate=0.25)
    borders["u"] = torch.tensor([[[0.25, 0.1, 0.1, 0.24]], [[0.1, 0.8, 0.9, 0.79]], [[0.1, 0.2, 0.3, 0.4]]], dtype=F64)
    other = {**inputs(1, 20, 0.15), "mask_id": 0, "vocabulary": V + 10}
    wide = {**inputs(2, 20), "u": torch.stack([spread(draw, 40) for _ in range(3)]).view(3, 2, 20)}
    high = inputs(2, 10, 0.15)
    high["u"][2] = 1 - high["u"][2] / 8  # where one less than V tells
    last = {**inputs(1, 6, rate=1.0), "u": torch.full((3, 1, 6), 0.85, dtype=F64)}
    last["u"][2] = 1 - 2.0 ** -torch.arange(24, 48, 4, dtype=F64)
    close = {
        **inputs(1, 6, rate=0.3),
        "u": torch.tensor([0.3, 0.8, 0.9, 0.5, 0.8, 0.9], dtype=F64).expand(3, 1, 6).clone(),
    }
    close["u"][0] = torch.tensor([0.3, 0.3 - 1e-12, 0.3 + 1e-12, 0, 0, 0.1], dtype=F64)
    close["u"][1] += torch.tensor([0, -1e-12, -1e-12, 0, 1e-12, 1e-12], dtype=F64)
    same = {**inputs(1, 4, rate=1.0), "u": torch.full((3, 1, 4), 0.85)}
    same["ids"] = ((torch.arange(4) * 9) % V)[None]
    same["u"][2] = (same["ids"] + 0.5) / V
    return [
        Given("near the borders", "replaced", calls(last, close, same)),
        Given("on a card", "labels", {**inputs(2, 10, rate=0.9, special=ends(2, 10)), **ON_A_CARD}),
        Given("a sentence", "chosen", inputs(1, 20), public=True),
        Given("a batch", "chosen", inputs(2, 20), public=True),
        Given("float64", "chosen", wide),
        Given("all and none", "chosen", calls(inputs(2, 5, rate=1.0), inputs(1, 6, rate=0.0))),
        Given("eight, one and one of ten", "replaced", high, public=True),
        Given("eight, one and one of ten, another draw", "replaced", inputs(4, 10, 0.15)),
        Given("another mask", "replaced", other),
        Given("at the borders", "replaced", borders),
        Given("half of them are asked", "labels", inputs(2, 10, rate=0.5), public=True),
        Given("another rate", "labels", inputs(1, 20, rate=draw.choice([0.3, 0.7, 0.8]))),
        Given("special tokens", "special", inputs(2, 10, rate=0.9, special=ends(2, 10)), public=True),
        Given("every kind beside every other", "special", calls(*mixed)),
        Given("all are special", "special", inputs(1, 6, 0.15, special=torch.ones(1, 6, dtype=torch.bool))),
        Given("a rate that is none", "chosen",
              calls(*(inputs(1, 4, rate=rate, bad=True) for rate in (1.2, -0.1))), public=True),
    ]  # fmt: skip


def perplexity(draw: Draw) -> Sequence[Given]:
    V = draw.integer(5, 8)

    def inputs(T: int, context: int, stride: int, dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
        table = draw.normal(V, V, dtype=dtype)
        given = {"table": table, "scale": 0.4, "ids": draw.integers(T, high=V), "context": context, "stride": stride}
        return {**given, **more}

    T = draw.integer(5, 8)
    bad = [inputs(1, 4, 2), inputs(6, 4, 4), inputs(6, 4, 0)]
    return [
        Given("a short text", "one window", inputs(T, T + 2, 2), public=True),
        Given("a text as long as the context", "one window", calls(inputs(T, T, 3), inputs(2, 2, 1))),
        Given("two windows", "windows", inputs(T + 2, T, 2), public=True),
        Given("many windows", "windows", inputs(4 * T + 1, T, T - 2), public=True),
        Given("one token a window", "windows", inputs(T + 5, T, 1)),
        Given("a short last window", "windows", calls(inputs(3 * T, T, T - 1), inputs(17, 5, 3), inputs(18, 5, 3))),
        Given("bfloat16 and float64", "one window", calls(inputs(T, 9, 2, BF16), inputs(T, 9, 2, F64))),
        Given("what has no windows", "edges", calls(*({**one, "bad": True} for one in bad)), public=True),
    ]
