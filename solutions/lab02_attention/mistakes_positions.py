"""Lab 2's misconceptions about positions. Sealed, as exercises.py, which reads them."""

import math
from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from mlsys_course import attention as component

Tensor = torch.Tensor
Candidate = Callable[..., Tensor]

BASE = "Change the base: does your result change?"
FREQUENCY = "Pair i turns at base^(-2i/width). How slow is your slowest pair?"
TWICE = "An index that counts 0, 2, 4, ... is 2i already. How slow is your slowest pair, and how slow should it be?"
FROM_ZERO = "The first row is position 0. What are sin(0) and cos(0)?"


def angles_of(T: int, width: int, base: float, first: int = 0, factor: int = 2, **kind: Any) -> Tensor:
    """Position times frequency, (T, width/2); ``factor`` is what each pair's number is multiplied by."""
    i = torch.arange(width // 2, **kind)
    return torch.arange(first, first + T, **kind)[:, None] * base ** (-factor * i / width)


def waves(arrange: Candidate, fixed_base: bool = False, **options: Any) -> Candidate:
    """A wrong ``sinusoidal_positions``: ``arrange`` puts sines and cosines in order."""

    def candidate(T: int, C: int, base: float = 10000.0, device: torch.device | None = None) -> Tensor:
        kind = {"dtype": torch.float32, "device": device}
        angles = angles_of(T, C, 10000.0 if fixed_base else base, **options, **kind)
        return arrange(angles.sin(), angles.cos())

    return candidate


def alternating(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack((first, second), -1).flatten(-2)


def one_frequency_a_channel(T: int, C: int, base: float = 10000.0, device: torch.device | None = None) -> Tensor:
    channel = torch.arange(C, device=device)
    angles = torch.arange(T, dtype=torch.float32, device=device)[:, None] * base ** (-channel / C)
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos())


SINUSOIDAL = [
    Misconception(
        "concatenated",
        waves(lambda sin, cos: torch.cat((sin, cos), -1)),
        "All the numbers are there, in another order. Which channels hold the sines?",
    ),
    Misconception("cosine first", waves(lambda sin, cos: alternating(cos, sin)), "Is channel 0 a sine or a cosine?"),
    Misconception("factor 2 missing", waves(alternating, factor=1), FREQUENCY),
    Misconception("factor 2 twice", waves(alternating, factor=4), TWICE),
    Misconception(
        "a frequency for each channel",
        one_frequency_a_channel,
        "Channels 2i and 2i+1 are sine and cosine of one angle. Is your angle the same for both?",
    ),
    Misconception("positions from one", waves(alternating, first=1), FROM_ZERO),
    Misconception("base fixed", waves(alternating, fixed_base=True), BASE),
]


def turns(
    interleaved: bool = False,
    backwards: bool = False,
    no_offset: bool = False,
    fixed_base: bool = False,
    low: bool = False,
    rounded: bool = False,
    first: int = 0,
    **options: Any,
) -> Candidate:
    """A wrong ``rotary_positions``; ``low`` computes angles in x's own precision, ``rounded`` rounds them to it."""

    def candidate(x: Tensor, offset: int = 0, base: float = 10000.0) -> Tensor:
        kind = {"dtype": x.dtype if low else torch.promote_types(x.dtype, torch.float32), "device": x.device}
        start = first + (0 if no_offset else offset)
        angles = angles_of(*x.shape[-2:], 10000.0 if fixed_base else base, start, **options, **kind)
        angles = angles.to(x.dtype) if rounded else angles
        sin, cos = angles.sin() * (-1 if backwards else 1), angles.cos()
        if interleaved:
            a, b = x[..., ::2], x[..., 1::2]
            return alternating(a * cos - b * sin, b * cos + a * sin).to(x.dtype)
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)

    return candidate


