"""Lab 3's cases of the extensions. Sealed."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given, calls

from .cases import BF16, F16, F64


def block_parameters_cases(draw: Draw) -> Sequence[Given]:
    every = ["attention", "feed_forward", "norms"]
    switches = {"n_kv_heads": ["all", "fewer", "one"], "attention_biases": ["", *"QKVO", "KO", "VQ", "QKV", "QKVO"]}
    switches |= {"gated": [False, True], "mlp_biases": [False, True], "norm": ["layer", "rms"]}

    def inputs(returns: Sequence[str], **switches: Any) -> dict[str, Any]:
        K, group, D = draw.integer(2, 5), draw.integer(2, 4), 2 * draw.integer(8, 20)
        K = 1 if switches.get("n_kv_heads") == "one" else K
        config = {"n_heads": K * group, "n_kv_heads": K * group, "head_dim": D, "attention_biases": ""}
        config |= {"d_model": K * group * D + 2 * draw.integer(4, 9), "d_ffn": draw.integer(200, 900), "gated": False}
        config |= {"mlp_biases": False, "norm": "layer", **switches}
        if switches.get("n_kv_heads"):
            config["n_kv_heads"] = K * group if switches["n_kv_heads"] == "all" else K
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
        Given("rms norms", "norms", inputs(every[2:], norm="rms"), public=True),
        Given("layer norms", "norms", inputs(every[2:]), public=True),
        Given("rms norms, biases elsewhere", "norms", inputs(every[2:], norm="rms", mlp_biases=True)),
        *(
            Given(f"{term}, switches together", term, calls(*(inputs([term], **row) for row in crossed(switches))))
            for term in every
        ),
    ]


def layer_norm_backward_cases(draw: Draw) -> Sequence[Given]:
    B, T, C = draw.integer(2, 3), draw.integer(3, 4), draw.integer(5, 9)

    def inputs(*shape: int, returns: str = "x", dtype=F64, scale: float = 1.5, **more: Any) -> dict[str, Any]:
        x, gradient = draw.normal(*shape, scale=scale, dtype=dtype) + 0.5, draw.normal(*shape, dtype=dtype)
        asked = {"x": ["gradient_x"], "rest": ["gradient_gain", "gradient_bias"]}[returns]
        return {"x": x, "gain": draw.normal(shape[-1], dtype=dtype), "gradient": gradient, "returns": asked, **more}

    def far(returns: str, dtype=torch.float32, low: int = 3000, size: int = 32) -> dict[str, Any]:
        """Whole numbers far from 0: mean and deviations are exact, squares are not."""
        side = torch.tensor([[1.0], [-1.0], [1.0]])
        x = draw.integers(3, 16, low=-size, high=size) + draw.integer(low, low + low // 3) * side
        return {**inputs(3, 16, returns=returns, dtype=dtype), "x": x.to(dtype)}

    def shapes(returns: str, dtype=torch.float32, **more: Any) -> list[dict[str, Any]]:
        leading = [(2, T), (2, T), (C,), (1, 1), (), (2, B, 2)]
        return [inputs(*shape, C, returns=returns, dtype=dtype, **more) for shape in leading]

    def many(dtype: torch.dtype) -> dict[str, Any]:
        """Gradients of one sign at tokens so many that 16 bits cannot add them up."""
        given = inputs(2000, 4, returns="rest", dtype=dtype)
        given["gradient"] = draw.uniform(2000, 4, low=0.5, high=1.0).to(dtype)
        return given

    tiny = {"scale": 400.0, "epsilon": 0.0}
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
        Given("shapes, far from zero", "x", calls(*shapes("x"), far("x"), inputs(T, C, dtype=torch.float32, **tiny))),
        Given("gain and bias, far from zero", "gain and bias", calls(*shapes("rest"), far("rest"))),
        Given("16 bits", "x", calls(*shapes("x", BF16), *shapes("x", F16), far("x", F16, 300, 4))),
        Given("gain and bias, 16 bits", "gain and bias", calls(*shapes("rest", BF16)[-3:], many(BF16))),
        Given("gain and bias, float16", "gain and bias", calls(*shapes("rest", F16)[-3:], far("rest", F16, 300, 4))),
    ]
