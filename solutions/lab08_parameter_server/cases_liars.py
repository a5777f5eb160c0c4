"""Lab 8, sealed: cases of robust aggregation, of rounds with liars, and of ranks that agree."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autograder.draw import Draw
from autograder.exercise import Given
from mlsys_course.parameter_server import a_little, coordinated, expel_liars, robust_aggregate, sign_flip

F64, F32 = torch.float64, torch.float32
NAN, INF = float("nan"), float("inf")

# ---- one round -------------------------------------------------------------------------------------------------------


def krum_is_clear(rows: Tensor, f: int) -> bool:
    """Krum's best is no close call, and neither its neighbour more or fewer nor plain distances have the same best."""
    kept = rows[rows.isfinite().all(1)].double()
    m, f = len(kept), f - (len(rows) - len(kept))
    if m < 2 * f + 3:
        return True
    squared = (kept[:, None] - kept).square().sum(-1).sort(1).values
    scores = squared[:, 1 : m - f - 1].sum(1)
    best, second = scores.sort().values[:2]
    others = [squared[:, 1 : m - f - 2].sum(1), squared[:, 1 : m - f].sum(1), squared.sqrt()[:, 1 : m - f - 1].sum(1)]
    told = sum(int(other.argmin() != scores.argmin()) for other in others)
    apart = f < 2 or int(others[1].argmin()) != int(squared.sum(1).argmin())
    return bool(best < 0.99 * second) and told >= 1 + (len(rows) > 6) and apart


def by_products(rows: Tensor, f: int) -> int:
    """Krum's choice where distances are worked out as |a|^2 + |b|^2 - 2 a b, which rounds by much."""
    squares = rows.square().sum(1)
    apart = (squares[:, None] + squares - 2 * rows @ rows.mT).fill_diagonal_(torch.inf)
    return int(apart.sort(1).values[:, : len(rows) - f - 2].sum(1).argmin())


def robust_case(
    draw: Draw, name: str, aspect: str, rule: str, P: int, f: int, lies: Sequence[float | str] = (),
    public: bool = False, dtype: torch.dtype = F64, rounds: int = 1, n: int = 6, **more: Any,
) -> Given:  # fmt: skip
    """P honest gradients, which scatter by different amounts, and a row for each lie: a number, or "flip"."""

    def one() -> Tensor:
        order = draw.shuffled(range(P + len(lies)))
        while True:
            scatter = torch.linspace(0.5, 2, P, dtype=F64)[:, None]
            honest = draw.normal(n, dtype=F64) + scatter * draw.normal(P, n, dtype=F64)
            told = [-5 * honest.mean(0) if lie == "flip" else torch.full((n,), float(lie), dtype=F64) for lie in lies]
            for liar in told:
                liar[1:] = liar[1:].nan_to_num(0.5, 0.5, 0.5)  # one entry is enough
            rows = torch.stack([*honest, *told])[order].to(dtype)
            if rule != "krum" or krum_is_clear(rows, f):
                if "offset" in more:
                    rows = rows + more["offset"]
                    if torch.equal(rows[by_products(rows, f)], robust_aggregate(rows, rule, f)):
                        continue
                return rows.mT.contiguous() if more.get("transposed") else rows

    made = [one() for _ in range(rounds)]
    more.pop("offset", None)
    return Given(name, aspect, {"rounds": made, "rule": rule, "f": f, **more}, public)


def refused_case(draw: Draw, name: str, aspect: str, rule: str, P: int, f: int, public: bool = False) -> Given:
    """One row too few."""
    inputs = {"rounds": [draw.normal(P, 4, dtype=F64)], "rule": rule, "f": f, "refused": True}
    return Given(name, aspect, inputs, public)


