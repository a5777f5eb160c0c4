"""Lab 6, sealed: cases of what changes a graph: common nodes, rules, merged products, fusion."""

from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

from .cases_trace import F64, several

Line = list[Any]
ONE, TWO = ("negate", "tanh", "sin", "exp"), ("add", "subtract", "multiply")


def feeds_of(draw: Draw, shapes: list[tuple[int, ...]], dtype: torch.dtype = F64) -> list[torch.Tensor]:
    return [0.5 * draw.normal(*shape, dtype=F64).to(dtype) for shape in shapes]


def drawn_lines(draw: Draw, inputs: int, count: int, kinds: tuple[str, ...] = ("tanh", "sin", "negate")) -> list[Line]:
    """Nodes of one or two earlier ones, each of several kinds; many are alike."""
    lines: list[Line] = []
    for n in range(inputs, inputs + count):
        if draw.integer(0, 1):
            lines.append([draw.choice(kinds), [draw.integer(max(0, n - 4), n - 1)]])
        else:
            lines.append([draw.choice(TWO), [draw.integer(max(0, n - 5), n - 1) for _ in range(2)]])
    return lines


def graph(
    draw: Draw, lines: list[Line], outputs: list[int], shapes=((2, 3),), dtype=F64, **more: Any
) -> dict[str, Any]:
    feeds = feeds_of(draw, list(shapes), dtype)
    return {"feeds": feeds, "lines": lines, "outputs": outputs, **more}


