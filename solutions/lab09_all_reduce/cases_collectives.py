"""Lab 9, sealed: cases of the collectives."""

import math

import torch

from autograder.draw import Draw
from autograder.exercise import Given

F32, F64, B16 = torch.float32, torch.float64, torch.bfloat16


Length = int | list[int]


def of_length(draw: Draw, length: Length, dtype: torch.dtype) -> torch.Tensor | list[torch.Tensor]:
    """A tensor, or one for each call."""
    if isinstance(length, list):
        return [draw.normal(one, dtype=dtype) for one in length]
    return draw.normal(length, dtype=dtype)


def in_one_process(draw: Draw, name: str, aspect: str, world_size: int, length: Length, **common: int) -> Given:
    """Of a world that is larger than those with a process for each rank; a sandbox has room for about 16 threads."""
    world = [{"x": of_length(draw, length, F64)} for _ in range(world_size)]
    return Given(name, aspect, {"ranks": [{"world": world}], **common})


def ring_case(
    draw: Draw,
    name: str,
    aspect: str,
    world_size: int,
    length: Length,
    public: bool = False,
    dtype: torch.dtype = F32,
    limited: bool = False,
    steps_alone: bool = False,
) -> Given:
    """A tensor of its own for each rank; ``limited`` to what a ring sends, or looked at for it and its steps alone."""
    ranks = [{"x": of_length(draw, length, dtype)} for _ in range(world_size)]
    if isinstance(length, list):
        return Given(name, aspect, {"ranks": ranks}, public)
    steps = 2 * (world_size - 1)
    rank_bytes = steps * math.ceil(length / world_size) * dtype.itemsize
    limits = {"rank_bytes": rank_bytes, "rank_messages": steps, "total_bytes": world_size * rank_bytes}
    limits["off_ring_bytes"] = 0  # every message goes to the right neighbour
    if aspect == "uneven":  # how much is sent is the traffic's affair
        limits = {"rank_messages": steps}
    outside = {"outside": "steps"} if steps_alone else {}
    return Given(name, aspect, {"ranks": ranks, **outside}, public, limits if limited or steps_alone else {})


def ring_cases(draw: Draw) -> list[Given]:
    """By aspect: sum, uneven, traffic. Sums of the first and the last are of lengths that the ranks divide."""
    few, many = draw.integer(3, 9), draw.integer(40, 80)
    return [
        ring_case(draw, "two ranks", "sum", 2, 2 * few, True),
        ring_case(draw, "three ranks", "sum", 3, 3 * few, True),
        ring_case(draw, "four ranks", "sum", 4, 4 * few, True, F64),
        ring_case(draw, "bfloat16", "sum", 4, 4 * few, dtype=B16),
        ring_case(draw, "uneven length", "uneven", 4, 4 * few + draw.integer(1, 3), True),
        ring_case(draw, "uneven on three ranks", "uneven", 3, 3 * few + draw.integer(1, 2), dtype=F64),
        ring_case(draw, "fewer entries than ranks", "uneven", 4, draw.integer(2, 3), True, limited=True),
        ring_case(draw, "no entry", "uneven", 3, 0, True),
        ring_case(draw, "one rank", "uneven", 1, few, True),
        ring_case(draw, "traffic of three ranks", "traffic", 3, 3 * many, limited=True),
        ring_case(draw, "traffic of four ranks", "traffic", 4, 4 * many, True, limited=True),
        ring_case(draw, "traffic in bfloat16", "traffic", 4, 4 * many, dtype=B16, limited=True),
        ring_case(draw, "five ranks", "sum", 5, [5 * few, 5 * few, 5, 5 * few]),
        ring_case(draw, "uneven on seven ranks", "uneven", 7, 7 * few + draw.integer(1, 6)),
        ring_case(draw, "traffic of an uneven length", "traffic", 5, 5 * many + draw.integer(1, 4), True, B16,
                  steps_alone=True),
        ring_case(draw, "uneven traffic of seven ranks", "traffic", 7, 7 * many + 1, steps_alone=True),
        in_one_process(draw, "nine ranks and more", "uneven", draw.integer(9, 11), [few, 40, 41, 41]),
    ]  # fmt: skip


