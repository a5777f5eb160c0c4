"""Lab 5, sealed: cases of the engine (order, evaluator, gradient) and of what is built on it (update, check)."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

F64 = torch.float64
DIAMOND = [[], [0], [0], [1, 2]]


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


def order_cases(draw: Draw) -> Sequence[Given]:
    def case(name: str, aspect: str, uses: list[list[int]], outputs: list[int], public: bool = False) -> Given:
        return Given(name, aspect, {"uses": uses, "outputs": outputs}, public)

    def paths(name: str, rungs: int, public: bool = False) -> Given:
        return Given(name, "depth", {"uses": ladder(rungs), "outputs": [rungs], "watched": True}, public)

    late = [[], [0], [1], [2], [0, 3], [4, 1]]  # node 1 is used near the start and at the end
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
        case("ladder", "order", ladder(12), [12]),
        paths("40 doublings", 40, True),
        paths("doublings", draw.integer(45, 60)),
        Given("a chain of 3,000", "depth", {"chain": 3000}, True),
        Given("a chain of 8,000", "depth", {"chain": 8000 + draw.integer(0, 99)}),
        Given("a chain of 100,000", "depth", {"chain": 100_000}),
    ]


def evaluator_cases(draw: Draw) -> Sequence[Given]:
    def runs(uses: list[list[int]], count: int, *shape: int) -> list[list[torch.Tensor]]:
        fed = sum(not row for row in uses)
        return [[normal(draw, *shape) for _ in range(fed)] for _ in range(count)]

    def case(name: str, aspect: str, uses, outputs, count=1, shape=(2,), public=False, **more: Any) -> Given:
        inputs = {"uses": uses, "outputs": outputs, "runs": runs(uses, count, *shape), **more}
        return Given(name, aspect, inputs, public)

    def long(name: str, uses, outputs, count: int, most: int, public: bool = False) -> Given:
        """Values of a MiB each, of which so many may be there at one time; a run without letting go has 30 and more."""
        inputs = {"uses": uses, "outputs": outputs, "runs": runs(uses, count, 1 << 17), "every": 1 << 14}
        return Given(name, "memory", inputs, public, {"peak_memory": float(most << 20)})

    whole, other = (connected(random_uses(draw, 3, draw.integer(10, 14))) for _ in range(2))
    last, n = len(whole) - 1, draw.integer(30, 50)
    middle = [*chain(n), [n // 2, n]]
    wide = [[], *([0] for _ in range(6)), [1, 2, 3, 4, 5, 6]]
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
        case("missing feed", "feeds", two, [3], public=True, bad="missing"),
        case("feed of another shape", "feeds", two, [3], public=True, bad="shape"),
        case("feed with one axis more", "feeds", two, [3], bad="one more axis"),
        case("missing feed, then a run of all", "again", other, [len(other) - 1], bad="missing"),
        case("feed of another dtype", "feeds", two, [3], public=True, bad="dtype"),
        case("no entries", "values", DIAMOND, [3, 0], shape=(0, 2)),
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


def adamw_cases(draw: Draw) -> Sequence[Given]:
    def case(
        name: str, aspect: str, returns, steps=3, shape=(2, 3), public=False, scale=1.0, dtype=F64, **changed: float
    ) -> Given:
        settings = {
            "lr": draw.number(0.05, 0.2),
            "beta1": draw.number(0.7, 0.9),
            "beta2": draw.number(0.92, 0.97),
            "epsilon": 1e-8,
            "weight_decay": 0.0,
        }
        gradients = [(normal(draw, *shape) * scale).to(dtype) for _ in range(steps)]
        inputs = {"weight": (normal(draw, *shape) + 2).to(dtype), "gradients": gradients, "returns": list(returns)}
        return Given(name, aspect, {**inputs, "settings": {**settings, **changed}}, public)

    every = ["weight", "m", "v"]
    return [
        case("moments", "moments", ["m", "v"], public=True),
        case("moments, large gradients", "moments", ["m", "v"], 4, (5,), scale=30.0),
        case("moments without axes", "moments", ["m", "v"], 2, ()),
        case("first step", "update", ["weight"], 1, public=True),
        case("several steps", "update", ["weight"], 5, public=True),
        case("small gradients", "update", ["weight"], 3, public=True, scale=1e-3, epsilon=1e-2),
        case("small gradients, other epsilon", "update", ["weight"], 4, (4,), scale=1e-4, epsilon=2e-4),
        case("betas of 0", "update", ["weight"], 3, public=True, beta1=0.0, beta2=0.0),
        case("one beta of 0", "update", ["weight"], 2, beta1=0.0),
        case("decay", "decay", ["weight"], 3, public=True, weight_decay=0.4),
        case("decay, all", "decay", every, 4, weight_decay=draw.number(0.5, 0.9)),
        case("decay, small gradients", "decay", every, 2, (3,), scale=1e-2, weight_decay=0.7, epsilon=1e-3),
        case("float32", "update", ["weight"], 3, dtype=torch.float32),
    ]


def check_cases(draw: Draw) -> Sequence[Given]:
    def case(name: str, aspect: str, function: str, x: torch.Tensor, public: bool = False, unit: float | None = None):
        c = draw.uniform(*x.shape, low=0.5, high=2.0, dtype=F64)
        right = true_gradient(function, x, c)
        inputs: dict[str, Any] = {"function": function, "coefficients": c, "x": x}
        if unit:
            return Given(name, aspect, {**inputs, "claimed": [right], "unit": unit}, public)
        return Given(name, aspect, {**inputs, "claimed": draw.shuffled([right, *wrong_gradients(draw, right)])}, public)

    def x(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return normal(draw, *shape) * scale

    return [
        case("sines", "differences", "sines", x(2, 3), True, 1.0),
        case("neighbours", "differences", "neighbours", x(4), True, 1.0),
        case("product", "differences", "product", x(3) + 2, unit=1.0),
        case("tiny values", "differences", "tiny", x(3), unit=1e-9),
        case("large entries", "differences", "large entries", x(3, scale=1e4) + 3e4, unit=1e-3),
        case("no axes", "differences", "sines", x(), unit=1.0),
        case("a step that shows", "differences", "cubes", x(4, scale=1e-5), unit=1e-10),
        case("sines, judged", "verdict", "sines", x(5), True),
        case("quadratic, judged", "verdict", "quadratic", x(2, 2), True),
        case("tiny values, judged", "verdict", "tiny", x(4), True),
        case("constant, judged", "verdict", "constant", x(3)),
        case("large entries, judged", "verdict", "large entries", x(3, scale=1e4) + 3e4),
        case("neighbours, judged", "verdict", "neighbours", x(3, 3)),
    ]


def true_gradient(function: str, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """The gradients of the drivers' functions, by hand."""
    return {
        "sines": lambda: c * x.cos(),
        "product": lambda: (c * x).prod() / x,
        "neighbours": lambda: c * x.roll(1, -1) + (c * x).roll(-1, -1),
        "quadratic": lambda: 2 * c * (x - 1),
        "tiny": lambda: 1e-9 * c * x.exp(),
        "large entries": lambda: 3e-12 * c * x**2,
        "constant": lambda: 0 * x,
        "cubes": lambda: 3 * c * x**2,
    }[function]()


def wrong_gradients(draw: Draw, right: torch.Tensor) -> list[torch.Tensor]:
    """Off in one entry, everywhere by a little, of another shape, not a number."""
    largest = float(right.abs().max()) or 1.0
    one = right.clone()
    one.view(-1)[draw.integer(0, right.numel() - 1)] += 1e-3 * largest
    poisoned = right.clone()
    poisoned.view(-1)[-1] = torch.nan
    return [one, right + 2e-4 * largest, right.flatten()[:-1], poisoned, right[None]]