def robust_cases(draw: Draw) -> list[Given]:
    """By aspect: median, trimmed mean, krum, rows that are not finite."""
    wide, mean = draw.integer(30, 50), "trimmed_mean"
    same = torch.tensor([[3.0, 0], [0, 4], [0, 0], [0, 0], [1, 0]], dtype=F64)[draw.shuffled(range(5))]
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [9, 9]], dtype=F64)
    orders = [draw.shuffled(range(5)) for _ in range(3)]
    tied = Given("equal scores", "krum", {"rounds": [same, *(square[o] for o in orders)], "rule": "krum", "f": 1})
    few = [("median", 3, 2, 1), (mean, 3, 2, 1), (mean, 3, 3, 2), ("krum", 5, 2, 1), ("krum", 4, 2, 2)]
    left_out = [robust_case(draw, "", "", rule, P, f, [NAN, INF][:k]) for rule, P, f, k in few]
    rules = [robust_case(draw, "", "", rule, 7, 2, [1e200, -1e200], n=3) for rule in ("median", mean)]
    large = [robust_case(draw, "", "", "krum", 6, 2, lies, n=4, rounds=3) for lies in ([1e200, 1e200], [-1e300, 1e160])]
    too_many = robust_case(draw, "more than f not finite", "not finite", "median", 6, 1, [NAN, INF], True, refused=True)
    return [
        robust_case(draw, "an odd number", "median", "median", 4, 1, ["flip"], True),
        robust_case(draw, "an even number", "median", "median", 6, 2, [1e3, "flip"], True, rounds=2),
        robust_case(draw, "nobody lies", "median", "median", 5, 0, dtype=F32),
        robust_case(draw, "transposed in memory", "median", "median", 4, 1, [7.0], n=wide, transposed=True),
        robust_case(draw, "as large as it gets", "median", "median", 7, 2, [3e38, -3e38], dtype=F32),
        robust_case(draw, "no entry", "median", "median", 3, 1, n=0),
        refused_case(draw, "half of them lie", "median", "median", 4, 2),
        robust_case(draw, "one of each side", "trimmed mean", mean, 5, 1, ["flip"], True, rounds=2),
        robust_case(draw, "two of seven", "trimmed mean", mean, 5, 2, [50.0, -50.0]),
        robust_case(draw, "large and wide", "trimmed mean", mean, 8, 3, [3e38, 3e38, "flip"], dtype=F32, n=wide),
        robust_case(draw, "f is 0", "trimmed mean", mean, 4, 0),
        robust_case(draw, "as few as may be", "trimmed mean", mean, 4, 2, [9.0], True),
        refused_case(draw, "one too few to trim", "trimmed mean", mean, 6, 3, True),
        robust_case(draw, "two rounds", "krum", "krum", 6, 1, ["flip"], True, rounds=2),
        robust_case(draw, "three of nine", "krum", "krum", 6, 3, [2.0, 2.0, 2.0], n=wide),
        robust_case(draw, "as few as may be for Krum", "krum", "krum", 5, 2, [1e4, -1e4]),
        robust_case(draw, "large in float32", "krum", "krum", 8, 2, [3e38, -3e38], dtype=F32, n=wide),
        robust_case(draw, "nobody lies, Krum", "krum", "krum", 9, 2, public=True),
        tied,
        refused_case(draw, "one too few for Krum", "krum", "krum", 6, 2, True),
        robust_case(draw, "NaN", "not finite", "median", 5, 2, [NAN, "flip"], True),
        robust_case(draw, "infinite", "not finite", mean, 6, 2, [INF, "flip"], True, rounds=2),
        robust_case(draw, "minus infinity and NaN", "not finite", "krum", 6, 3, [-INF, NAN, "flip"]),
        robust_case(draw, "nobody more may lie", "not finite", "krum", 5, 2, [NAN, NAN]),
        too_many,
        Given("few rows, and fewer are left", "not finite", {"each": [one.inputs for one in left_out]}),
        Given("large in float64", "krum", {"each": [one.inputs for one in [*rules, *large]]}),
        robust_case(draw, "far from zero", "krum", "krum", 7, 1, rounds=3, offset=1e8),
    ]


# ---- many rounds -----------------------------------------------------------------------------------------------------

Attack = Callable[[Tensor], Tensor]
Change = Callable[[int, dict[int, Tensor]], None]


def recorded(
    draw: Draw,
    honest: int,
    lying: Mapping[int, Attack],
    rounds: int,
    n: int,
    change: Change,
    scales: Sequence[float],
    drift: float,
) -> list[dict[int, Tensor]]:
    """Rounds by rank: noise about a gradient that changes, and drifts one way.

    Ranks in ``lying`` lie; ``change`` has the last word.
    """
    found, way = [], drift * draw.normal(n, dtype=F64).sign()
    others = [rank for rank in range(honest + len(lying) + 9) if rank not in lying][:honest]
    for t in range(rounds):
        rows = scales[t % len(scales)] * (way + 0.7 * draw.normal(n, dtype=F64) + draw.normal(honest, n, dtype=F64))
        sent = {**dict(zip(others, rows, strict=True)), **{rank: attack(rows) for rank, attack in lying.items()}}
        change(t, sent)
        found.append(sent)
    return found


def is_clear(rounds: list[dict[int, Tensor]], f: int, margin: float) -> bool:
    """No distance is so near the margin that rounding decides."""
    return expel_liars(rounds, f, 0.998 * margin) == expel_liars(rounds, f, 1.002 * margin)


