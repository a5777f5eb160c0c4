"""Lab 10, sealed: extensions, their cases and misconceptions."""

from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Exercise, Given, Misconception, exercises_of
from autograder.mutated import wrong
from mlsys_course import memory
from mlsys_course.substrate.levels import dynamic_levels, normal_float

BF16, F32 = torch.bfloat16, torch.float32

# ---- quantize_blocks -------------------------------------------------------------------------------------------------


def clear(shape: tuple[int, ...], levels: torch.Tensor, block: int, draw: Draw, dtype: torch.dtype) -> torch.Tensor:
    """Entries that are not nearly between two levels, so that no rounding decides."""
    count = int(torch.Size(shape).numel())
    codes = draw.integers(count, high=len(levels))
    nudge = draw.uniform(count, low=-0.3, high=0.3)
    gaps = (levels[1:] - levels[:-1]).min()
    x = (levels[codes] + nudge * gaps).clamp(-1, 1)
    for start in range(0, count, block):
        x[start] = 1.0 if draw.integer(0, 1) or levels[0] == 0 else -1.0
        x[start : start + block] *= 2.0 ** draw.integer(-6, 6)
    return x.to(dtype).view(shape)


def quantize_cases(draw: Draw) -> list[Given]:
    """By aspect: codes, scales, edges."""
    nf4, odd = normal_float(), torch.tensor([-1.0, -0.25, 0.0, 0.5, 1.0])

    def case(name: str, aspect: str, shape: tuple[int, ...], levels: torch.Tensor, public: bool = False,
             dtype: torch.dtype = F32, **more: Any) -> Given:  # fmt: skip
        block = draw.integer(3, 6)
        inputs = {"x": clear(shape, levels, block, draw, dtype), "levels": levels, "block": block, "look_at": aspect}
        return Given(name, aspect, {**inputs, **more}, public)

    ties = torch.tensor([1.0, 0.25, -0.125, 0.75, -0.625]) * 2.0 ** draw.integer(-3, 3)
    return [
        case("four bits", "codes", (4, 7), nf4, True),
        case("of other levels", "codes", (draw.integer(20, 30),), odd, True),
        case("eight bits, above 0", "codes", (30,), dynamic_levels(False)),
        case("a matrix of 16 bits", "codes", (3, 9), odd, dtype=BF16),
        case("scales of blocks", "scales", (5, 5), nf4, True),
        case("scales of other blocks", "scales", (draw.integer(13, 19),), odd),
        Given("as near to two", "edges", {"x": ties, "levels": odd, "block": 5, "look_at": "codes"}, True),
        Given("zeros", "edges", {"x": torch.zeros(7), "levels": nf4, "block": 3, "look_at": "codes"}, True),
        Given("no entry", "edges", {"x": torch.zeros(0), "levels": odd, "block": 4, "look_at": "codes"}),
        case("infinite", "edges", (6,), odd, True, bad=float("inf")),
        case("NaN", "edges", (6,), odd, bad=float("nan")),
    ]


mistake = wrong(memory.quantize_blocks)
QUANTIZE = [
    mistake("one scale for all", "One large entry makes all others small. How many share a scale?",
        "scales = blocks.abs().amax(dim=1)", "scales = blocks.abs().amax().expand(len(blocks)).clone()"),
    mistake("the largest, with its sign", "Which is farther from 0, -5 or 3?",
        "blocks.abs().amax(dim=1)", "blocks.amax(dim=1).abs()"),
    mistake("always down", "An entry a little below a level: which level is nearest?",
        "torch.searchsorted(middles, shares", "torch.searchsorted(levels[1:].contiguous(), shares"),
    mistake("of two the upper", "An entry exactly between two levels: which one?",
        "shares.flatten()[: len(flat)])", "shares.flatten()[: len(flat)], right=True)"),
    mistake("zero over zero", "A block of zeros: what is its scale, and what do you divide by?",
        "scales.where(scales > 0, 1.0)", "scales"),
    mistake("infinity is a level", "What becomes of the other entries of a block that has an infinite one?",
        "if not bool(flat.isfinite().all()):", "if False:"),
    mistake("int64 codes", "Of which dtype are codes that are to take a byte?", "codes.to(torch.uint8)", "codes"),
]  # fmt: skip

# ---- blockwise_adamw -------------------------------------------------------------------------------------------------


def adamw_cases(draw: Draw) -> list[Given]:
    """By aspect: the first step, later ones."""

    def case(name: str, aspect: str, steps: int, public: bool = False, dtype: torch.dtype = F32, decay: float = 0.1):
        shape = (draw.integer(2, 3), draw.integer(3, 5))
        gradients = [draw.normal(*shape, scale=0.1).to(dtype) for _ in range(steps)]
        numbers = {"lr": draw.number(0.05, 0.2), "weight_decay": decay}
        return Given(
            name, aspect, {"parameter": draw.normal(*shape).to(dtype), "gradients": gradients, **numbers}, public
        )

    return [
        case("one step", "first", 1, True),
        case("without decay", "first", 1, decay=0.0),
        case("bfloat16", "first", 1, dtype=BF16),
        case("three steps", "later", 3, True),
        case("six steps", "later", 6, decay=draw.number(0.1, 0.5)),
    ]


UPDATE = "update = first / (1 - betas[0] ** step) / root"
mistake = wrong(memory.blockwise_adamw)
ADAMW = [
    mistake("uses what is packed", "When are moments made narrow: before this step uses them, or after?",
        UPDATE, f"first, second = dequantize(quantize(first, True)), dequantize(quantize(second, False))\n    "
        f"root = (second / (1 - betas[1] ** step)).sqrt() + epsilon\n    {UPDATE}"),
    mistake("no bias correction", "Moments begin at 0. How large is the first one after the first step?",
        "second / (1 - betas[1] ** step)", "second", "first / (1 - betas[0] ** step)", "first"),
    mistake("decay goes through the moments", "AdamW decays the parameter itself. Does your gradient hold the decay?",
        "wide = gradient.float()", "wide = gradient.float() + weight_decay * parameter.float()",
        "(1 - lr * weight_decay)", "1"),
    mistake("both signed", "The second moment is never negative. Which levels does it need?",
        "quantize(second, False)", "quantize(second, True)"),
    mistake("the moments are exchanged", "Which of the two comes first in the state?",
        "(quantize(first, True), quantize(second, False))", "(quantize(second, False), quantize(first, True))"),
    mistake("the state is not used", "Where are the moments of the last step?",
        "(dequantize(packed) for packed in state)", "(torch.zeros_like(dequantize(packed)) for packed in state)"),
    Misconception("steps count from 0", lambda p, g, s, step, *rest: memory.blockwise_adamw(p, g, s, step + 1, *rest),
        "What is 0.9 to the power of the first step's number?"),
]  # fmt: skip


def extensions() -> list[Exercise]:
    """For who wants more."""
    exercise = exercises_of(memory, kind="extension")
    quantizing = {"codes": 3, "scales": 2, "edges": 1}
    return [
        exercise("quantize_blocks", quantizing, quantize_cases, QUANTIZE),
        exercise("blockwise_adamw", {"first": 2, "later": 3}, adamw_cases, ADAMW),
    ]