def half(angles: Candidate) -> Candidate:
    """A wrong ``rotary_positions`` that starts from positions and channels in x's precision.

    How it goes on from there decides by radians where it ends, so that each way is a mistake of its own.
    """

    def candidate(x: Tensor, offset: int = 0, base: float = 10000.0) -> Tensor:
        T, D = x.shape[-2:]
        kind = {"dtype": x.dtype, "device": x.device}
        position = torch.arange(offset, offset + T, **kind)[:, None]
        angle = angles(position, torch.arange(0, D, 2, **kind) / D, base).to(x.dtype)
        sin, cos = angle.sin(), angle.cos()
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    return candidate


def in_float32(x: Tensor, offset: int = 0, base: float = 10000.0) -> Tensor:
    return component.rotary_positions(x.to(torch.promote_types(x.dtype, torch.float32)), offset, base)


HALF = "How many positions can bfloat16 tell apart between 256 and 512? See the note on precision."
ROTARY = [
    Misconception(
        "neighbours paired",
        turns(interleaved=True),
        "This is the paper's pairing, 2i with 2i+1. Which channel is the partner of channel 0 in the lab's?",
    ),
    Misconception(
        "offset ignored",
        turns(no_offset=True),
        "With offset 5 the first row stands at position 5. Where does yours stand?",
    ),
    Misconception("base fixed", turns(fixed_base=True), BASE),
    Misconception(
        "turned backwards",
        turns(backwards=True),
        "Turn (1, 0) by a small positive angle: which sign does its second coordinate have?",
    ),
    Misconception(
        "positions from one", turns(first=1), "Position 0 is not turned at all. Is your first row unchanged?"
    ),
    Misconception("factor 2 missing", turns(factor=1), FREQUENCY),
    Misconception("factor 2 twice", turns(factor=4), TWICE),
    Misconception("angles in half precision", turns(low=True), HALF),
    Misconception("angles in half precision, divided", half(lambda t, i, base: t / base**i), HALF),
    Misconception(
        "angles in half precision, by exp", half(lambda t, i, base: t * torch.exp(-i * math.log(base))), HALF
    ),
    Misconception(
        "angles rounded to half precision",
        turns(rounded=True),
        "Your angles are computed precisely and then rounded. How far may 300 be off in bfloat16, in radians?",
    ),
    Misconception(
        "result in float32",
        in_float32,
        "Computing in float32 is right for half precision; which dtype should the result have?",
    ),
]


def rows_of(rule: Candidate) -> Candidate:
    """A wrong ``learned_positions``, from a rule of (table, offset, T)."""
    return lambda table, T, offset=0: rule(table, offset, T)


def checked(rule: Candidate) -> Candidate:
    """The same, with the right error beyond the table."""

    def candidate(table: Tensor, T: int, offset: int = 0) -> Tensor:
        component.learned_positions(table, T, offset)
        return rule(table, offset, T)

    return candidate


LEARNED = [
    Misconception(
        "goes on beyond the table",
        rows_of(lambda table, offset, T: table[torch.arange(offset, offset + T).clamp(max=len(table) - 1)]),
        "A slice beyond the end is cut short, and a clamped or wrapped index finds a row trained for another place. "
        "What should the caller of a sequence that is too long learn?",
    ),
    Misconception(
        "error of the look-up",
        rows_of(lambda table, offset, T: table[torch.arange(offset, offset + T)]),
        "Your look-up raises an IndexError about a number. The caller gave a sequence: which error is asked for?",
    ),
    Misconception(
        "offset ignored",
        checked(lambda table, offset, T: table[:T]),
        "With offset 5 the first row stands at position 5. Where does yours stand?",
    ),
    Misconception(
        "copied out of the graph",
        checked(lambda table, offset, T: table.detach()[offset : offset + T] + 0 * table.sum()),
        "The table is trained. Does a gradient reach the rows that you return?",
    ),
    Misconception(
        "the last rows",
        checked(lambda table, offset, T: table[len(table) - T :]),
        "Position 0 is row 0 of the table.",
    ),
]