def of_all_so_far(rounds: list[dict[int, Tensor]], f: int, margin: float) -> list[list[int]]:
    """Wrong: distances are from the median of the sums of all who ever took part, those who are away included."""
    gone, sums, found = set[int](), dict[int, Tensor](), []
    for sent in rounds:
        here = sorted(sent.keys() - gone)
        for rank, row in zip(
            here,
            torch.stack([sent[rank] for rank in here])
            - torch.stack([sent[rank] for rank in here]).quantile(0.5, dim=0),
            strict=True,
        ):
            sums[rank] = sums.get(rank, torch.zeros_like(row)) + row
        middle = torch.stack([one for rank, one in sums.items() if rank not in gone]).quantile(0.5, dim=0)
        off = torch.stack([sums[rank] - middle for rank in here]).norm(dim=1)
        far = [here[i] for i in off.argsort(descending=True) if off[i] > margin * off.quantile(0.5)]
        found.append(sorted(far[: max(f - len(gone), 0)]))
        gone |= {*found[-1]}
    return found


def nothing_changes(t: int, sent: dict[int, Tensor]) -> None:
    """As recorded."""


def expel_case(
    draw: Draw, name: str, aspect: str, honest: int, lying: Mapping[int, Attack], rounds: int, public: bool = False,
    f: Sequence[int] = (2,), margins: Sequence[float] = (2.0,), change: Change = nothing_changes, n: int = 48,
    scales: Sequence[float] = (1.0,), drift: float = 0.0, told: bool = False,
) -> Given:  # fmt: skip
    """Ranks come in an order of their own in every round. What is ``told`` from ``of_all_so_far`` ends otherwise."""
    orders = [draw.shuffled(range(honest + len(lying) + 9)) for _ in range(rounds)]
    for _ in range(200):
        found = recorded(draw, honest, lying, rounds, n, change, scales, drift)
        pairs = [*zip(f, margins, strict=True)]
        differs = not told or any(expel_liars(found, *pair) != of_all_so_far(found, *pair) for pair in pairs)
        if all(is_clear(found, *pair) for pair in pairs) and differs:
            break
    else:
        raise RuntimeError(f"{name}: no recording of 200 is clear")
    sent = []
    for order, by_rank in zip(orders, found, strict=True):
        ranks = [rank for rank in order if rank in by_rank]
        rows = torch.stack([by_rank[rank] for rank in ranks]) if ranks else torch.zeros(0, n, dtype=F64)
        sent.append({"ranks": torch.tensor(ranks, dtype=torch.int64), "rows": rows})
    return Given(name, aspect, {"rounds": sent, "f": list(f), "margins": list(margins)}, public)


def away(rank: int, first: int, last: int) -> Change:
    """That rank sends nothing from the first to the last of these rounds."""

    def change(t: int, sent: dict[int, Tensor]) -> None:
        if first <= t <= last:
            del sent[rank]

    return change


def several_away(ranks: Sequence[int]) -> Change:
    """These send what is off in the first rounds, and then nothing more."""

    def change(t: int, sent: dict[int, Tensor]) -> None:
        for rank in ranks:
            if t > 2:
                sent.pop(rank, None)
            elif rank in sent:
                sent[rank] = sent[rank] + 0.4

    return change


def broken(*places: tuple[int, int, float]) -> Change:
    """In round t a rank's gradient has such an entry, for each (t, rank, entry)."""

    def change(t: int, sent: dict[int, Tensor]) -> None:
        for when, rank, entry in places:
            if when == t:
                sent[rank] = sent[rank].clone()
                sent[rank][3] = entry

    return change


def all_away_but(t_empty: int) -> Change:
    def change(t: int, sent: dict[int, Tensor]) -> None:
        if t == t_empty:
            sent.clear()

    return change


