"""Lab 8, sealed: cases of push and pull, shares of an epoch, schedules and staleness."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

F64, F32 = torch.float64, torch.float32


def shard_cases(draw: Draw) -> list[Given]:
    def case(name, aspect, n, ranks, epochs, done=0, public=False, seeds=(0, 999)):
        numbers = {"n_examples": n, "world_size": ranks, "epochs": epochs, "done": done, "seed": draw.integer(*seeds)}
        return Given(name, aspect, numbers, public)

    def calls(name: str, aspect: str, *given: Given) -> Given:
        return Given(name, aspect, {"each": [one.inputs for one in given]})

    few = draw.integer(2, 5)
    return [
        case("three ranks", "partition", 12, 3, [0], public=True),
        case("uneven", "partition", 4 * few + draw.integer(1, 3), 4, [0], public=True),
        case("one rank", "partition", 3 * few, 1, [0]),
        case("fewer examples than ranks", "partition", 3, 5, [0], public=True),
        case("no example", "partition", 0, 2, [0]),
        case("five ranks, uneven", "partition", 10 * few + 4, 5, [0]),
        case("three epochs", "epochs", 10, 2, [0, 1, 2], public=True),
        case("a late epoch", "epochs", 6 * few + 1, 3, [draw.integer(20, 90)]),
        case("an epoch again", "epochs", 4 * few, 2, [3, 4, 3]),
        case("resumed", "resume", 16, 2, [1], 6, True),
        case("resumed, uneven", "resume", 17 + few, 3, [0, 2], 5, True),
        case("resumed by other ranks", "resume", 40, 5, [draw.integer(1, 9)], 4 * few + 3),
        case("resumed at the end", "resume", 9, 2, [1], 9),
        case("one example left", "resume", 9, 3, [draw.integer(0, 3)], 8),
        calls(
            "large seeds",
            "epochs",
            *(case("", "", 12, 2, [draw.integer(0, 9)], 0, seeds=(2**bits, 2**bits + 999)) for bits in (16, 24, 31)),
            case("", "", 11, 2, [draw.integer(2**17, 2**20)]),
        ),
        calls(
            "called again",
            "resume",
            case("", "", 15, 2, [4, 4, 5, 4], 6),
            case("", "", 300, 12, [7], draw.integer(1, 99)),
            case("", "", 0, 3, [1]),
            case("", "", 7, 3, [1], 7),
        ),
    ]


def server_case(
    draw: Draw,
    name: str,
    aspect: str,
    owners: Sequence[int],
    workers: int,
    public: bool = False,
    steps: int = 2,
    shapes: Sequence[tuple[int, ...]] = (),
    dtype: torch.dtype = F64,
    infinite: bool = False,
    **flags: bool,
) -> Given:
    """Servers as many as ``owners`` need. "order" looks at the order only, "bytes" limits what is sent."""
    shapes = shapes or [(draw.integer(2, 4), n + 2) for n in range(len(owners))]  # of different bytes
    servers = flags.pop("servers", 0) or max(owners) + 1
    keys = draw.shuffled([f"layer{n}.weight" for n in range(len(owners))])
    ranks = [
        {
            "start": [draw.normal(*shape, dtype=dtype) for shape in shapes],
            "steps": [
                [draw.normal(*shape, dtype=dtype) for shape in shapes] if rank >= servers else [] for _ in range(steps)
            ],
        }
        for rank in range(servers + workers)
    ]
    if infinite:  # in the last step, of the last worker
        ranks[-1]["steps"][-1][0].view(-1)[:2] = torch.tensor([math.inf, math.nan])
    sizes = [math.prod(shape) * dtype.itemsize for shape in shapes]
    held = [sum(size for size, owner in zip(sizes, owners, strict=True) if owner == s) for s in range(servers)]
    count = [list(owners).count(s) for s in range(servers)]
    limits = {
        "rank_bytes": steps * max(sum(sizes), workers * max(held)),
        "rank_messages": steps * max(len(sizes), workers * max(count)),
        "total_bytes": 2 * steps * workers * sum(sizes),
    }
    inputs = {"ranks": ranks, "keys": keys, "owners": list(owners), "n_servers": servers, **flags}
    return Given(name, aspect, inputs | ({"outside": "order"} if aspect == "order" else {}), public,
                 limits if aspect == "bytes" else {})  # fmt: skip


def server_cases(draw: Draw) -> list[Given]:
    def case(*args, **more) -> Given:
        return server_case(draw, *args, **more)

    odd = [(2, 3), (), (0, 2), (4,)]
    return [
        case("one worker", "values", [0, 0], 1, True),
        case("two workers", "values", [0, 0], 2, True),
        case("three workers, three steps", "values", [0, 0, 0], 3, steps=3, mixed=True),
        case("a scalar, an empty one, a row", "values", [0] * 4, 2, True, shapes=odd),
        case("of other strides", "values", [0, 0], 2, strided=True),
        case("float32", "values", [0, 0], 3, dtype=F32, infinite=True),
        case("two servers", "shards", [0, 1, 0], 2, True),
        case("three servers", "shards", [2, 0, 1, 0], 2, mixed=True),
        case("a server without keys", "shards", [0, 2, 0], 2, True, servers=3),
        case("five workers, and a last server without keys", "shards", [1, 0, 1], 5, steps=1, servers=3),
        case("a first server without keys", "shards", [2, 1, 1, 2], 1, shapes=[(0,), (2, 0), (3,), ()]),
        case("what comes and goes", "order", [0, 0, 0], 2, True, steps=1),
        case("what comes and goes, two servers", "order", [0, 1, 1, 0], 2, True),
        case("what comes and goes, five workers", "order", [0, 0, 0], 5, mixed=True),
        case("traffic of one server", "bytes", [0, 0, 0], 2, True),
        case("traffic of two servers", "bytes", [0, 1, 0, 1], 3),
        case("traffic of three servers", "bytes", [0, 1, 2], 4, steps=1),
    ]


def owner_cases(draw: Draw) -> list[Given]:
    def case(name: str, aspect: str, sizes: list[int], servers: int, public: bool = False) -> Given:
        keys = draw.shuffled([f"w{n}" for n in range(len(sizes))])
        return Given(name, aspect, {"keys": keys, "sizes": sizes, "n_servers": servers}, public)

    def drawn(count: int) -> list[int]:
        return [draw.integer(1, 400) for _ in range(count)]

    return [
        case("six keys", "balance", [10, 70, 30, 60, 20, 50], 2, True),
        case("a large one in the middle", "balance", [20, 20, 500, 30, 30], 3, True),
        case("drawn", "balance", drawn(12), 4),
        case("many servers", "balance", drawn(9), 7),
        case("one server", "balance", drawn(4), 1),
        case("of one size", "ties", [8] * 7, 3, True),
        case("more servers than keys", "ties", [5, 5], 4, True),
        case("empty ones", "ties", [0, 40, 0, 40, 0, 7], 2),
        case("no key", "ties", [], 2),
        case("pairs", "ties", [9, 3, 9, 3, 6, 6], 3),
    ]


def schedule_cases(draw: Draw) -> list[Given]:
    """In quarters of a second or finer binary fractions, so that sums are exact."""

    def fine(count: int, low: int, high: int) -> list[float]:
        """Fractions that no decimal place or thousandth holds."""
        return [draw.integer(low, high) / 2**16 for _ in range(count)]

    def calls(name: str, aspect: str, *given: Given) -> Given:
        return Given(name, aspect, {"each": [one.inputs for one in given]})

    def with_nothing(seconds: list[float], *layers: int) -> list[float]:
        return [0.0 if layer in layers else own for layer, own in enumerate(seconds)]

    def numbers(count: int, low: int = 1, high: int = 12) -> list[float]:
        return [draw.integer(low, high) / 4 for _ in range(count)]

    def case(name, aspect, backward, forward, transfer, cut, public=False, overhead=0.0, policy="priority"):
        inputs = {"backward": backward, "forward": forward, "transfer": transfer}
        return Given(name, aspect, {**inputs, "slice_seconds": cut, "overhead": overhead, "policy": policy}, public)

    def drawn(name: str, aspect: str, layers: int, cut: float, public: bool = False, heavy: int = 24, **more) -> Given:
        rows = numbers(layers), numbers(layers), numbers(layers, 4, heavy)
        return case(name, aspect, *rows, cut, public, **more)

    ones, late = [1.0, 1.0, 1.0], [1.0, 1.0, 4.0]
    whole, fifo = math.inf, dict[str, Any](policy="fifo")
    return [
        case("three layers", "fifo", ones, ones, late, whole, True, **fifo),
        drawn("drawn, in order", "fifo", 5, whole, **fifo),
        drawn("in order, a fast link", "fifo", 5, whole, heavy=5, **fifo),
        drawn("in order, in slices", "fifo", 4, 0.75, True, overhead=0.25, **fifo),
        case("three layers ", "priority", ones, ones, late, whole, True),
        drawn("drawn, by priority", "priority", 6, whole),
        drawn("by priority, a fast link", "priority", 5, whole, heavy=5),
        case("one layer", "priority", [1.0], [2.0], [3.0], whole),
        case("nothing to send", "priority", ones, ones, [0.0, 2.0, 0.0], whole, True),
        case("three layers, in slices", "slices", ones, ones, late, 1.0, True),
        drawn("drawn, in slices", "slices", 5, 0.5),
        drawn("in slices, the last one short", "slices", 4, 0.75, True),
        drawn("slices that cost something", "slices", 5, 0.5, True, overhead=0.25),
        drawn("slices, a slow link", "slices", 6, 1.25, heavy=60, overhead=0.25),
        case("slices, a frozen layer", "slices", numbers(4), numbers(4), [2.0, 0.0, 3.0, 9.0], 0.5, overhead=0.25),
        calls(
            "in order, all kinds of layers",
            "fifo",
            drawn("", "", 4, whole, overhead=0.5, **fifo),
            case("", "", numbers(5), numbers(5), with_nothing(numbers(5), 0, 3), whole, overhead=0.25, **fifo),
            case("", "", numbers(4), numbers(4), with_nothing(numbers(4), 1, 3), 0.5, overhead=0.25, **fifo),
            case("", "", fine(5, 3, 90), fine(5, 3, 90), fine(5, 3, 90), whole, overhead=3 / 2**16, **fifo),
            drawn("", "", 13, whole, **fifo),
            case("", "", [1.0, 2.0], [1.0, 1.0], [0.0, 0.0], whole, overhead=0.5, **fifo),
        ),
        calls(
            "all kinds of layers",
            "priority",
            drawn("", "", 13, whole, overhead=0.25),
            drawn("", "", 24, whole, heavy=60),
            case("", "", fine(6, 3, 90), fine(6, 3, 90), fine(6, 3, 90), whole),
            case("", "", fine(6, 3, 9), numbers(6), numbers(6), whole, overhead=5 / 2**16),
            case("", "", [8.0, *fine(3, 1, 30), 8.0], numbers(5), with_nothing(numbers(5), 0, 4), whole),
            case("", "", [1.0, 2.0], [1.0, 1.0], [0.0, 0.0], whole, overhead=0.5),
        ),
        calls(
            "slices of all sizes",
            "slices",
            case("", "", ones, ones, [0.5, 3 + 2**-10, 2 + 2**-5], 1.0, overhead=0.25),
            case("", "", ones, numbers(3), [2 + 2**-7, 4 + 3 / 2**4, 0.25], 1.0, **fifo),
            case("", "", numbers(2), numbers(2), [3.0, draw.integer(1100, 1200) / 8 + 2**-6], 0.125),
            case("", "", fine(4, 9, 90), fine(4, 9, 90), fine(4, 9, 90), 7 / 2**16, overhead=1 / 2**16),
            drawn("", "", 12, 0.75, overhead=0.25),
            case("", "", fine(4, 1, 9), numbers(4), numbers(4), 0.5),
        ),
    ]


def staleness_cases(draw: Draw) -> list[Given]:
    """In quarters of a second, so that times are exact and some coincide; or in fractions that are near."""

    def fine(lengths: Sequence[int], about: float = 0.0) -> list[list[float]]:
        return [[about + draw.integer(1, 9) / 2**16 for _ in range(n)] for n in lengths]

    def calls(name: str, aspect: str, *given: Given) -> Given:
        return Given(name, aspect, {"each": [one.inputs for one in given]})

    def rows(lengths: Sequence[int], slow: int | None = None) -> list[list[float]]:
        return [
            [draw.integer(1, 8) / 4 * (6 if worker == slow else 1) for _ in range(n)]
            for worker, n in enumerate(lengths)
        ]

    def case(name: str, aspect: str, seconds: list[list[float]], bound: int | None, public: bool = False) -> Given:
        return Given(name, aspect, {"seconds": seconds, "bound": bound}, public)

    straggler = [[1.0] * 4, [1.0] * 4, [3.0] * 4]
    return [
        case("synchronous", "synchronous", straggler, 0, True),
        case("synchronous, drawn", "synchronous", rows([4] * 4), 0),
        case("one worker", "synchronous", rows([3]), 0),
        case("a straggler", "bound", straggler, 1, True),
        case("a bound of two", "bound", [[1.0] * 6, [2.5] * 6, [1.5] * 6], 2, True),
        case("drawn", "bound", rows([6] * 4, slow=draw.integer(0, 3)), 1),
        case("drawn, a bound of three", "bound", rows([8] * 3, slow=draw.integer(0, 2)), 3),
        case("five workers", "bound", rows([5] * 5, slow=draw.integer(0, 4)), 2),
        case("asynchronous", "asynchronous", straggler, None, True),
        case("asynchronous, drawn", "asynchronous", rows([6] * 3, slow=1), None),
        case("a bound that nobody meets", "asynchronous", rows([3] * 3, slow=2), 3),
        case("some have less to do", "uneven", [[1.0] * 5, [2.0] * 2], 0, True),
        case("some have nothing to do", "uneven", [*rows([4, 0, 5], slow=0)], 1, True),
        case("some end early, drawn", "uneven", rows([6, 3, 5, 2], slow=draw.integer(0, 3)), 1),
        case("some end early, asynchronous", "uneven", rows([4, 2, 3]), None),
        calls(
            "many workers, and times that are near",
            "synchronous",
            case("", "", [[0.5, 0.25]] * 13, 0),
            case("", "", rows([3] * 12), 0),
            case("", "", fine([3] * 4, 1.0), 0),
        ),
        calls(
            "many workers, large bounds",
            "bound",
            case("", "", rows([4] * 12, slow=11), 1),
            case("", "", rows([3] * 21, slow=20), 1),
            case("", "", [[0.25] * 14, [9.0] * 2, [0.5] * 14], 10),
            case("", "", [[0.25] * 40, [99.0] * 2], draw.integer(17, 33)),
            case("", "", fine([5] * 4, 1.0), 1),
            case("", "", fine([5] * 3), 2),
        ),
        calls(
            "a long way ahead",
            "asynchronous",
            case("", "", [[0.25] * draw.integer(1050, 1100), [400.0, 1.0]], None),
            case("", "", [[0.5] * 3] * 12, None),
            case("", "", fine([6] * 3, 1.0), None),
        ),
        calls(
            "nothing to do, and little",
            "uneven",
            case("", "", [[], []], 0),
            case("", "", [[]], None),
            case("", "", [[], [], [1.0]], 1),
            case("", "", rows([1, 0, 2, 3, 0, 1, 4, 2, 1, 3, 2, 4]), 0),
            case("", "", [[5.0], [], *fine([7, 3], 0.25)], 2),
        ),
    ]
