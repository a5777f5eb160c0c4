"""Lab 10, sealed: cases of gradient accumulation and of the step with float32 masters."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64


# ---- accumulate ------------------------------------------------------------------------------------------------------


def batches(draw: Draw, counts: Sequence[int], words: int, tokens: int, ignored: int, dtype: torch.dtype) -> dict:
    """Micro-batches of ``tokens`` tokens, of which so many count, wherever they stand."""
    inputs, targets = [], []
    for count in counts:
        target = torch.full((tokens,), ignored)
        kept = draw.sample(range(tokens), count)
        target[kept] = draw.integers(count, low=1, high=words)
        inputs.append(draw.normal(tokens, 4, dtype=dtype))
        targets.append(target)
    return {"inputs": inputs, "targets": targets}


def accumulate_cases(draw: Draw) -> list[Given]:
    """By aspect: loss, gradients, no_sync, memory."""
    words, tokens = draw.integer(5, 8), draw.integer(6, 9)

    def case(
        name: str, aspect: str, counts: Sequence[int], public: bool = False, dtype: torch.dtype = F64,
        ignored: int = -100, **more: Any,
    ) -> Given:  # fmt: skip
        given = batches(draw, counts, words, tokens, ignored, dtype)
        weights = {"weight": draw.normal(4, words, dtype=dtype), "bias": draw.normal(words, dtype=dtype)}
        look = "loss" if aspect == "loss" else "gradients"
        return Given(name, aspect, {**given, **weights, "look_at": look, **more}, public)

    def few() -> int:
        return draw.integer(1, tokens - 1)

    uneven = [1, tokens, few()]
    return [
        case("two of one length", "loss", [tokens, tokens], True),
        case("some padding", "loss", uneven, True),
        case("padding by another number", "loss", [few(), 1, tokens], True, ignored=0, ignore_index=0),
        case("one without a token", "loss", [0, few(), tokens], True),
        case("no token at all", "loss", [0, 0], True),
        case("no micro-batch", "loss", []),
        case("float32", "loss", [few(), tokens], dtype=F32),
        case("bfloat16", "loss", [few(), tokens, 1], dtype=BF16),
        case("gradients of two", "gradients", [tokens, tokens], True),
        case("gradients with padding", "gradients", uneven, True),
        case("gradients of one", "gradients", [few()]),
        case("of five", "gradients", [few(), tokens, 1, 2, few()], dtype=F32),
        case("added to what was there", "gradients", [few(), tokens], calls=2),
        case("untouched where no token counts", "gradients", [0, 0], True),
        case("gradients with another number", "gradients", [few(), 0, tokens], ignored=0, ignore_index=0),
        case("what leaves", "no_sync", uneven, True, synchronized=True),
        case("what leaves of one", "no_sync", [few()], synchronized=True),
        case("nothing counts in the last one", "no_sync", [few(), tokens, 0], synchronized=True),
        case("nothing leaves", "no_sync", [0], synchronized=True),
        many(draw, "many micro-batches"),
        Given("of other shapes", "gradients", {"each": [
            shaped(case("", "gradients", uneven).inputs, (tokens, 1)),
            shaped(case("", "gradients", [few(), 0, tokens], ignored=0, ignore_index=0).inputs, (1, tokens, 1)),
            rows(case("", "gradients", uneven).inputs, 2),
            rows(case("", "gradients", [few(), few(), 0, 2], ignored=2, ignore_index=2).inputs, 2),
        ]}),
        Given("losses of other shapes", "loss", {"each": [
            shaped(case("", "loss", uneven).inputs, (1, tokens)),
            case("", "loss", [few(), tokens], dtype=F32, loss_dtype="float64").inputs,
            case("", "loss", [few(), 0], dtype=F64, loss_dtype="float32").inputs,
            case("", "loss", [0], dtype=F64).inputs,
        ]}),
        Given("backward passes", "gradients", {"each": [
            case("", "gradients", counts).inputs | {"look_at": "passes", "synchronized": True}
            for counts in ([few(), 0, tokens], [0, tokens, few()], [0, 0], [few(), 0, 0], uneven)
        ]}),
        Given("what leaves, others", "no_sync", {"each": [
            case("", "no_sync", counts, synchronized=True).inputs for counts in ([0, few()], [0, few(), 0, tokens, 0])
        ]}),
    ]  # fmt: skip


def shaped(inputs: dict[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """Tokens along several axes."""
    folded = {
        "inputs": [x.reshape(*shape, x.shape[-1]) for x in inputs["inputs"]],
        "targets": [y.reshape(shape) for y in inputs["targets"]],
    }
    return {**inputs, **folded}


def rows(inputs: dict[str, Any], count: int) -> dict[str, Any]:
    """Micro-batches of so many rows, of tokens that are half of one's and half of the next one's; in 32 bits."""
    together = {
        "inputs": [torch.stack([x, *inputs["inputs"][: count - 1]]) for x in inputs["inputs"]],
        "targets": [torch.stack([y, *inputs["targets"][: count - 1]]).int() for y in inputs["targets"]],
    }
    return {**inputs, **together}


def many(draw: Draw, name: str) -> Given:
    """Activations of 16 micro-batches, of which one at a time may be held."""
    words, rows, count, layers = draw.integer(3900, 4200), 32, 16, 3
    given = batches(draw, [rows] * count, words, rows, -100, F32)
    weights = {"weight": draw.normal(4, words), "bias": draw.normal(words)}
    limits = {"peak_memory": float(count * (layers + 1) * rows * words * 4 // 3)}
    return Given(name, "memory", {**given, **weights, "look_at": "memory", "layers": layers}, True, limits)


# ---- MixedPrecisionStep ----------------------------------------------------------------------------------------------

SGD = {"optimizer": "sgd", "settings": {"lr": 0.1, "momentum": 0.5}}
ADAMW = {"optimizer": "adamw", "settings": {"lr": 0.01, "weight_decay": 0.1}}
SHAPES = ((2, 3), (4,), ())


def mixed_case(
    draw: Draw, name: str, aspect: str, pattern: str, dtypes: Sequence[torch.dtype], public: bool = False,
    size: float = 1.0, **more: Any,
) -> Given:  # fmt: skip
    """A step for each letter: ``g`` good, ``+`` an infinity, ``n`` NaN, ``-`` the last without a gradient, ``0`` zeros;
    ``l`` a norm a little above 2, ``s`` a little below.
    """
    parameters = [draw.normal(*shape, dtype=dtype) for shape, dtype in zip(SHAPES, dtypes, strict=False)]
    scale, steps = more.get("loss_scale", 1.0), []
    for letter in pattern:
        gradients: list[Any] = [(draw.normal(*p.shape, scale=size * scale)).to(p.dtype) for p in parameters]
        if letter in "+n":
            gradients[0].view(-1)[-1] = math.inf if letter == "+" else math.nan
        gradients = [0 * gradient for gradient in gradients] if letter == "0" else gradients
        gradients = of_norm(gradients, 6**0.5 if letter == "l" else 3**0.5) if letter in "ls" else gradients
        gradients[-1] = "none" if letter == "-" else gradients[-1]
        steps.append(gradients)
    return Given(name, aspect, {"parameters": parameters, "steps": steps, **SGD, **more}, public)


def of_norm(gradients: list[torch.Tensor], norm: float) -> list[torch.Tensor]:
    """All together of that length, nearly."""
    factor = norm / float(torch.cat([gradient.flatten().double() for gradient in gradients]).norm())
    return [(gradient.double() * factor).to(gradient.dtype) for gradient in gradients]


def small(draw: Draw, name: str, dtype: torch.dtype, public: bool = False, **more: Any) -> Given:
    """Forty updates, each far below half of the last digit of a number near 1."""
    parameters = [1 + draw.uniform(3, low=0.0, high=0.4).to(dtype)]
    steps = [[(more.get("loss_scale", 1.0) * draw.uniform(3, low=0.5, high=1.0)).to(dtype)] for _ in range(40)]
    settings = {"optimizer": "sgd", "settings": {"lr": 2e-4 if dtype == F16 else 1e-3}}
    return Given(name, "masters", {"parameters": parameters, "steps": steps, **settings, **more}, public)


def mixed_cases(draw: Draw) -> list[Given]:
    """By aspect: update, masters, overflow, clipping."""

    def case(*args: Any, **more: Any) -> Given:
        return mixed_case(draw, *args, **more)

    scale = {"loss_scale": 2.0 ** draw.integer(5, 9)}
    return [
        case("bfloat16", "update", "gg", [BF16, BF16], True),
        case("float16 with a scale", "update", "ggg", [F16, F16, F16], True, **scale),
        case("AdamW", "update", "ggg", [BF16, BF16, BF16], **ADAMW),
        case("some of float32", "update", "gg", [F16, F32, BF16], **scale, **ADAMW),
        case("one without a gradient", "update", "g-g", [BF16, BF16], True, **ADAMW),
        case("one without a gradient, float16", "update", "-g-", [F16, F16, F16], **scale),
        case("tiny gradients", "update", "gg", [F16, F16], size=2e-7, loss_scale=2.0**14,
             optimizer="sgd", settings={"lr": 1e6}),
        small(draw, "small updates", F16, True, **scale),
        small(draw, "small updates in bfloat16", BF16),
        small(draw, "small updates, clipped", BF16, max_norm=0.5),
        case("an infinity", "overflow", "g+g", [F16, F16], True, **scale),
        case("NaN first", "overflow", "ng", [F16, F16, F16], **scale, **ADAMW),
        case("several", "overflow", "g+n-g", [F16, F16], **scale),
        case("a long gradient", "clipping", "gg", [F16, F16, F16], True, max_norm=0.5, **scale),
        case("a short gradient", "clipping", "gg", [BF16, BF16], True, max_norm=100.0),
        case("a little longer, and shorter", "clipping", "lsls", [BF16, BF16], max_norm=2.0),
        case("AdamW, clipped", "clipping", "ggg", [BF16, F32], max_norm=draw.number(0.2, 1.0), **ADAMW),
        case("zeros", "clipping", "0g", [F16, F16], True, max_norm=1.0, **scale),
        Given("without a scaler", "overflow", {"each": [
            case("", "", pattern, dtypes).inputs for pattern, dtypes in (("g+g", [BF16, BF16]), ("ng", [F32, F16]))
        ]}),
        Given("without a gradient", "update", {"each": [
            case("", "", "g-g-", [F16, BF16, F32], **ADAMW).inputs,
            case("", "", "g-", [BF16], **ADAMW).inputs,
            case("", "", "-g-", [F16], **scale).inputs,
            case("", "", "-g-", [F32, F16], max_norm=0.5, **scale, **ADAMW).inputs,
        ]}),
        Given("gradients of float32, clipped", "clipping", {"each": [
            case("", "", "gg", [F32, F32], max_norm=0.5).inputs,
            case("", "", "gg", [F32, BF16, F16], max_norm=0.5, **scale).inputs,
            case("", "", "g-", [F32], max_norm=0.5).inputs,
            case("", "", "lsls", [BF16, F32], max_norm=2.0, **ADAMW).inputs,
        ]}),
        Given("float32 and others", "masters", {"each": [
            case("", "", "ggg", dtypes, **ADAMW).inputs for dtypes in ([F32], [F32, F16], [BF16, F32, F16])
        ]}),
    ]  # fmt: skip
