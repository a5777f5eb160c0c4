"""Lab 12, sealed: cases of flash attention, forward and backward."""

from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given
from mlsys_course.kernels import backward_traffic, flash_attention, forward_traffic
from mlsys_course.substrate.fast_memory import FastMemory

from .cases_products import on_the_machine

F64 = torch.float64
Sizes = tuple[int, int, int, int, int]  # H, T, S, D, Dv


def drawn(draw: Draw, sizes: Sizes, scale: float = 1.0) -> list[torch.Tensor]:
    """q, k and v."""
    H, T, S, D, Dv = sizes
    shapes = (H, T, D), (H, S, D), (H, S, Dv)
    return [draw.normal(*shape, dtype=F64) * by for shape, by in zip(shapes, (scale, scale, 1.0), strict=True)]


def kinds(draw: Draw) -> dict[str, tuple[str, Sizes, int, int, dict[str, Any], bool]]:
    """By name, forward and backward alike: aspect, sizes, rows, columns, settings, and whether it is public."""
    H, a, b = draw.integer(2, 3), draw.integer(2, 3), draw.integer(4, 5)
    causal = {"causal": True}
    return {
        "tiles that fit": ("values", (1, 8, 12, 4, 4), 4, 4, {}, True),
        "heads": ("values", (H, 6, 8, 4, 4), 3, 4, {}, False),
        "ragged": ("values", (1, 4 * a + 1, 3 * b - 1, 4, 4), 4, 3, {}, True),
        "wide values": ("values", (1, 6, 7, 3, 5), 3, 2, {}, False),
        "one tile is larger": ("values", (1, 3, 4, 4, 4), 8, 8, {}, False),
        "one number a head": ("values", (1, 4, 5, 1, 1), 2, 2, {}, False),
        "no query": ("values", (1, 0, 4, 2, 2), 2, 2, {}, False),
        "causal": ("masks", (1, 12, 12, 4, 4), 4, 4, causal, True),
        "causal, ragged": ("masks", (2, 4 * a - 1, 4 * a - 1, 4, 4), 4, 3, causal, False),
        "more keys than queries": ("masks", (1, 5, 5 + b, 4, 3), 2, 3, causal, True),
        "queries that see nothing": ("masks", (1, 5 + b, 5, 4, 4), 3, 2, causal, True),
        "a window": ("masks", (1, 14, 14, 4, 4), 3, 4, {**causal, "window": b}, True),
        "a window of one": ("masks", (1, 7, 9, 3, 3), 2, 3, {**causal, "window": 1}, False),
        "a wide window": ("masks", (1, 9, 9, 4, 4), 4, 4, {**causal, "window": 8}, False),
    }


def limited(draw: Draw) -> dict[str, tuple[str, Sizes, int, int, dict[str, Any], bool]]:
    """Those whose traffic is bounded: tiles as large as heads are not."""
    causal = {"causal": True}
    rest = draw.integer(1, 7)
    return {
        "all pairs": ("traffic", (1, 24, 24, 4, 4), 8, 8, {}, True),
        "all pairs, ragged": ("traffic", (2, 24 + rest, 24, 4, 4), 8, 8, {}, False),
        "below the diagonal": ("skipping", (1, 32, 32, 4, 4), 8, 8, causal, True),
        "in the window": ("skipping", (1, 64, 64, 8, 8), 8, 8, {**causal, "window": 9}, False),
    }


def forward_cases(draw: Draw) -> list[Given]:
    """By aspect: values, masks, traffic, skipping."""
    found = []
    for name, (aspect, sizes, rows, columns, settings, public) in {**kinds(draw), **limited(draw)}.items():
        _, _, _, D, Dv = sizes
        moved, multiplied = forward_traffic(*sizes, rows, columns, **settings)
        limits = {"entries_moved": 1.1 * moved} if aspect in ("traffic", "skipping") else {}
        limits |= {"multiplications": float(multiplied)} if aspect == "skipping" else {}
        room = (rows + columns) * (D + Dv) + 2 * rows * columns + 8 * rows
        arrays = drawn(draw, sizes, 3.0 if name == "heads" else 1.0)
        settings = {"settings": settings, "rows": rows, "columns": columns}
        names = ["output", "log_sum_exp"]
        found.append(on_the_machine(name, aspect, room, arrays, names, public, limits, **settings))
    large = on_the_machine("large scores", "values", 200, drawn(draw, (1, 6, 6, 4, 4), 30.0), ["output", "log_sum_exp"],
                           rows=2, columns=3, settings={})  # fmt: skip
    none = on_the_machine("no key", "values", 200, drawn(draw, (1, 4, 0, 2, 2)), ["output", "log_sum_exp"], rows=2,
                          columns=3, settings={})  # fmt: skip
    bad = {"bad": "raised", "rows": 2, "columns": 2}
    q, other = (1, 4, 3), (2, 4, 3)
    shapes = {
        "widths": (q, (1, 4, 2), q),
        "heads differ": (other, q, q),
        "heads of values": (q, q, other),
        "a value for each key": (q, q, (1, 5, 3)),
    }
    refused = [
        on_the_machine(f"shapes: {name}", "values", 999, [draw.normal(*x, dtype=F64) for x in three], [], n == 0, **bad)
        for n, (name, three) in enumerate(shapes.items())
    ]
    odd = {"a window, not causal": {"window": 3}, "a window of none": {"causal": True, "window": 0}}
    masks = [
        on_the_machine(name, "masks", 999, drawn(draw, (1, 4, 4, 2, 2)), [], n == 0, settings=settings, **bad)
        for n, (name, settings) in enumerate(odd.items())
    ]
    return [*found, large, none, *refused, *masks]


def backward_cases(draw: Draw) -> list[Given]:
    """By aspect: values, masks, traffic."""
    found = []
    for name, (aspect, sizes, rows, columns, settings, public) in {**kinds(draw), **limited(draw)}.items():
        H, T, _, D, Dv = sizes
        limits = {}
        if aspect in ("traffic", "skipping"):
            aspect, limits = "traffic", {"entries_moved": 1.2 * backward_traffic(*sizes, rows, columns, **settings)[0]}
        given = drawn(draw, sizes)
        memory = FastMemory(10_000)
        made = flash_attention(memory, *map(memory.array, given), rows, columns, **settings)
        arrays = [*given, *map(memory.read, made), draw.normal(H, T, Dv, dtype=F64)]
        room = 2 * (rows + columns) * (D + Dv) + 3 * rows * columns + 8 * rows
        settings = {"settings": settings, "rows": rows, "columns": columns}
        found.append(on_the_machine(name, aspect, room, arrays, ["dq", "dk", "dv"], public, limits, **settings))
    return found
