"""Lab 2's cases for decoding from a cache. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given, calls

from .cases_heads import heads_inputs

BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64


def cached_attention(draw: Draw) -> Sequence[Given]:
    B, K, D = draw.integer(2, 3), draw.choice([2, 3]), draw.choice([8, 10])  # more than there are heads
    H, S = 2 * K, draw.integer(4, 6)

    def inputs(*pieces: int, past: int = 0, **changed: Any) -> dict[str, Any]:
        """Tokens that come in pieces; ``past`` counts those whose keys and values are there already."""
        given = {"B": B, "T": sum(pieces), "C": H * D, "H": H, "K": K, **changed}
        made = {**heads_inputs(draw, **given), "pieces": list(pieces)}
        if past:
            shape = (given["B"], given["K"], past, given.get("D") or given["C"] // given["H"])
            kind = made["x"].dtype
            made |= {"past_k": draw.normal(*shape, dtype=kind), "past_v": draw.normal(*shape, dtype=kind)}
        return made

    wide = {"C": H * D + 2, "D": D - 2}
    pasts = [(S + 1, S), (3, 1), (1, 1), (2 * S, S)]
    nexts = [inputs(T, past=past, B=b) for b, (T, past) in enumerate(pasts, 1)]
    nexts += [
        inputs(2, past=S, **wide),
        inputs(2, past=S, K=1),
        inputs(2, past=S, H=6, K=3, D=4),
        inputs(2, past=S, K=H),
    ]
    firsts = [
        inputs(5, **wide),
        inputs(5, C=H * D - 4, D=D),
        inputs(1, H=1, K=1),
        inputs(K, H=6, K=3, D=3),
        inputs(3, K=1),
        inputs(2, K=H),
    ]
    pieces = [inputs(1, 4, 2, **wide), inputs(2, 2, 2), inputs(2, 2, 2), inputs(1, 5, B=1, K=1), inputs(3, 4, K=H)]
    marked = calls(*({**given, "marked": True} for given in (inputs(3), inputs(1, past=S), inputs(2, 2))))
    return [
        Given("first tokens", "first tokens", inputs(5), public=True),
        Given("first token", "first tokens", inputs(1)),
        Given("next token", "next tokens", inputs(1, past=S), public=True),
        Given("next tokens", "next tokens", inputs(3, past=S), public=True),
        Given("bfloat16", "next tokens", inputs(2, past=S, dtype=BF16)),
        Given("piece by piece", "piece by piece", inputs(3, 1, 2), public=True),
        Given("token by token", "piece by piece", inputs(1, 1, 1, 1, 1)),
        Given("first tokens, other sizes", "first tokens", calls(*firsts)),
        Given("next tokens, one call after the other", "next tokens", calls(*nexts)),
        Given("pieces, one call after the other", "piece by piece", calls(*pieces)),
        Given("an attention that doubles", "next tokens", marked, public=True),
        Given("float16", "next tokens", calls(inputs(2, past=S, dtype=F16), inputs(3, dtype=F16))),
        Given("float64", "next tokens", calls(inputs(2, past=S, dtype=F64), inputs(3, dtype=F64))),
    ]


def kv_cache(draw: Draw) -> Sequence[Given]:
    B, K, D = draw.integer(2, 3), draw.integer(2, 3), draw.choice([4, 6])

    def inputs(capacity: int, *pieces: int, Dv: int | None = None, dtype: torch.dtype = torch.float32) -> dict:
        new = [
            {"k": draw.normal(B, K, T, D, dtype=dtype), "v": draw.normal(B, K, T, Dv or D, dtype=dtype)} for T in pieces
        ]
        return {"capacity": capacity, "new": new}

    T = draw.integer(2, 4)
    beside = {"beside": True}
    kinds = [inputs(9, 2, T, 1, dtype=dtype) for dtype in (F16, BF16)]
    refused = [
        inputs(5, 3, 3, 3, 2),
        inputs(4, 4, 1, 4),
        inputs(6, 5, 2, 7, 1, 1),
        inputs(2, 3, 3, 1, 1),
        inputs(3, 1, 2, 3, 1),
        inputs(T + 1, T, 2, 1),
    ]
    sizes = [inputs(1, 1), inputs(40, 5, 6, 20, 1, Dv=D + 1), inputs(T + 2, T, 2), inputs(3, 3, Dv=1)]
    one = [inputs(5, 1, 1, 1, 1), inputs(40, 5, 4, 20, 1, Dv=D + 1), inputs(3, 3), inputs(2, 1, 1), inputs(70, 33, 33)]
    return [
        Given("token by token", "contents", inputs(8, 1, 1, 1), public=True),
        Given("pieces", "contents", inputs(12, T, 1, 3), public=True),
        Given("one memory", "one memory", {**inputs(9, T, 1, 2), "memory": True}, public=True),
        Given("full", "full", inputs(5, 3, 3), public=True),
        Given("full, and on", "full", inputs(5, 3, 3, 2), public=True),
        Given("caches side by side", "contents", calls(*(given | beside for given in (*sizes, inputs(9, 2, T, 1))))),
        Given("16 bits", "contents", calls(*kinds)),
        Given("float64", "contents", calls(inputs(9, 2, T, 1, dtype=F64), inputs(4, 1, 3, dtype=F64))),
        Given("one memory, other sizes", "one memory", calls(*({**given, "memory": True} for given in one))),
        Given("full again and again", "full", calls(*refused, refused[0] | beside)),
    ]
