"""Lab 6, sealed: cases of the memory plan and of the order. What is least is worked out as a case is drawn."""

from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given
from mlsys_course.compiler import arena_bytes, plan_buffers

from .cases_rewrites import Line, drawn_lines, graph
from .cases_trace import several
from .drivers import built, handed


def with_arena(case: dict[str, Any]) -> dict[str, Any]:
    """The case with the bytes that its arena may take."""
    nodes, _ = built(case)
    return {**case, "arena": arena_bytes(plan_buffers(*handed(case, nodes)))}


def sized(draw: Draw, count: int) -> list[Line]:
    """Values of several sizes: a vector is stretched, summed and combined, each of the last few at some time."""
    lines: list[Line] = [["scale", [0], 0.5]]
    vectors = [1]
    for n in range(2, count):
        kind = draw.integer(0, 3)
        if kind == 0:
            lines.append(["broadcast", [draw.choice(vectors[-3:])], draw.integer(2, 9), 5])
        elif kind == 1 and len(lines[-1]) == 4 and lines[-1][0] == "broadcast":
            lines.append(["sum", [n - 1], 0, 0])
            vectors.append(n)
        else:
            lines.append([draw.choice(["add", "multiply"]), [draw.choice(vectors[-4:]), draw.choice(vectors[-2:])]])
            vectors.append(n)
    return lines


