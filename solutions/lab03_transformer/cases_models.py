"""Lab 3's cases of blocks with a memory, stacks, and models. Sealed."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given, calls, on_a_card

from .cases import with_cotangent

BF16, F16, F64 = torch.bfloat16, torch.float16, torch.float64


def lengths_of(draw: Draw, B: int, S: int) -> torch.Tensor:
    """Each from 1 to S; the first has padding, the last has none."""
    lengths = draw.integers(B, low=1, high=S + 1)
    lengths[0], lengths[-1] = S - 2, S
    return lengths


def shown(lengths: torch.Tensor, S: int) -> torch.Tensor:
    """(B, 1, 1, S): True at tokens."""
    return (torch.arange(S) < lengths[:, None])[:, None, None]


def decoder_block_cases(draw: Draw) -> Sequence[Given]:
    B, T, S, H, D = draw.integer(2, 3), draw.integer(4, 5), draw.integer(6, 7), draw.integer(2, 3), draw.choice([2, 4])
    C = H * D

    def inputs(
        dtype=torch.float32, T: int = T, S: int = S, C: int = C, B: int = B, n_heads: int = H, **more: Any
    ) -> dict[str, Any]:
        shapes = {f"{kind}_{letter}": (C, C) for kind in ("self", "cross") for letter in "qkvo"}
        shapes |= {"w_1": (C, 2 * C), "b_1": (2 * C,), "w_2": (2 * C, C), "b_2": (C,)}
        given = {name: draw.normal(*s, scale=1.4 * s[0] ** -0.5, dtype=dtype) for name, s in shapes.items()}
        for n in (1, 2, 3):
            given[f"gain_{n}"] = draw.uniform(C, low=0.6, high=1.6).to(dtype)
            given[f"bias_{n}"] = draw.normal(C, scale=0.5, dtype=dtype)
        given |= {"x": draw.normal(B, T, C, dtype=dtype), "memory": draw.normal(B, S, C, dtype=dtype)}
        return given | {"n_heads": n_heads} | more

    def together(rows: int, columns: int, batch: int, heads: int) -> dict[str, Any]:
        """Both masks, the memory's of any shape that there may be; each query sees its own number of keys."""
        shape = draw.choice([(rows, columns), (batch, 1, rows, columns), (batch, heads, rows, columns)])
        memory_mask = draw.booleans(*shape)
        memory_mask[..., 0] = True
        return {"mask": torch.ones(rows, rows, dtype=torch.bool).tril(), "memory_mask": memory_mask}

    causal = torch.ones(T, T, dtype=torch.bool).tril()
    padded = shown(lengths_of(draw, B, S), S)
    square = torch.ones(S, S, dtype=torch.bool).tril()
    flat = draw.booleans(T, S)
    flat[:, 0] = True
    sizes = calls(
        inputs(),
        inputs(),
        inputs(T=1),
        inputs(T=1, S=1, B=1),
        inputs(T=B, S=B),
        inputs(n_heads=1),
        inputs(C=12, n_heads=4),
    )
    alone = calls(
        inputs(mask=causal),
        inputs(T=S, mask=square),
        inputs(T=S, memory_mask=padded),
        inputs(memory_mask=flat),
        inputs(T=1, mask=causal[:1, :1], memory_mask=padded),
        inputs(T=S, memory_mask=square),
    )
    both = calls(inputs(**together(T, S, B, H)), inputs(T=3, S=3, **together(3, 3, B, H)))
    halves = calls(inputs(F16, mask=causal), inputs(F16), with_cotangent(draw, inputs(F16, memory_mask=flat), 0.1))
    return [
        Given("no mask", "values", inputs(), public=True),
        Given("no mask, float64", "values", inputs(F64)),
        Given("memory of one token", "values", inputs(S=1)),
        Given("as many keys as queries", "values", inputs(T=S)),
        Given("causal mask", "masks", inputs(mask=causal), public=True),
        Given("padded memory", "masks", inputs(memory_mask=padded), public=True),
        Given("both masks", "masks", inputs(mask=causal, memory_mask=padded)),
        Given("both masks, T = S", "masks", inputs(T=S, mask=square, memory_mask=padded)),
        Given("gradient", "gradient", inputs(mask=causal, cotangent=draw.normal(B, T, C, scale=0.3)), public=True),
        Given("gradient, padded", "gradient", inputs(memory_mask=padded, cotangent=draw.normal(B, T, C, scale=0.3))),
        Given("bfloat16", "precision", inputs(BF16, mask=causal), public=True),
        Given("bfloat16, no mask", "precision", inputs(BF16)),
        Given("float16", "precision", halves),
        Given("one call after the other", "values", sizes),
        Given("a mask at a time", "masks", alone),
        Given("masks of any shape", "masks", both),
    ]