def expel_cases(draw: Draw) -> list[Given]:
    """By aspect: not finite, far off, a little over many rounds, honest ranks that stay."""
    two, flip, little = draw.sample(range(9), 2), sign_flip(8.0), a_little(0.8)
    one, other = two
    three = draw.sample([rank for rank in range(9) if rank not in two], 3)
    nan_three = broken(*((1, rank, INF) for rank in three))  # of the honest
    far = {one: sign_flip(9.0), other: sign_flip(20.0)}
    after = broken((3, one, NAN))  # who has left sends on
    twice = {"f": (2, 2), "margins": (2.0, 40.0)}
    return [
        expel_case(draw, "one sends NaN", "not finite", 6, {}, 3, True, change=broken((1, draw.integer(0, 5), NAN))),
        expel_case(draw, "more than f at once", "not finite", 9, dict.fromkeys(two, little), 24, f=(2,),
                   change=nan_three),
        expel_case(draw, "infinite and far off", "not finite", 7, {one: flip, other: flip}, 3,
                   change=broken((0, one, -INF))),
        everybody_breaks(draw),
        expel_case(draw, "sign flip", "far off", 7, {one: flip, other: flip}, 3, True),
        expel_case(draw, "one may go, of two alike", "far off", 7, {one: flip, other: flip}, 3, f=(1,)),
        expel_case(draw, "three may go, of six alike", "far off", 40, dict.fromkeys(range(12, 18), flip), 2, f=(3,)),
        expel_case(draw, "the farthest goes first", "far off", 7, far, 3, True, f=(1,)),
        expel_case(draw, "another margin", "far off", 7, {one: flip}, 3, **twice),
        expel_case(draw, "a little", "a little", 7, dict.fromkeys(two, a_little(1.0)), 24, True, f=(2, 2),
                   margins=(2.0, 1.4)),
        expel_case(draw, "coordinated", "a little", 8, {one: coordinated(0.7)}, 16),
        expel_case(draw, "rounds of all sizes", "a little", 8, {one: little}, 24, scales=(1.0, 0.3, 0.6), n=64),
        expel_case(draw, "two of eleven, a smaller margin", "a little", 9, dict.fromkeys(two, a_little(0.5)), 24,
                   f=(3,), margins=(1.7,), n=80),
        expel_case(draw, "nobody lies", "honest", 7, {}, 10, True, f=(3,)),
        expel_case(draw, "away and back", "honest", 8, {}, 12, True, f=(3,), change=away(draw.integer(0, 7), 4, 9),
                   drift=1.5),
        expel_case(draw, "expelled, and sends on", "honest", 7, {one: flip, other: little}, 10, change=after),
        expel_case(draw, "a round that nobody was in", "honest", 6, {one: flip}, 4, change=all_away_but(1)),
        at_the_margin(),
        expel_case(draw, "f is 0", "honest", 7, {one: flip}, 3, f=(0,)),
        expel_case(draw, "several are away at times", "a little", 8, {one: a_little(1.5)}, 8, f=(2, 3),
                   margins=(1.6, 1.3), n=3, change=several_away(three), told=True),
    ]  # fmt: skip


def at_the_margin() -> Given:
    """Four are 1 off and one 2: with a margin of 2 that is not too far, with 1.5 it is."""
    axes = torch.eye(3, dtype=F64)
    rows = torch.stack([axes[0], -axes[0], axes[1], -axes[1], 2 * axes[2]])
    sent = {"ranks": torch.arange(5), "rows": rows}
    return Given("at the margin", "honest", {"rounds": [sent], "f": [1, 1], "margins": [2.0, 1.5]})


def everybody_breaks(draw: Draw) -> Given:
    """In the second of three rounds nobody sends what is finite."""
    places = broken(*((1, rank, NAN) for rank in range(4)))
    return expel_case(draw, "nobody is left", "not finite", 4, {}, 3, f=(1,), change=places)


# ---- ranks that agree ------------------------------------------------------------------------------------------------


def agree_cases(draw: Draw) -> list[Given]:
    """By aspect: which ranks differ; traffic."""

    def case(name: str, aspect: str, held: list[int], public: bool = False, n: int = 6, what: str = "bit") -> Given:
        """``held`` says which of several states each rank has."""
        weight, bias = draw.normal(n, dtype=F32), draw.normal(3, dtype=F64)

        def state(number: int) -> dict[str, Any]:
            names, tensors = ["weight", "bias"], [weight.clone(), bias.clone()]
            if number and what == "bit":
                tensors[1][-1] += number * 2**-40
            elif number:
                names, tensors = {
                    "name": (["weights", "bias"], tensors),
                    "dtype": (names, [weight.view(torch.int32), bias]),
                    "shape": (names, [weight[None], bias]),
                    "sign of zero": (names, [weight, torch.cat([bias[:2], -torch.zeros(1, dtype=F64)])]),
                }[what]
            elif what == "sign of zero":
                tensors[1][-1] = 0.0
            order = [1, 0] if len(held) > 2 and number == 0 and draw.integer(0, 1) else [0, 1]
            return {"names": [names[i] for i in order], "tensors": [tensors[i] for i in order]}

        limits = {"rank_bytes": 64 * len(held) ** 2} if aspect == "traffic" else {}
        return Given(name, aspect, {"ranks": [state(number) for number in held]}, public, limits)

    return [
        case("all agree", "ranks", [0, 0, 0], True),
        case("one bit", "ranks", [0, 0, 1, 0], True),
        case("two of five", "ranks", [2, 0, 0, 1, 0]),
        case("as many here as there", "ranks", [1, 0, 1, 0], True),
        case("no two agree", "ranks", [3, 2, 1]),
        case("the first is wrong", "ranks", [1, 0, 0], True),
        case("alone", "ranks", [1]),
        case("a name", "ranks", [0, 1, 0], what="name"),
        case("a dtype", "ranks", [0, 0, 1], what="dtype"),
        case("a shape", "ranks", [0, 1, 0], True, what="shape"),
        case("the sign of zero", "ranks", [0, 1, 0], what="sign of zero"),
        case("traffic of three ranks", "traffic", [0, 1, 0], True, 4000),
        case("traffic of five ranks", "traffic", [0, 0, 0, 1, 0], n=6000),
    ]