def eliminate_cases(draw: Draw) -> list[Given]:
    def case(name: str, aspect: str, lines: list[Line], outputs: list[int], public: bool = False, **more: Any) -> Given:
        return Given(name, aspect, graph(draw, lines, outputs, **more), public)

    two = [(2, 3), (2, 3)]
    doubled = [["tanh", [0]], ["tanh", [0]], ["add", [1, 2]]]
    layers: list[Line] = [["tanh", [0]], ["tanh", [0]], ["sin", [1]], ["sin", [2]], ["multiply", [3, 4]], ["exp", [5]]]
    whole = drawn_lines(draw, 2, draw.integer(14, 18))
    fields: list[Line] = [
        ["scale", [0], 2.0], ["scale", [0], 3.0], ["scale", [0], 2.0], ["shift", [0], 2.0], ["sum", [0], 0, 0],
        ["sum", [0], 1, 0], ["sum", [0], 0, 1], ["sum", [0], 0, 0], ["softmax", [0], 1], ["log_softmax", [0], 1],
        ["softmax", [0], 0], ["softmax", [0], 1],
    ]  # fmt: skip
    sides: list[Line] = [["subtract", [0, 1]], ["subtract", [1, 0]], ["subtract", [0, 1]], ["multiply", [2, 3]]]
    long: list[Line] = []
    for n in range(600):  # two chains alike
        long += [["tanh" if n % 2 else "sin", [max(0, 2 * n - 1)]], ["tanh" if n % 2 else "sin", [2 * n]]]
    return [
        case("the same twice", "common", doubled, [3], True),
        case("layer upon layer", "common", layers, [6, 4, 3], True),
        case("drawn", "common", whole, [len(whole) + 1, len(whole) - 1, len(whole) + 1], shapes=two),
        several(
            "fields, sides",
            "common",
            [graph(draw, fields, list(range(1, 13))), graph(draw, sides, [5, 3, 4], two), graph(draw, doubled, [1, 2])],
        ),
        case("fields matter", "common", fields[:8], [1, 2, 3, 4, 6, 8], True),
        case("sides matter", "common", sides, [5], True, shapes=two),
        case("float32, two chains alike", "common", long[:80], [80, 79], dtype=torch.float32),
        case("nobody needs them", "dead", [["tanh", [0]], ["exp", [0]], ["sin", [1]], ["add", [2, 3]]], [3], True),
        several(
            "only inputs, nothing, all",
            "dead",
            [
                graph(draw, doubled, [0]),
                graph(draw, doubled, []),
                graph(draw, layers, [2, 1, 0], two[:1]),
                graph(draw, whole, [len(whole) // 2], two),
            ],
        ),
        case("unlike variables of one name", "order", [["add", [0, 1]], ["add", [1, 0]]], [2, 3], True, shapes=two),
        case("another order", "order", layers, [6], order=[0, 2, 4, 1, 3, 5, 6]),
        several(
            "variables that come late, orders",
            "order",
            [
                graph(draw, sides, [5, 4], two, order=[1, 0, 4, 3, 2, 5]),
                graph(draw, doubled, [3, 3], order=[0, 2, 1, 3]),
                graph(draw, [["tanh", [1]], ["sin", [0]], ["add", [2, 3]]], [4], two, order=[1, 2, 0, 3, 4]),
            ],
        ),
    ]


# Graphs as the fewest lines say them: node 0 is x, and each line makes the next.
SIGNS, SCALES, ONES = "cancel_negations", "join_scales", "drop_ones"
TOWER: list[Line] = [["negate", [n]] for n in range(7)]
STAIRS: list[Line] = [
    ["scale", [0], 4.0], ["scale", [1], 0.5], ["scale", [2], 0.5], ["tanh", [3]], ["scale", [4], 1.0],
]  # fmt: skip
SHARED: list[Line] = [["tanh", [0]], ["negate", [1]], ["negate", [2]], ["exp", [3]], ["sin", [3]], ["add", [4, 5]],
                      ["multiply", [6, 3]]]  # fmt: skip
LADDER: list[Line] = [  # as many paths as 2^40
    ["negate", [0]], ["negate", [1]], *(["add", [n, n]] for n in range(2, 42)), ["tanh", [42]],
]  # fmt: skip
DEEP: list[Line] = [["tanh", [0]]]
for n in range(1, 2400, 3):
    DEEP += [["negate", [n]], ["negate", [n + 1]], ["sin", [n + 2]]]
UNTOUCHED: list[Line] = [
    ["sin", [0]], ["tanh", [1]], ["negate", [0]], ["negate", [3]], ["add", [2, 4]], ["exp", [2]],
]  # fmt: skip
ENDLESS: list[tuple[list[Line], list[str]]] = [
    ([["add", [0, 0]], ["tanh", [1]]], ["swap"]),
    ([["tanh", [0]]], ["there", "and_back"]),
    ([["exp", [0]], ["tanh", [1]], ["add", [2, 0]]], ["and_back", "there"]),
]
LIMITS: list[dict[str, Any]] = [{}, {"limit": 50}]
BAD = [([["tanh", [0]]], ["other_shape"]), ([["sin", [0]], ["tanh", [1]]], ["other_dtype"])]


def rewrite_cases(draw: Draw) -> list[Given]:
    def case(
        name: str,
        aspect: str,
        lines: list[Line],
        outputs: list[int],
        rules: list[str],
        public: bool = False,
        **more: Any,
    ) -> Given:
        return Given(name, aspect, graph(draw, lines, outputs, rules=rules, **more), public)

    drawn: list[Line] = []
    for n in range(1, draw.integer(16, 20)):
        drawn.append(
            draw.choice([["negate", [n - 1]], ["scale", [n - 1], 2.0], ["tanh", [n - 1]], ["negate", [n - 1]]])
        )
    end = len(drawn)
    return [
        case("a tower of signs", "fixed point", TOWER, [7], [SIGNS], True),
        case("until nothing applies", "fixed point", STAIRS, [5], [SCALES, ONES], True),
        case("a rule makes work for another", "fixed point", STAIRS, [5], [ONES, SCALES], True),
        case("its own work again", "fixed point", [["shift", [0], 5.0], ["tanh", [1]]], [2], ["split_shift"], True),
        several(
            "drawn, several rules",
            "fixed point",
            [
                graph(draw, drawn, [end, end - 1, end // 2], rules=[SIGNS, SCALES, ONES]),
                graph(draw, drawn, [end], rules=["negate_by_scale", SCALES]),
                graph(draw, TOWER, [7, 6], rules=["negate_by_scale", SCALES, ONES]),
                graph(draw, [["shift", [0], 6.0], ["shift", [1], 3.0]], [2, 1], rules=["split_shift"]),
                graph(draw, [["exp", [0]], ["relu", [1]], ["relu", [2]]], [3, 1], rules=["relu_of_exp"]),
            ],
        ),
        several(
            "which is first, and at the outputs",
            "fixed point",
            [
                graph(draw, [["negate", [0]], ["negate", [1]]], [2, 1], rules=[SIGNS, "negate_by_scale"]),
                graph(draw, [["scale", [0], 1.0]], [1, 0, 1], rules=[ONES]),
                graph(draw, [["tanh", [0]], ["negate", [1]]], [2], rules=[]),
                graph(draw, UNTOUCHED, [6, 4], rules=["negate_by_scale", "negate_by_difference"]),
                graph(draw, UNTOUCHED, [6, 4], rules=["negate_by_difference", "negate_by_scale"]),
                graph(draw, [["tanh", [0]]], [], rules=[SIGNS]),
            ],
        ),
        case("a node with several users", "sharing", SHARED, [7], [SIGNS], True),
        case("what no rule changes", "sharing", UNTOUCHED, [5, 6], [SIGNS], True),
        case("40 doublings", "sharing", LADDER, [43], [SIGNS]),
        case("a deep graph", "sharing", DEEP, [len(DEEP)], [SIGNS]),
        several(
            "shared and untouched",
            "sharing",
            [
                graph(draw, SHARED, [7, 3, 1], rules=[SIGNS, SCALES]),
                graph(draw, UNTOUCHED, [6], rules=[SIGNS]),
                graph(draw, UNTOUCHED, [6, 5, 0], rules=[SCALES, ONES]),
            ],
        ),
        case("there and back", "endless", *ENDLESS[1][:1], [1], ENDLESS[1][1], True, endless=1),
        case("another shape", "endless", BAD[0][0], [1], BAD[0][1], True, endless=1),
        several("all that do not end", "endless", [
            graph(draw, lines, [len(lines)], rules=rules, endless=1, **more)
            for lines, rules in ENDLESS for more in LIMITS
        ]),
        several("another shape or dtype", "endless", [
            graph(draw, lines, [len(lines)], rules=[SIGNS, *rules], endless=1) for lines, rules in BAD
        ]),
        several("just enough, and one too many", "endless", [
            graph(draw, TOWER[:6], [6], rules=[SIGNS], limit=3),
            graph(draw, [["negate", [k]] for k in range(2000)], [2000], rules=[SIGNS]),
            graph(draw, [["negate", [k]] for k in range(2002)], [2002], rules=[SIGNS], endless=1),
            graph(draw, [["shift", [0], 5.0]], [1], rules=["split_shift"], limit=4),
            graph(draw, [["shift", [0], 6.0]], [1], rules=["split_shift"], limit=4, endless=1),
        ]),
    ]  # fmt: skip


def merge_cases(draw: Draw) -> list[Given]:
    C, n = draw.integer(3, 5), draw.integer(3, 4)

    def case(name: str, aspect: str, shapes, lines: list[Line], outputs: list[int], public: bool = False, **more: Any):
        return Given(name, aspect, graph(draw, lines, outputs, shapes, **more), public)

    three = [(4, C), (C, 2), (C, n), (C, 5)]
    products: list[Line] = [["matmul", [0, 1]], ["matmul", [0, 2]], ["matmul", [0, 3]]]
    mixed = [*products, ["transpose", [4]], ["matmul", [7, 5]], ["tanh", [8]], ["matmul", [9, 9]]]
    square = [(3, C), (C, C), (C, C), (C, C), (C, C)]
    layers: list[Line] = [
        ["matmul", [0, 1]], ["matmul", [0, 2]], ["add", [5, 6]], ["tanh", [7]],
        ["matmul", [8, 3]], ["matmul", [8, 4]], ["multiply", [9, 10]], ["exp", [11]],
    ]  # fmt: skip
    made: list[Line] = [["tanh", [1]], ["matmul", [0, 1]], ["matmul", [0, 5]], ["matmul", [0, 2]]]
    # A weight that another product makes: the two can never be one.
    feeding: list[Line] = [["matmul", [0, 1]], ["matmul", [0, 5]], ["matmul", [0, 3]], ["add", [6, 7]]]
    right: list[Line] = [["matmul", [0, 2]], ["matmul", [1, 2]], ["matmul", [2, 3]]]
    lefts = [(3, 2), (5, 2), (2, C), (C, 2)]
    batch = [(2, 3, C), (C, 2), (C, n), (2, C, 3)]
    batches: list[Line] = [["matmul", [0, 1]], ["matmul", [0, 3]], ["matmul", [0, 2]], ["tanh", [4]]]
    return [
        case("queries, keys, values", "merged", three, products, [4, 5, 6], True),
        case("attention", "merged", [(4, C), (C, 4), (C, 4), (C, n)], mixed[:5], [8, 6], True),
        case("two layers", "merged", square, layers, [12], True),
        several(
            "layers, batches, float32",
            "merged",
            [
                graph(draw, layers, [12, 9, 5], square),
                graph(draw, batches, [6, 4, 7], batch),
                graph(draw, products, [6, 4], three, dtype=torch.float32),
                graph(draw, products, [5, 6, 4, 5], three, order=[0, 3, 6, 1, 2, 5, 4]),
            ],
        ),
        several(
            "a variable and a constant",
            "merged",
            [
                graph(
                    draw,
                    [["constant", [], 0.5, C, 2], ["matmul", [0, 1]], ["matmul", [0, 2]]],
                    [3, 4],
                    [(4, C), (C, 3)],
                )
            ],
        ),
        case("other left sides", "left alone", lefts, right, [4, 6, 5], True),
        case("a product with numbers of its own", "left alone", square, made, [6, 7, 8], True),
        case("one makes the other's weight", "left alone", [(C, C)] * 5, feeding, [8, 5]),
        several(
            "weights with a batch, weights that are made",
            "left alone",
            [
                graph(draw, [["matmul", [0, 3]], ["matmul", [0, 3]], ["matmul", [0, 1]]], [4, 5, 6], batch),
                graph(draw, made, [7, 6, 8], square),
                graph(draw, [["tanh", [1]], ["matmul", [0, 5]], ["matmul", [0, 5]]], [6, 7], square),
            ],
        ),
        case("one alone", "edges", three, [["matmul", [0, 1]], ["tanh", [4]]], [5], True),
        several(
            "nothing to merge, the same weight twice, not needed",
            "edges",
            [
                graph(draw, [["tanh", [0]]], [1, 0]),
                graph(draw, [["matmul", [0, 1]], ["matmul", [0, 1]]], [2, 3], [(2, C), (C, 3)]),
                graph(draw, products[:2], [5, 4], [(3, C), (C, 1), (C, 0), (C, 2)]),
                graph(draw, [["matmul", [0, 1]], ["matmul", [0, 2]]], [3, 4], [(0, C), (C, 2), (C, 3)]),
            ],
        ),
    ]


def fuse_cases(draw: Draw) -> list[Given]:
    def case(name: str, aspect: str, lines: list[Line], outputs: list[int], public: bool = False, **more: Any) -> Given:
        return Given(name, aspect, graph(draw, lines, outputs, **more), public)

    two = [(2, 3), (2, 3)]
    chain: list[Line] = [["tanh", [0]], ["scale", [1], 2.0], ["shift", [2], 1.0], ["exp", [3]]]
    tree: list[Line] = [["tanh", [0]], ["sin", [1]], ["multiply", [2, 3]], ["negate", [4]], ["add", [5, 0]]]
    between: list[Line] = [["tanh", [0]], ["exp", [1]], ["softmax", [2], 1], ["negate", [3]], ["sin", [4]]]
    fan: list[Line] = [["tanh", [0]], ["exp", [1]], ["sin", [2]], ["negate", [2]], ["add", [3, 4]]]
    outside: list[Line] = [["tanh", [0]], ["exp", [1]], ["sum", [1], 0, 0], ["sin", [2]]]
    twice: list[Line] = [["tanh", [0]], ["multiply", [1, 1]], ["negate", [2]]]
    stretched: list[Line] = [["tanh", [0]], ["sin", [1]], ["add", [2, 3]], ["exp", [4]]]
    masks: list[Line] = [
        ["negate", [0]], ["greater", [0, 1]], ["where", [2, 0, 1]], ["cast", [3], "float32"], ["exp", [4]],
    ]  # fmt: skip
    moved: list[Line] = [
        ["tanh", [0]],
        ["transpose", [1]],
        ["exp", [2]],
        ["reshape", [3], 6],
        ["sin", [4]],
        ["negate", [5]],
    ]
    whole = drawn_lines(draw, 2, draw.integer(14, 18))
    more = drawn_lines(draw, 2, draw.integer(14, 18))
    dead: list[Line] = [["tanh", [0]], ["exp", [1]], ["sin", [0]], ["negate", [3]]]
    skewed = [0, 1, 3, 2, 4, 5, 6]
    constants: list[Line] = [["constant", [], 2.0, 2, 3], ["add", [0, 1]], ["tanh", [2]], ["multiply", [3, 1]]]
    return [
        case("a chain", "chains", chain, [4], True),
        case("a tree", "chains", tree, [6], True, shapes=two),
        case("other operators between", "chains", between, [5], True),
        several(
            "chains, trees, orders",
            "chains",
            [
                graph(draw, tree, [6], two, order=skewed),
                graph(draw, constants, [4]),
                graph(draw, moved, [6]),
                graph(draw, [["tanh", [0]], ["matmul", [1, 0]], ["exp", [2]], ["sin", [3]]], [4], [(3, 3)]),
                graph(draw, [["softmax", [0], 0]], [1]),
                graph(draw, [], [0]),
            ],
        ),
        several("no chains", "chains", [graph(draw, between, [5, 3]), graph(draw, moved, [6, 5])]),
        case("two users", "fan-out", fan, [5], True),
        case("asked for on the way", "fan-out", chain, [4, 2], True),
        case("one user twice", "fan-out", twice, [3], True),
        several(
            "users, outputs, drawn",
            "fan-out",
            [
                graph(draw, whole, [len(whole) + 1, len(whole) - 2], two),
                graph(draw, more, [len(more) + 1], two),
                graph(draw, more, [len(more), len(more) // 2], two),
                graph(draw, outside, [3, 4]),
                graph(draw, dead, [2]),
            ],
        ),
        several("one user twice, and asked for", "fan-out", [graph(draw, twice, [3, 1]), graph(draw, fan, [5, 5, 2])]),
        case("stretched", "shapes", stretched, [5], True, shapes=[(3,), (2, 3)]),
        case("masks and dtypes", "shapes", masks, [5], True),
        several(
            "stretched both ways, masks, no entries",
            "shapes",
            [
                graph(draw, stretched, [5], [(2, 1), (1, 3)]),
                graph(draw, stretched, [5], [(1, 3), (3,)]),
                graph(draw, stretched, [5, 3], [(2, 3), (3,)]),
                graph(draw, masks, [5], [(2, 0)]),
                graph(draw, [["scale", [0], 2.0], ["broadcast", [1], 4, 2, 3], ["exp", [2]], ["sin", [3]]], [4]),
            ],
        ),
    ]
