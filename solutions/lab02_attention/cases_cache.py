"""Lab 2's cases for decoding from a cache. Sealed, as exercises.py, which reads them."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

from .cases_heads import heads_inputs

BF16 = torch.bfloat16


def cached_attention(draw: Draw) -> Sequence[Given]:
    B, K, D = draw.integer(2, 3), draw.choice([2, 3]), draw.choice([8, 10])  # more than there are heads
    H, S = 2 * K, draw.integer(4, 6)

    def inputs(*pieces: int, past: int = 0, **changed: Any) -> dict[str, Any]:
        """Tokens that come in pieces; ``past`` counts those whose keys and values are there already."""
        given = {"B": B, "T": sum(pieces), "C": H * D, "H": H, "K": K, **changed}
        made = {**heads_inputs(draw, **given), "pieces": list(pieces)}
        if past:
            shape = (given["B"], given["K"], past, given["C"] // given["H"])
            kind = made["x"].dtype
            made |= {"past_k": draw.normal(*shape, dtype=kind), "past_v": draw.normal(*shape, dtype=kind)}
        return made

    return [
        Given("first tokens", "first tokens", inputs(5), public=True),
        Given("first token", "first tokens", inputs(1)),
        Given("multi-query", "first tokens", inputs(4, K=1)),
        Given("as many as heads", "first tokens", inputs(4, K=H)),
        Given("next token", "next tokens", inputs(1, past=S), public=True),
        Given("next tokens", "next tokens", inputs(3, past=S), public=True),
        Given("next tokens, other sizes", "next tokens", inputs(2, past=S + 3, B=1)),
        Given("bfloat16", "next tokens", inputs(2, past=S, dtype=BF16)),
        Given("piece by piece", "piece by piece", inputs(3, 1, 2), public=True),
        Given("token by token", "piece by piece", inputs(1, 1, 1, 1, 1)),
    ]


def kv_cache(draw: Draw) -> Sequence[Given]:
    B, K, D = draw.integer(2, 3), draw.integer(2, 3), draw.choice([4, 6])

    def inputs(capacity: int, *pieces: int, Dv: int | None = None, dtype: torch.dtype = torch.float32) -> dict:
        new = [
            {"k": draw.normal(B, K, T, D, dtype=dtype), "v": draw.normal(B, K, T, Dv or D, dtype=dtype)} for T in pieces
        ]
        return {"capacity": capacity, "new": new}

    T = draw.integer(2, 4)
    return [
        Given("token by token", "contents", inputs(8, 1, 1, 1), public=True),
        Given("pieces", "contents", inputs(12, T, 1, 3), public=True),
        Given("filled to the end", "contents", inputs(T + 2, T, 2)),
        Given("wide values", "contents", inputs(9, 2, T, 1, Dv=D + 3)),
        Given("bfloat16", "contents", inputs(9, 2, T, 1, dtype=BF16)),
        Given("one memory", "one memory", {**inputs(9, T, 1, 2), "memory": True}, public=True),
        Given("one memory, token by token", "one memory", {**inputs(5, 1, 1, 1, 1), "memory": True}),
        Given("full", "full", inputs(5, 3, 3), public=True),
        Given("full, and on", "full", inputs(5, 3, 3, 2), public=True),
        Given("full at once", "full", inputs(3, 4, 2)),
        Given("full by one", "full", inputs(T + 1, T, 2, 1)),
    ]
