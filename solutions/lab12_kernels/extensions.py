"""Lab 12, sealed: the extensions, a bonus."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Exercise, Given, Misconception, exercises_of
from autograder.mutated import wrong
from mlsys_course import kernels
from mlsys_course.kernels import fused_swiglu, matmul_bound, merge_states, stationary_matmul, tiled_matmul
from mlsys_course.kernels.fused_swiglu import swiglu_traffic

from .cases_products import on_the_machine

F64 = torch.float64


def extensions() -> list[Exercise]:
    """Further kernels."""
    exercise = exercises_of(kernels, kind="extension")
    return [
        exercise("stationary_matmul", {"values": 2, "traffic": 4}, stationary_cases, STATIONARY),
        exercise("merge_states", {"values": 3, "no keys": 1}, merge_cases, MERGE),
        exercise("fused_swiglu", {"values": 3, "traffic": 2}, swiglu_cases, SWIGLU),
    ]


def stationary_cases(draw: Draw) -> list[Given]:
    """By aspect: values, traffic."""

    def case(name: str, aspect: str, capacity: int, m: int, k: int, n: int, public: bool = False, **more: Any) -> Given:
        arrays = [draw.normal(m, k, dtype=F64), draw.normal(k, n, dtype=F64)]
        limits = {"entries_moved": 1.25 * matmul_bound(m, k, n, capacity)} if aspect == "traffic" else {}
        return on_the_machine(name, aspect, capacity, arrays, ["c"], public, limits, **more)

    a, b = draw.integer(2, 4), draw.integer(5, 7)
    bad = {"bad": "raised"}
    other = [draw.normal(2, a, dtype=F64), draw.normal(a + 1, 3, dtype=F64)]
    batch = [draw.normal(2, 3, a, dtype=F64), draw.normal(2, a, 3, dtype=F64)]
    return [
        case("tiles that fit", "values", 35, 10, 4, 5, True),
        case("ragged", "values", 48, 6 * a + 1, b, 13, True),
        case("all of it fits", "values", 200, a, 3, b),
        case("no sum", "values", 48, a, 0, b),
        case("no rows", "values", 48, 0, a, b),
        case("room for one each", "values", 3, a, 2, 3),
        case("an entry short of a larger tile", "values", 34, 12, b, 11, True),
        on_the_machine("shapes: inner", "values", 99, other, ["c"], **bad),
        on_the_machine("shapes: a batch", "values", 99, batch, ["c"], True, **bad),
        case("long sums", "traffic", 120, 20, 100, 20, True),
        case("other sums", "traffic", 143, 22, 5 * b + 70, 22),
        case("skinny", "traffic", 120, 4, 40, 30),
    ]


def three_tiles(memory, a, b):
    """As ``tiled_matmul`` has it."""
    if len(a.shape) != 2:
        raise ValueError
    return tiled_matmul(memory, a, b)


FLAT = "a, b = (memory.new(*x.shape[-2:]) if len(x.shape) > 2 else x for x in (a, b))"
SIDE = "math.isqrt(memory.capacity + 1) - 1"
mistake = wrong(stationary_matmul)
STATIONARY = [
    Misconception("three square tiles", three_tiles,
        "A tile of a and one of b take two thirds of the room, and each number in them is needed once a step. How few "
        "of them are enough at a time?"),
    mistake("as large as the room", "What lies in the fast memory beside the result's tile?",
        SIDE, "math.isqrt(memory.capacity)"),
    mistake("half of the room", "How much of the room is the result's tile, and how much may it be?",
        SIDE, "math.isqrt(memory.capacity // 2)"),
    mistake("one step short", "Over what does an entry of a product sum, and how far do you go?",
        "for p in range(k):", "for p in range(k - 1):"),
    mistake("any shapes", "The shapes do not fit together. What does the exercise want to be raised?",
        "if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:", "if False:",
        "(m, k), n = a.shape, b.shape[1]", f"(m, k), n = a.shape[-2:], b.shape[-1]\n    {FLAT}"),
]  # fmt: skip


def merge_cases(draw: Draw) -> list[Given]:
    """By aspect: values, no keys. ``left`` and ``right`` are [top, total, weighted]."""

    def state(*rows: int, D: int, dtype: torch.dtype, scale: float) -> list[torch.Tensor]:
        found = [draw.normal(*rows, dtype=F64) * scale, draw.uniform(*rows, low=1.0, high=9.0, dtype=F64),
                 draw.normal(*rows, D, dtype=F64)]  # fmt: skip
        return [x.to(dtype) for x in found]

    def case(name: str, aspect: str, rows: Sequence[int], public: bool = False, dtype: torch.dtype = F64, D: int = 3,
             scale: float = 1.0, empty: Sequence[str] = ()) -> Given:  # fmt: skip
        both = {side: state(*rows, D=D, dtype=dtype, scale=scale) for side in ("left", "right")}
        for side in empty:
            for x, value in zip(both[side], (-torch.inf, 0.0, 0.0), strict=True):
                x[..., :1] = value
                x[0] = value
        return Given(name, aspect, both, public)

    T = draw.integer(3, 5)
    return [
        case("two states", "values", (T,), True),
        case("heads", "values", (2, T), True),
        case("far apart", "values", (T,), scale=300.0),
        case("float32", "values", (2, T), dtype=torch.float32),
        case("one query", "values", (1,), D=6),
        case("left has seen nothing", "no keys", (T,), True, empty=["left"]),
        case("right has seen nothing", "no keys", (2, T), empty=["right"]),
        case("neither has", "no keys", (T,), True, empty=["left", "right"]),
    ]


mistake = wrong(merge_states)
MERGE = [
    mistake("adds the sums",
        "The sums of the two streams are relative to maxima of their own. Relative to which is yours?",
        "left[1] * mine + right[1] * theirs, left[2] * mine[..., None] + right[2] * theirs[..., None]",
        "left[1] + right[1], left[2] + right[2]"),
    mistake("rescales one side", "Which of the two maxima is the larger one? Does your answer hold for every row?",
        "left[2] * mine[..., None] + right[2]", "left[2] + right[2]"),
    mistake("rescales the values alone", "Both sums are relative to a maximum: the weights' sum as well.",
        "left[1] * mine + right[1] * theirs", "left[1] + right[1]"),
    mistake("infinity less infinity", "A row that neither has seen: what is minus infinity less minus infinity?",
        "base = top.clamp(min=torch.finfo(top.dtype).min)", "base = top"),
    mistake("the left one's maximum", "What if the larger score was in the other stream?",
        "top = torch.maximum(left[0], right[0])", "top = left[0]"),
]  # fmt: skip


def swiglu_cases(draw: Draw) -> list[Given]:
    """By aspect: values, traffic."""

    def case(
        name: str, aspect: str, T: int, C: int, F: int, side: int, public: bool = False, scale: float = 1.0
    ) -> Given:
        arrays = [draw.normal(T, C, dtype=F64) * scale, draw.normal(C, F, dtype=F64), draw.normal(C, F, dtype=F64)]
        limits = {"entries_moved": float(swiglu_traffic(T, C, F, side))} if aspect == "traffic" else {}
        return on_the_machine(name, aspect, 5 * side * side, arrays, ["output"], public, limits, side=side)

    a, b = draw.integer(2, 3), draw.integer(5, 7)
    bad = {"bad": "raised", "side": 4}
    shapes = {"gate and up": ((2, a), (a, 4), (a, 5)), "x and gate": ((2, a), (a + 1, 4), (a + 1, 4))}
    refused = [
        on_the_machine(f"shapes: {name}", "values", 99, [draw.normal(*x, dtype=F64) for x in three], [], n == 0, **bad)
        for n, (name, three) in enumerate(shapes.items())
    ]
    return [
        case("tiles that fit", "values", 4, 8, 8, 4, True),
        case("ragged", "values", 3 * a + 1, b, 3 * a - 1, 3, True),
        case("one tile is larger", "values", a, 3, b, 8),
        case("large numbers", "values", 4, 4, 4, 2, scale=300.0),
        case("no sum", "values", a, 0, b, 3),
        case("no rows", "values", 0, a, b, 3),
        *refused,
        case("once for both", "traffic", 12, 12, 12, 4, True),
        case("once for both, ragged", "traffic", 13, b + 6, 10, 4),
    ]


GATE = "memory.multiply(gates, ups)\n"
mistake = wrong(fused_swiglu)
SWIGLU = [
    mistake("x twice", "A tile of x meets a tile of gate and one of up. How often is it loaded?",
        "for total, weight in ((gates, gate), (ups, up)):",
        "for total, weight in ((gates, gate), (ups, up)):\n                memory.free(rows)\n"
        "                rows = memory.load(x[i : i + side, p : p + side])"),
    mistake("no gate", "What is the second product multiplied with?", GATE, "pass\n"),
    mistake("the gate on the other", "Which of the two products goes through silu?",
        "((gates, gate), (ups, up))", "((gates, up), (ups, gate))"),
    mistake("sigmoid alone", "silu is a product. Of its input with what?",
        "memory.divide(gates, divisor)",
        "memory.multiply(gates, 0.0)\n        memory.add(gates, 1.0)\n        memory.divide(gates, divisor)"),
    mistake("the sign", "For a large number the exponential vanishes. Of which sign is it?",
        "memory.multiply(divisor, -1.0)\n", "pass\n"),
    mistake("gates between", "Where do the two products lie until they are multiplied?",
        "divisor = memory.copy(gates)",
        "memory.store(gates, corner)\n        memory.free(gates)\n        gates = memory.load(corner)\n"
        "        divisor = memory.copy(gates)"),
    mistake("any shapes", "The shapes do not fit together. What is to be raised?",
        "if gate.shape != up.shape or len(x.shape) != 2 or x.shape[1:] != gate.shape[:1]:", "if False:",
        "(T, C), F = x.shape, gate.shape[1]",
        "(T, C), F = x.shape, gate.shape[1]\n    up = up if gate.shape == up.shape else gate"),
]  # fmt: skip