def buffer_cases(draw: Draw) -> list[Given]:
    def planned(lines: list[Line], outputs: list[int], shapes=((8,),), **more: Any) -> dict[str, Any]:
        return with_arena(graph(draw, lines, outputs, shapes, **more))

    def case(name: str, aspect: str, lines: list[Line], outputs: list[int], public: bool = False, **more: Any) -> Given:
        return Given(name, aspect, planned(lines, outputs, **more), public)

    chain: list[Line] = [["tanh", [n]] for n in range(6)]
    late: list[Line] = [*chain, ["add", [6, 1]], ["sin", [7]]]
    residual: list[Line] = [
        ["tanh", [0]],
        ["sin", [1]],
        ["exp", [2]],
        ["add", [3, 1]],
        ["negate", [4]],
        ["add", [5, 2]],
    ]
    sizes: list[Line] = [
        ["scale", [0], 2.0], ["broadcast", [1], 5, 8], ["sum", [2], 0, 0], ["broadcast", [3], 3, 8],
        ["sum", [4], 1, 0], ["broadcast", [3], 7, 8], ["sum", [6], 0, 0], ["add", [7, 3]],
    ]  # fmt: skip
    gaps: list[Line] = [  # whoever lets small values choose first, or stacks all, needs more
        ["scale", [0], 0.5], ["multiply", [1, 1]], ["broadcast", [1], 2, 5], ["sum", [3], 0, 0],
        ["broadcast", [1], 4, 5], ["multiply", [1, 2]], ["broadcast", [4], 9, 5],
    ]  # fmt: skip
    kinds: list[Line] = [
        ["negate", [0]], ["greater", [0, 1]], ["cast", [2], "float32"], ["tanh", [3]], ["cast", [4], "float64"],
        ["exp", [5]],
    ]  # fmt: skip
    wholes = [sized(draw, draw.integer(14, 18)) for _ in range(6)]
    alike = [drawn_lines(draw, 2, draw.integer(12, 16)) for _ in range(3)]
    dead: list[Line] = [["tanh", [0]], ["exp", [0]], ["sin", [1]], ["negate", [3]]]
    return [
        case("a chain", "lives", chain, [6], True),
        case("needed late", "lives", late, [8], True),
        case("an output on the way", "lives", chain, [6, 2], True),
        several(
            "drawn, all of one size",
            "lives",
            [
                *(planned(one, [len(one) + 1, len(one) // 2], [(8,), (8,)]) for one in alike),
                planned(residual, [6, 3]),
                planned(late, [8, 8]),
            ],
        ),
        several("outputs that others need, and twice", "lives", [
            planned(chain, [6, 1, 1]), planned(chain, [3, 4, 5]), planned(residual, [6], order=[0, 1, 2, 3, 4, 5, 6]),
        ]),
        case("several sizes", "arena", sizes, [8], True),
        case("gaps", "arena", gaps, [7], True, shapes=[(5,)]),
        several("drawn, of several sizes", "arena", [planned(one, [len(one)], [(5,)]) for one in wholes]),
        several("several sizes and outputs", "arena", [
            planned(sizes, [8, 5], [(8,)]), planned(sizes, [8], dtype=torch.float32),
            *(planned(one, [len(one) - 2], [(5,)]) for one in wholes),
        ]),
        case("whole cache lines", "edges", kinds, [6], True, shapes=[(9,)]),
        case("nobody reads it", "edges", dead, [4], True),
        several(
            "no entries, only inputs, another order, float32",
            "edges",
            [
                planned(late, [8], [(0, 3)]),
                planned([], [0]),
                planned([["constant", [], 1.0, 8], ["add", [0, 1]]], [2, 1]),
                planned(dead, [4], order=[0, 1, 3, 2, 4]),
                planned(late, [8], [(17,)], dtype=torch.float32),
                planned(kinds, [6, 3], [(65,)]),
                planned(dead, [4, 2], [(1,)]),
            ],
        ),
    ]  # fmt: skip


def forks(widths: list[int], size: int = 5) -> tuple[list[Line], int]:
    """Of each width a large value from which a small one comes, all summed: (lines, the last node)."""
    lines: list[Line] = []
    small = []
    for width in widths:
        lines += [["broadcast", [0], width, size], ["sum", [len(lines) + 1], 0, 0]]
        small.append(len(lines))
    for other in small[1:]:
        lines.append(["add", [small[0] if lines[-1][0] == "sum" else len(lines), other]])
    return lines, len(lines)


def level_order(lines: list[Line], inputs: int = 1) -> list[int]:
    """All nodes, those of one depth together: a valid order that holds much at one time."""
    depth = [0] * inputs
    for _, uses, *_ in lines:
        depth.append(1 + max((depth[n] for n in uses), default=-1))
    return sorted(range(len(depth)), key=lambda n: (depth[n], n))


def order_cases(draw: Draw) -> list[Given]:
    def case(
        name: str, aspect: str, lines: list[Line], outputs: list[int], public: bool = False, shape=(5,), **more: Any
    ) -> Given:
        return Given(name, aspect, one(lines, outputs, [shape], **more), public)

    def one(lines: list[Line], outputs: list[int], shapes=((5,),), level: bool = True, **more: Any) -> dict[str, Any]:
        order = level_order(lines, len(shapes)) if level else list(range(len(shapes) + len(lines)))
        small = int(sum(bool(line[1]) for line in lines) <= 12)
        return graph(draw, lines, outputs, shapes, order=order, small=small, **more)

    def fork(count: int) -> tuple[list[Line], int]:
        return forks(draw.sample(range(2, 12), count))

    # A trap for whoever is greedy: the way down leads over a large value first.
    trap: list[Line] = [
        ["broadcast", [0], 3, 5], ["broadcast", [0], 8, 5], ["sum", [2], 0, 0], ["sum", [1], 0, 0], ["add", [3, 4]],
    ]  # fmt: skip
    narrow: list[Line] = [
        ["broadcast", [0], 4, 5], ["scale", [1], 2.0], ["sum", [2], 0, 0], ["broadcast", [0], 2, 5],
        ["broadcast", [0], 9, 5],
        ["sum", [5], 0, 0], ["sum", [4], 0, 0], ["add", [3, 6]], ["add", [8, 7]],
    ]  # fmt: skip
    kept: list[Line] = [["broadcast", [0], 6, 5], ["sum", [1], 0, 0], ["broadcast", [0], 7, 5], ["sum", [3], 0, 0]]
    kinds: list[Line] = [
        ["broadcast", [0], 6, 5], ["cast", [1], "float32"], ["sum", [2], 0, 0], ["broadcast", [0], 5, 5],
        ["sum", [4], 0, 0],
    ]  # fmt: skip
    mixed: list[Line] = [  # entries of 8 and of 4 bytes: the one with more of them is the smaller one
        ["broadcast", [0], 6, 5], ["sum", [1], 0, 0], ["cast", [0], "float32"], ["broadcast", [3], 10, 5],
        ["sum", [4], 0, 0], ["cast", [5], "float64"], ["add", [2, 6]],
    ]  # fmt: skip
    twelve: list[Line] = [*fork(4)[0], ["scale", [11], 2.0]]
    two, three, large, larger = fork(2), fork(3), fork(6), fork(9)
    drawn = [sized(draw, 11) for _ in range(4)]
    long: list[Line] = [["tanh", [n]] for n in range(60)]
    wide = [(5,), (5,)]
    return [
        case("two large values", "least", *_of(two), True),
        case("three large values", "least", *_of(three), True),
        case("who goes first", "least", trap, [5], True),
        several(
            "forks",
            "least",
            [one(*_of(fork(n))) for n in (2, 3, 4)]
            + [one(narrow, [9]), one(narrow, [9, 2]), one(kinds, [3, 5]), one(mixed, [7]), one(twelve, [12])],
        ),
        several("drawn", "least", [one(lines, [len(lines)]) for lines in drawn] + [one(trap, [5, 1])]),
        case("outputs stay", "valid", kept, [2, 4, 1], True),
        case("not all are needed", "valid", [["tanh", [0]], ["exp", [1]], ["broadcast", [0], 9, 5]], [2], True),
        case("a chain", "valid", long[:8], [8, 3], True),
        several(
            "nothing, one, several inputs, not needed",
            "valid",
            [
                one([], [0]),
                one([["tanh", [0]]], [1]),
                one([["add", [0, 1]], ["tanh", [1]], ["multiply", [2, 3]]], [4], wide),
                one([["tanh", [0]], ["exp", [1]], ["broadcast", [0], 9, 5]], [2]),
                one([["constant", [], 2.0, 5], ["add", [0, 1]], ["tanh", [1]]], [3, 2]),
                one(kept, [2, 4, 2], level=False),
                one(trap[:2], [1, 2], level=False),
            ],
        ),
        case("many large values", "large", *_of(larger), True),
        several(
            "large graphs",
            "large",
            [
                one(*_of(large)),
                one(*_of(fork(8)), level=False),
                one(long, [60, 30]),
                one(sized(draw, 40), [38]),
                one(sized(draw, 30), [28, 20], level=False),
            ],
        ),
    ]


def _of(fork: tuple[list[Line], int]) -> tuple[list[Line], list[int]]:
    return fork[0], [fork[1]]
