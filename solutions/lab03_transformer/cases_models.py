"""Lab 3's cases of blocks with a memory, stacks, models, and the extensions. Sealed."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given, on_a_card

BF16, F64 = torch.bfloat16, torch.float64


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

    def inputs(dtype=torch.float32, T: int = T, S: int = S, **more: Any) -> dict[str, Any]:
        shapes = {f"{kind}_{letter}": (C, C) for kind in ("self", "cross") for letter in "qkvo"}
        shapes |= {"w_1": (C, 2 * C), "b_1": (2 * C,), "w_2": (2 * C, C), "b_2": (C,)}
        given = {name: draw.normal(*s, scale=1.4 * s[0] ** -0.5, dtype=dtype) for name, s in shapes.items()}
        for n in (1, 2, 3):
            given[f"gain_{n}"] = draw.uniform(C, low=0.6, high=1.6).to(dtype)
            given[f"bias_{n}"] = draw.normal(C, scale=0.5, dtype=dtype)
        given |= {"x": draw.normal(B, T, C, dtype=dtype), "memory": draw.normal(B, S, C, dtype=dtype), "n_heads": H}
        return given | more

    causal = torch.ones(T, T, dtype=torch.bool).tril()
    padded = shown(lengths_of(draw, B, S), S)
    square = torch.ones(S, S, dtype=torch.bool).tril()
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
    ]


def encoder_decoder_cases(draw: Draw) -> Sequence[Given]:
    B, T, S, C = draw.integer(2, 3), draw.integer(4, 5), draw.integer(6, 8), draw.integer(4, 6)

    def inputs(layers: int = 2, dtype=torch.float32, T: int = T, **more: Any) -> dict[str, Any]:
        weights = draw.normal(2 * layers, C, C, scale=C**-0.5, dtype=dtype)
        return {
            "x": draw.normal(B, S, C, dtype=dtype),
            "y": draw.normal(B, T, C, dtype=dtype),
            "weights": weights,
            **more,
        }

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
        T: int, layers: int = 2, dtype=torch.float32, cotangent: bool = False, **switches: Any
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
        Given("scaled, rotary", "positions", inputs(T, 1, embedding_scale=True)),
        Given("scaled, learned", "positions", inputs(T, 1, positions="learned", embedding_scale=True)),
        Given("pre-norm, scaled, sinusoidal", "norm", inputs(T, 1, norm_position="pre", **scaled)),
        Given("tied head, pre-norm", "head", inputs(T, 1, tied_head=True, norm_position="pre")),
        on_a_card(Given("", "", inputs(4, 1, cotangent=True, norm_position="pre", **scaled), public=True)),
        Given("switches together", "together", {"each": [inputs(3, **row) for row in crossed(SWITCHES)]}),
    ]


def block_parameters_cases(draw: Draw) -> Sequence[Given]:
    every = ["attention", "feed_forward", "norms"]
    switches = {"n_kv_heads": ["all", "fewer"], "attention_biases": ["", "V", "KO", "QKVO"]}
    switches |= {"gated": [False, True], "mlp_biases": [False, True], "norm": ["layer", "rms"]}

    def inputs(returns: Sequence[str], **switches: Any) -> dict[str, Any]:
        K, group, D = draw.integer(2, 5), draw.integer(2, 4), 2 * draw.integer(8, 20)
        config = {"n_heads": K * group, "n_kv_heads": K * group, "head_dim": D, "attention_biases": ""}
        config |= {"d_model": K * group * D + 2 * draw.integer(4, 9), "d_ffn": draw.integer(200, 900), "gated": False}
        config |= {"mlp_biases": False, "norm": "layer", **switches}
        if switches.get("n_kv_heads"):
            config["n_kv_heads"] = K if switches["n_kv_heads"] == "fewer" else K * group
        return {"config": config, "returns": list(returns)}

    def biases() -> str:
        return "".join(sorted(draw.sample("QKVO", 2)))

    few = {"n_kv_heads": "fewer"}
    return [
        Given("multi-head", "attention", inputs(every[:1]), public=True),
        Given("grouped heads", "attention", inputs(every[:1], **few), public=True),
        Given("biases", "attention", inputs(every[:1], attention_biases="QKVO", **few), public=True),
        Given("some biases", "attention", inputs(every[:1], attention_biases=biases(), **few), public=True),
        Given("plain", "feed_forward", inputs(every[1:2]), public=True),
        Given("plain, biases", "feed_forward", inputs(every[1:2], mlp_biases=True), public=True),
        Given("gated", "feed_forward", inputs(every[1:2], gated=True), public=True),
        Given("gated, biases", "feed_forward", inputs(every[1:2], gated=True, mlp_biases=True)),
        Given("layer norms", "norms", inputs(every[2:]), public=True),
        Given("rms norms", "norms", inputs(every[2:], norm="rms"), public=True),
        Given("rms norms, biases elsewhere", "norms", inputs(every[2:], norm="rms", mlp_biases=True)),
        *(
            Given(f"{term}, switches together", term, {"each": [inputs([term], **row) for row in crossed(switches)]})
            for term in every
        ),
    ]


def layer_norm_backward_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 9)

    def inputs(*shape: int, returns: str = "x", dtype=F64, **more: Any) -> dict[str, Any]:
        x, gradient = draw.normal(*shape, scale=1.5, dtype=dtype) + 0.5, draw.normal(*shape, dtype=dtype)
        asked = {"x": ["gradient_x"], "rest": ["gradient_gain", "gradient_bias"]}[returns]
        return {"x": x, "gain": draw.normal(shape[-1], dtype=dtype), "gradient": gradient, "returns": asked, **more}

    return [
        Given("one token", "x", inputs(C), public=True),
        Given("batch", "x", inputs(B, T, C), public=True),
        Given("epsilon", "x", inputs(T, C, epsilon=draw.number(0.2, 0.6)), public=True),
        Given("float32", "x", inputs(B, T, C, dtype=torch.float32)),
        Given("gain and bias", "gain and bias", inputs(T, C, returns="rest"), public=True),
        Given("gain and bias, batch", "gain and bias", inputs(B, T, C, returns="rest")),
        Given("gain and bias, one token", "gain and bias", inputs(C, returns="rest")),
        Given("gain and bias, epsilon", "gain and bias", inputs(B, T, C, returns="rest", epsilon=0.5)),
        Given("four dimensions", "x", inputs(2, B, 1, C)),
        Given("gain and bias, four dimensions", "gain and bias", inputs(2, B, 1, C, returns="rest")),
    ]
