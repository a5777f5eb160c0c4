"""Lab 5, sealed: cases of the engine: order, evaluator, gradient."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

F64 = torch.float64
DIAMOND = [[], [0], [0], [1, 2]]
BAD = ["missing", "shape", "one more axis", "one axis less", "turned", "dtype", "whole numbers"]


def normal(draw: Draw, *shape: int) -> torch.Tensor:
    """Of any shape, () too."""
    return draw.normal(*(shape or (1,)), dtype=F64).reshape(shape)


def random_uses(draw: Draw, inputs: int, nodes: int, back: int = 5) -> list[list[int]]:
    """Each node uses one to three earlier ones, none of them far back."""
    uses: list[list[int]] = [[] for _ in range(inputs)]
    for n in range(inputs, inputs + nodes):
        uses.append([draw.integer(max(0, n - back), n - 1) for _ in range(draw.integer(1, 3))])
    return uses


def connected(uses: list[list[int]]) -> list[list[int]]:
    """One node more, which uses all that nobody does."""
    used = {k for row in uses for k in row}
    return [*uses, [n for n in range(len(uses)) if n not in used]]


def ladder(rungs: int) -> list[list[int]]:
    """Each node uses the one before twice: as many paths as 2 to the power of rungs."""
    return [[], *([n, n] for n in range(rungs))]


def chain(length: int) -> list[list[int]]:
    return [[], *([n] for n in range(length))]


def asked(draw: Draw) -> dict[str, Any]:
    """What a case has whose nodes have to be asked for one by one; only who judges knows that it counts."""
    return {"key": draw.integer(0, 2**53), "outside": "counts"}


def an_order(draw: Draw, uses: Sequence[Sequence[int]]) -> list[int]:
    """All nodes, inputs before users, in an order that is drawn."""
    found: list[int] = []
    while len(found) < len(uses):
        ready = [n for n in range(len(uses)) if n not in found and all(k in found for k in uses[n])]
        found.append(max(ready) if len(found) % 2 else draw.choice(ready))
    return found


def order_cases(draw: Draw) -> Sequence[Given]:
    def case(name: str, aspect: str, uses: list[list[int]], outputs: list[int], public=False, **more: Any) -> Given:
        return Given(name, aspect, {"uses": uses, "outputs": outputs, **more}, public)

    def paths(name: str, rungs: int, public: bool = False) -> Given:
        return Given(name, "depth", {"uses": ladder(rungs), "outputs": [rungs], "watched": True}, public)

    late = [[], [0], [1], [2], [0, 3], [4, 1]]  # node 1 is used near the start and at the end
    alike: list[list[int]] = [[], [], [], [], [0, 1], [0, 1], [4], [5], [6, 7, 3], [8, 4, 5]]
    whole = connected(random_uses(draw, 3, draw.integer(15, 20)))
    parts = random_uses(draw, 3, draw.integer(15, 20))
    return [
        case("diamond", "order", DIAMOND, [3], True),
        case("used early and late", "order", late, [5], True),
        case("used late and early", "order", [[], [0], [1], [2], [3, 0], [1, 4], [5, 0, 3]], [6]),
        case("not all are needed", "order", [[], [], [0], [1], [2], [0, 4]], [5], True),
        case("several outputs", "order", parts, [len(parts) - 1, len(parts) - 3, len(parts) - 6]),
        case("an output that another needs, twice", "order", [*DIAMOND, [3, 1]], [1, 4, 1], True),
        case("drawn", "order", whole, [len(whole) - 1]),
        case("a variable", "order", [[]], [0]),
        case("constants, equal names, equal nodes", "order", alike, [9, 7, 2], constants=[1, 2], label="x"),
        case("ladder", "order", ladder(12), [12]),
        paths("40 doublings", 40, True),
        paths("doublings", draw.integer(45, 60)),
        Given("a chain of 3,000", "depth", {"chain": 3000}, True),
        Given("a chain of 8,000", "depth", {"chain": 8000 + draw.integer(0, 99)}),
        Given("a chain of 100,000", "depth", {"chain": 100_000}),
    ]


def evaluator_cases(draw: Draw) -> Sequence[Given]:
    def runs(uses: list[list[int]], count: int, *shape: int, constants: Sequence[int] = (), dtype: torch.dtype = F64):
        fed = sum(not row for row in uses) - len(constants)
        return [[normal(draw, *shape).to(dtype) for _ in range(fed)] for _ in range(count)]

    def described(uses, outputs, count=1, shape=(2,), dtype=F64, **more: Any) -> dict[str, Any]:
        fed = runs(uses, count, *shape, constants=more.get("constants", ()), dtype=dtype)
        return {"uses": uses, "outputs": outputs, "runs": fed, **more}

    def case(name: str, aspect: str, uses, outputs, count=1, shape=(2,), public=False, **more: Any) -> Given:
        return Given(name, aspect, described(uses, outputs, count, shape, **more), public)

    def long(name: str, uses, outputs, count: int, most: int, public: bool = False) -> Given:
        """Values of a MiB each, of which so many may be there at one time; a run without letting go has 30 and more."""
        inputs = {"uses": uses, "outputs": outputs, "runs": runs(uses, count, 1 << 17), "every": 1 << 14}
        return Given(name, "memory", inputs, public, {"peak_memory": float(most << 20)})

    whole, other = (connected(random_uses(draw, 3, draw.integer(10, 14))) for _ in range(2))
    last, n = len(whole) - 1, draw.integer(30, 50)
    middle = [*chain(n), [n // 2, n]]
    wide = [[], *([0] for _ in range(6)), [1, 2, 3, 4, 5, 6]]
    several = [
        [],
        [0, 0],
        *([n - 1, n - 1, n - 2] for n in range(2, n)),
    ]  # each node has two users, and one takes it twice
    fixed_inside: list[list[int]] = [[], [], [], [0, 1], [3, 2], [1, 1], [4, 5, 0]]
    single = [[], [], [0, 1], [2, 1], []]  # the last variable is an output and nothing else
    two, fixed = [[], [], [0, 1], [2, 1]], draw.normal(4, dtype=F64)
    return [
        case("diamond", "values", DIAMOND, [3], public=True),
        case("drawn, several outputs", "values", whole, [last, last - 2, last - 1], shape=(3, 2)),
        case("feeds and a constant as outputs", "values", two, [3, 0, 3], public=True, constant=fixed),
        case("numbers without axes", "values", wide, [7], shape=()),
        case("three runs", "again", other, [len(other) - 1, len(other) - 2], 3, public=True),
        case("other numbers in the same tensors", "again", two, [3, 2], 2, public=True, overwrite=True),
        case("three runs, then the same tensors", "again", whole, [last], 3, overwrite=True),
        case("a node with two users", "once", DIAMOND, [3, 1], 2, public=True, **asked(draw)),
        case("ladder", "once", ladder(10), [10], **asked(draw)),
        case("40 doublings", "once", ladder(40), [40], public=True, **asked(draw)),
        case("many users", "once", wide, [7, 1], 2, **asked(draw)),
        long("a chain", chain(n), [n], 2, 12, True),
        long("a chain with a late user", middle, [n + 1], 1, 14, True),
        long("outputs on the way stay", chain(n + 9), [n // 3, n + 9, 1], 2, 20),
        case("missing feed", "feeds", two, [3], 2, public=True, bad="missing"),
        case("feed of another shape", "feeds", two, [3], 2, public=True, bad="shape"),
        case("feed with one axis more", "feeds", two, [3], 2, bad="one more axis"),
        case("missing feed, then a run of all", "again", other, [len(other) - 1], 2, bad="missing"),
        case("feed of another dtype", "feeds", two, [3], 2, public=True, bad="dtype"),
        case("no entries", "values", DIAMOND, [3, 0], shape=(0, 2)),
        case(
            "another order, equal names", "values", whole, [last - 1, last], 2, order=an_order(draw, whole), label="x"
        ),
        case("constants inside", "values", fixed_inside, [6, 1, 4], 2, constants=[1, 2], order=[2, 1, 0, 5, 3, 4, 6]),
        case("float32", "values", whole, [last, 0], 2, (2, 2), dtype=torch.float32),
        case("two evaluators in turn", "again", whole, [last], 3, beside=described(other, [3, 5, 4], 1, (3,))),
        case("an operator that fails, then a run", "again", two, [3, 2], 2, fails=3),
        case("a long chain", "values", chain(1800), [1800, 900], 1, ()),
        long("two users each", several, [n - 1], 2, 15),
        case("every bad feed of every variable", "feeds", single, [3, 4], 2, (2, 3), bad=BAD),
        case("bad feeds of float32", "feeds", single, [4, 3], 2, (2, 2), dtype=torch.float32, bad=BAD[-2:]),
    ]


def gradient_cases(draw: Draw) -> Sequence[Given]:
    def case(
        name: str, aspect: str, lines, wanted, inputs=1, shape=(3,), public=False, runs=2, dtype=F64, **more: Any
    ) -> Given:
        feeds = [[(normal(draw, *shape) * 0.6).to(dtype) for _ in range(inputs)] for _ in range(runs)]
        return Given(name, aspect, {"lines": lines, "wanted": wanted, "feeds": feeds, **more}, public)

    study = [["exp", 0], ["exp", 1], ["multiply", 1, 2]]
    whole = drawn_program(draw, 3, draw.integer(9, 12))
    rungs = [["add", n, n] for n in range(8)]
    squares: list[list[Any]] = [["exp", 0], ["multiply", 1, 1], ["multiply", 2, 2]]
    users: list[list[Any]] = [["exp", 0], ["add", 1, 0]]
    for n in range(2, 14):
        users.append(["multiply" if n % 3 else "add", n, 1])
    uses = [[], [], [], *(line[1:] for line in whole)]
    drawn_order = an_order(draw, uses)
    lone: list[list[Any]] = [["exp", 0], ["add", 3, 0]]
    kinds = [[normal(draw, 3), normal(draw, 2, 2), normal(draw, 4).float()] for _ in range(2)]
    longest: list[list[Any]] = [["add", 0, 1], *(["add", n, 1] for n in range(2, 3000)), ["multiply", 3000, 0]]
    masked = [["positive", 0], ["multiply", 1, 0], ["add", 2, 0]]
    return [
        case("chain", "chain", [["exp", 0], ["exp", 1]], [0], shape=(), public=True),
        case("product", "chain", [["multiply", 0, 1], ["exp", 2]], [0, 1], 2, public=True),
        case("longer chain", "chain", [["exp", 0], ["multiply", 2, 1], ["exp", 3], ["add", 4, 1]], [0], 2, (2, 2)),
        case("two users", "fan-out", study, [0], shape=(), public=True),
        case("a node twice in one operator", "fan-out", [["multiply", 0, 0], ["multiply", 1, 0]], [0], public=True),
        case("early and late users", "fan-out", [*study, ["multiply", 3, 0], ["add", 4, 1]], [0, 1], public=True),
        case("drawn", "fan-out", whole, [0, 1, 2], 3),
        case("twelve users", "fan-out", users, [0]),
        case("inputs that do not matter", "edges", [["exp", 1]], [0, 1, 2], 3, public=True),
        case("the output and a node on the way", "edges", study, [3, 1, 0], public=True),
        case("nothing flows to a condition", "edges", masked, [0], shape=(4,), public=True),
        case("two conditions", "edges", [*masked, ["positive", 1], ["multiply", 4, 3], ["add", 5, 3]], [0, 3]),
        case("squares of squares", "cost", squares, [0], 1, (), True, **asked(draw)),
        case("ladder", "cost", rungs, [0], **asked(draw)),
        case("drawn, counted", "cost", drawn_program(draw, 2, 8), [0, 1], 2, **asked(draw)),
        case("another order, drawn", "fan-out", whole, [2, 0, 1], 3, order=drawn_order),
        case("an input twice", "edges", study, [0, 2, 0], public=True),
        Given("some do not matter, of other kinds", "edges", {"lines": lone, "wanted": [1, 0, 2], "feeds": kinds}),
        case("a long chain", "chain", longest, [0, 1], 2, (), runs=1, deep=True),
        case("float32, one does not matter", "edges", [["exp", 1], ["multiply", 2, 2]], [0, 1], 2, dtype=torch.float32),
    ]


def drawn_program(draw: Draw, inputs: int, lines: int) -> list[list[Any]]:
    """Lines that each use the node before and another one; one exponential only, so that numbers stay small."""
    found: list[list[Any]] = [["exp", draw.integer(0, inputs - 1)]]
    for n in range(inputs + 1, inputs + lines):
        found.append([draw.choice(["add", "multiply"]), n - 1, draw.integer(0, n - 1)])
    for other in range(inputs):  # all matter
        found.append(["multiply" if other % 2 else "add", inputs + len(found) - 1, other])
    return found