def halving_case(
    draw: Draw, name: str, aspect: str, world_size: int, length: Length, public: bool = False, dtype: torch.dtype = F64
) -> Given:
    """The aspect "traffic" is limited: a power of two to log2 steps each way, other worlds to one message more."""
    ranks = [{"x": of_length(draw, length, dtype)} for _ in range(world_size)]
    if isinstance(length, list):
        return Given(name, aspect, {"ranks": ranks}, public)
    power = 1 << (world_size.bit_length() - 1)
    fold = power < world_size
    messages = 2 * int(math.log2(power)) + fold
    rank_bytes = dtype.itemsize * (2 * (length - length // power) + fold * length)
    limits = {"rank_messages": messages, "rank_bytes": rank_bytes} if aspect == "traffic" else {}
    return Given(name, aspect, {"ranks": ranks}, public, limits)


def halving_doubling_cases(draw: Draw) -> list[Given]:
    """By aspect: sum on powers of two, other worlds, traffic."""
    few, many = draw.integer(3, 9), draw.integer(10, 30)
    return [
        halving_case(draw, "two ranks", "sum", 2, 2 * few, dtype=F32),
        halving_case(draw, "four ranks", "sum", 4, 4 * few, True),
        halving_case(draw, "four ranks, uneven", "sum", 4, 4 * few + draw.integer(1, 3), True),
        halving_case(draw, "fewer entries than ranks", "sum", 4, draw.integer(1, 3)),
        halving_case(draw, "no entry", "sum", 4, 0, True),
        halving_case(draw, "one rank", "sum", 1, few, True),
        halving_case(draw, "three ranks", "worlds", 3, 4 * few + 1, True),
        halving_case(draw, "five ranks", "worlds", 5, 4 * few + draw.integer(0, 3), dtype=F32),
        halving_case(draw, "traffic of four ranks", "traffic", 4, 4 * many, True),
        halving_case(draw, "traffic of five ranks", "traffic", draw.choice([6, 7]), 4 * many),
        halving_case(draw, "seven ranks", "worlds", 7, [8 * few, 8 * few + draw.integer(1, 7), 8 * few]),
        halving_case(draw, "bfloat16", "sum", 4, 4 * few, dtype=B16),
        halving_case(draw, "traffic of eight ranks", "traffic", 8, 8 * many, dtype=B16),
        in_one_process(draw, "nine ranks and more", "worlds", draw.integer(9, 12), [few, 41, 41]),
    ]


def all_to_all_case(
    draw: Draw,
    name: str,
    aspect: str,
    world_size: int,
    length: int,
    public: bool = False,
    dtype: torch.dtype = F64,
    calls: int = 1,
) -> Given:
    def chunks() -> list[torch.Tensor]:
        return [draw.normal(length, dtype=dtype) for _ in range(world_size)]

    ranks = [{"chunks": chunks(), "again": [chunks() for _ in range(calls - 1)]} for _ in range(world_size)]
    most = world_size - 1
    limits = {"rank_messages": most, "rank_bytes": most * length * dtype.itemsize} if aspect == "traffic" else {}
    return Given(name, aspect, {"ranks": ranks}, public, limits)


def all_to_all_cases(draw: Draw) -> list[Given]:
    few = draw.integer(2, 6)
    return [
        all_to_all_case(draw, "two ranks", "values", 2, few, True),
        all_to_all_case(draw, "three ranks", "values", 3, few, True, calls=2),
        all_to_all_case(draw, "four ranks", "values", 4, few),
        all_to_all_case(draw, "one rank", "values", 1, few),
        all_to_all_case(draw, "no entry", "values", 3, 0),
        all_to_all_case(draw, "traffic of four ranks", "traffic", 4, few, True),
        all_to_all_case(draw, "traffic of three ranks", "traffic", 3, few, dtype=B16),
        all_to_all_case(draw, "five ranks", "values", 5, few, calls=2),
        all_to_all_case(draw, "traffic of seven ranks", "traffic", 7, few, dtype=F32),
        Given(
            "whole numbers, two axes",
            "values",
            {"ranks": [{"chunks": list(draw.integers(3, 2, few, high=99))} for _ in range(3)]},
        ),
    ]


def broadcast_cases(draw: Draw) -> list[Given]:
    """Shapes of every kind; the steps of worlds that are powers of two and not."""

    def case(
        name: str, aspect: str, world_size: int, root: int, *shape: int, public: bool = False, dtype: torch.dtype = F64
    ) -> Given:
        ranks = [{"x": draw.normal(*shape, dtype=dtype)} for _ in range(world_size)]
        if aspect != "steps":
            return Given(name, aspect, {"ranks": ranks, "root": root}, public)
        most = (world_size - 1) * math.prod(shape) * dtype.itemsize
        return Given(name, aspect, {"ranks": ranks, "root": root, "outside": "traffic"}, public, {"total_bytes": most})

    few = draw.integer(2, 6)
    many = draw.choice([9, 11, 12])  # as threads
    world = [{"x": draw.normal(few, 2, dtype=F64)} for _ in range(many)]
    strided = {"ranks": [{"x": draw.normal(few + 1, 2, 3, dtype=F32)} for _ in range(5)], "root": 3, "strided": True}
    return [
        case("two ranks", "values", 2, 0, few),
        case("four ranks", "values", 4, 0, few, public=True),
        case("seven ranks, two axes", "values", 7, 0, few, 3, public=True),
        case("one rank", "values", 1, 0, few, public=True),
        case("no entry, five ranks", "values", 5, 0, 0, public=True),
        case("bfloat16", "values", 3, 0, few, dtype=B16),
        case("from rank 1", "root", 4, 1, few, public=True),
        case("from the last of five", "root", 5, 4, few, public=True),
        case("from the middle of six", "root", 6, draw.integer(2, 4), few),
        case("steps of eight ranks", "steps", 8, 0, few, public=True),
        case("steps of four ranks", "steps", 4, 3, few, dtype=F32),
        case("steps of five ranks", "steps", 5, draw.integer(1, 4), few, public=True),
        case("steps of seven ranks", "steps", 7, draw.integer(1, 6), few),
        case("steps of six ranks", "steps", 6, 5, few),
        case("a number", "values", 3, 0, dtype=F32),
        Given("whole numbers", "root", {"ranks": [{"x": draw.integers(few, 2, high=99)} for _ in range(3)], "root": 2}),
        Given("of other strides", "values", strided | {"root": 0}),
        Given("nine ranks and more", "root", {"ranks": [{"world": world}], "root": many // 2}),
    ]


def barrier_cases(draw: Draw) -> list[Given]:
    """Worlds that doubling fits, and others."""

    def case(name: str, world_size: int, public: bool = False, aspect: str = "waits") -> Given:
        outside = {"outside": "traffic"} if aspect == "steps" else {}
        return Given(name, aspect, {"ranks": [{} for _ in range(world_size)], **outside}, public)

    return [
        case("one rank", 1, True),
        case("two ranks", 2, True),
        case("four ranks", 4, True),
        case("three ranks", 3, True),
        case("five ranks", 5),
        case("six or seven ranks", draw.integer(6, 7)),
        case("steps of four ranks", 4, True, "steps"),
        case("steps of five ranks", 5, True, "steps"),
        case("steps of eight ranks", 8, aspect="steps"),
        case("steps of one rank", 1, aspect="steps"),
        case("eight ranks", 8),
        Given("nine ranks and more", "waits", {"ranks": [{}], "world_size": draw.choice([9, 10, 12])}),
    ]


def hierarchical_cases(draw: Draw) -> list[Given]:
    """Of the traffic, node and chunk sizes divide the length."""

    def case(
        name: str, aspect: str, world_size: int, node_size: int, length: Length, public: bool = False, dtype=F64
    ) -> Given:
        ranks = [{"x": of_length(draw, length, dtype)} for _ in range(world_size)]
        outside = {"outside": "traffic"} if aspect == "traffic" else {}
        return Given(name, aspect, {"ranks": ranks, "node_size": node_size, **outside}, public)

    few = draw.integer(2, 5)
    return [
        case("two nodes of two", "sum", 4, 2, 8 * few, True),
        case("two nodes of three, uneven", "sum", 6, 3, 6 * few + 5, True),
        case("four nodes of two", "sum", 8, 2, 8 * few),
        case("one node", "sum", 3, 3, [3 * few + 1, 3 * few + 1]),
        case("nodes of one rank", "sum", 3, 1, 3 * few + 1, True),
        case("fewer entries than ranks", "sum", 4, 2, 1, True),
        case("traffic of two nodes of two", "traffic", 4, 2, 8 * few, True),
        case("traffic of two nodes of four", "traffic", 8, 4, 8 * few),
        case("traffic of three nodes of two", "traffic", 6, 2, 12 * few, True),
        case("bfloat16", "sum", 4, 2, 4 * few, dtype=B16),
        case("one rank", "sum", 1, 1, few),
        in_one_process(draw, "three nodes of three or four", "sum", 3 * (k := draw.integer(3, 4)),
                       [few, 41, 41], node_size=k),
    ]  # fmt: skip