def with_y(draw: Draw, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a call of which gradients are asked; its output is like y."""
    return {**inputs, "cotangent": draw.normal(*inputs["y"].shape)}


def encoder_decoder_cases(draw: Draw) -> Sequence[Given]:
    B, T, S, C = draw.integer(2, 3), draw.integer(4, 5), draw.integer(6, 8), draw.integer(4, 6)

    def inputs(
        layers: int = 2,
        dtype=torch.float32,
        T: int = T,
        S: int = S,
        B: int = B,
        decoders: int | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        decoders = layers if decoders is None else decoders
        weights = draw.normal(layers + decoders, C, C, scale=C**-0.5, dtype=dtype)
        more = more if layers == decoders else {**more, "encoders": layers}
        return {
            "x": draw.normal(B, S, C, dtype=dtype),
            "y": draw.normal(B, T, C, dtype=dtype),
            "weights": weights,
            **more,
        }

    def short(B: int = B) -> torch.Tensor:
        """None of the sources is as long as there is room."""
        return draw.integers(B, low=1, high=S - 2)

    stacks = {"layers": [0, 1, 3], "decoders": [1, 0, 2], "lengths": [False, True]}
    uneven = [
        inputs(**row, **({"lengths": lengths_of(draw, B, S)} if padded else {}))
        for row in crossed(stacks)
        for padded in [row.pop("lengths")]
    ]
    padding = calls(
        inputs(lengths=lengths_of(draw, B, S)),
        inputs(lengths=short()),
        inputs(lengths=torch.full((B,), S - 2)),
        inputs(),
        inputs(lengths=torch.full((B,), S)),
        inputs(lengths=short().to(torch.uint8)),
        inputs(B=1, T=1, lengths=short(1).int()),
        inputs(S=S + 2, T=T + 1, lengths=lengths_of(draw, B, S + 2)),
    )
    return [
        Given("whole source", "values", inputs(), public=True),
        Given("three layers each", "values", inputs(3)),
        Given("as long as the source", "values", inputs(T=S)),
        Given("float64", "values", inputs(dtype=F64)),
        Given("padded source", "padding", inputs(lengths=lengths_of(draw, B, S)), public=True),
        Given("padded source, three layers", "padding", inputs(3, lengths=lengths_of(draw, B, S))),
        Given("padded source, as long", "padding", inputs(T=S, lengths=lengths_of(draw, B, S))),
        Given("gradient", "gradient", inputs(cotangent=draw.normal(B, T, C)), public=True),
        Given("gradient, padded", "gradient", inputs(lengths=lengths_of(draw, B, S), cotangent=draw.normal(B, T, C))),
        Given("one layer each", "edges", inputs(1, lengths=lengths_of(draw, B, S)), public=True),
        Given("one token to write", "edges", inputs(T=1, lengths=lengths_of(draw, B, S))),
        Given("no layers", "edges", inputs(0), public=True),
        Given("uneven stacks", "edges", calls(*uneven)),
        Given("lengths of all kinds, one call after the other", "padding", padding),
        Given("gradient, uneven", "gradient", with_y(draw, inputs(1, decoders=3, lengths=short()))),
    ]


SWITCHES: dict[str, Sequence[Any]] = {
    "positions": ["rotary", "learned", "sinusoidal"],
    "norm_position": ["post", "pre"],
    "tied_head": [False, True],
    "embedding_scale": [False, True],
    "layers": [1, 2],
}


def decoder_cases(draw: Draw) -> Sequence[Given]:
    V, C = draw.integer(9, 14), 2 * draw.integer(2, 4)

    def inputs(
        T: int, layers: int = 2, dtype=torch.float32, cotangent: bool = False, C: int = C, **switches: Any
    ) -> dict[str, Any]:
        config = {"vocabulary": V, "context": 9, "d_model": C, "n_layers": layers, "positions": "rotary"}
        config |= {"norm_position": "post", "tied_head": False, "embedding_scale": False, **switches}
        state = {"embedding.weight": draw.normal(V, C, dtype=dtype)}
        if config["positions"] == "learned":
            state["positions.weight"] = draw.normal(9, C, dtype=dtype)
        state |= {f"blocks.{n}.w": draw.normal(C, C, scale=C**-0.5, dtype=dtype) for n in range(layers)}
        if config["norm_position"] == "pre":
            state["norm.gain"] = draw.uniform(C, low=0.5, high=1.5).to(dtype)
        tied = (
            state["embedding.weight"].clone() if config["tied_head"] else draw.normal(V, C, scale=C**-0.5, dtype=dtype)
        )
        state["head.weight"] = tied
        B = draw.integer(2, 3)
        tokens = draw.integers(B, T, high=V)
        given = {"config": config, "state": state, "tokens": tokens}
        return {**given, "cotangent": draw.normal(B, T, V, scale=0.3)} if cotangent else given

    def then(*lengths: int) -> dict[str, Any]:
        return {"then": [draw.integers(2, T, high=V) for T in lengths]}

    T = draw.integer(5, 7)
    scaled = {"positions": "sinusoidal", "embedding_scale": True}
    lengths = calls(
        inputs(3, 1, positions="sinusoidal") | then(T + 5, 1, 3),
        inputs(T, 1, C=C + 4, **scaled) | then(3, T + 5),
        inputs(3, 1, positions="learned") | then(9, 1, 3),
        inputs(3, 1, C=C + 4, positions="learned", tied_head=True),
    )
    return [
        Given("two blocks", "blocks", inputs(T), public=True),
        Given("three blocks", "blocks", inputs(T, 3), public=True),
        Given("one token", "blocks", inputs(1)),
        Given("float64", "blocks", inputs(T, dtype=F64), public=True),
        Given("learned positions", "positions", inputs(T, positions="learned"), public=True),
        Given("as long as the table", "positions", inputs(9, positions="learned")),
        Given("sinusoidal positions", "positions", inputs(T, positions="sinusoidal"), public=True),
        Given("sinusoidal, longer than the context", "positions", inputs(12, positions="sinusoidal")),
        Given("scaled embeddings", "positions", inputs(T, **scaled), public=True),
        Given("pre-norm", "norm", inputs(T, norm_position="pre"), public=True),
        Given("pre-norm, three blocks", "norm", inputs(T, 3, norm_position="pre")),
        Given("tied head", "head", inputs(T, tied_head=True), public=True),
        Given("tied head, learned", "head", inputs(T, tied_head=True, positions="learned")),
        Given("gradient", "gradient", inputs(T, cotangent=True, norm_position="pre", positions="learned"), public=True),
        Given("gradient, tied", "gradient", inputs(T, cotangent=True, tied_head=True, **scaled)),
        Given("bfloat16", "positions", inputs(T, dtype=BF16, **scaled)),
        Given("other lengths after it", "blocks", inputs(T) | then(T + 2, 2, T)),
        Given("positions, other lengths after it", "positions", lengths),
        Given("scaled, rotary", "positions", inputs(T, 1, embedding_scale=True)),
        Given("scaled, learned", "positions", inputs(T, 1, positions="learned", embedding_scale=True)),
        Given("pre-norm, scaled, sinusoidal", "norm", inputs(T, 1, norm_position="pre", **scaled)),
        Given("tied head, pre-norm", "head", inputs(T, 1, tied_head=True, norm_position="pre")),
        on_a_card(Given("", "", inputs(4, 1, cotangent=True, norm_position="pre", **scaled), public=True)),
        Given("switches together", "together", calls(*(inputs(3, **row) for row in crossed(SWITCHES)))),
    ]
