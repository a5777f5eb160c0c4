"""Lab 8, sealed: cases of sparsification, quantization, and averages without a server."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from autograder.draw import Draw
from autograder.exercise import Given

F64, F32, F16, B16 = torch.float64, torch.float32, torch.float16, torch.bfloat16


def each(name: str, aspect: str, *inputs: Mapping[str, Any]) -> Given:
    """Several calls in one."""
    return Given(name, aspect, {"each": [*inputs]})


# ---- sparsify --------------------------------------------------------------------------------------------------------


def sparsify_case(
    draw: Draw, name: str, aspect: str, shape: tuple[int, ...], k: int, steps: int = 1, public: bool = False,
    dtype: torch.dtype = F64, **more: Any,
) -> Given:  # fmt: skip
    gradients = [draw.normal(*shape, dtype=dtype) for _ in range(steps)]
    inputs = {"gradients": gradients, "residual": draw.normal(*shape, dtype=dtype, scale=0.5), "k": k, **more}
    return Given(name, aspect, inputs, public)


def of_whole_numbers(draw: Draw, name: str, length: int, k: int, public: bool = False) -> Given:
    """Entries from -2 to 2: many magnitudes are equal."""
    gradient, residual = (draw.integers(length, low=-1, high=2).double() for _ in range(2))
    return Given(name, "ties", {"gradients": [gradient], "residual": residual, "k": k}, public)


def of_all_sizes(draw: Draw, n: int, k: int, dtype: torch.dtype) -> dict[str, Any]:
    """Entries whose squares the dtype does not hold, small or large; what is left from before too."""
    most = 300 if dtype == F64 else 36
    sizes = torch.tensor([10 ** draw.number(-most, most) for _ in range(2 * n)], dtype=F64)
    small = torch.tensor([10 ** draw.number(-most, 4 - most) for _ in range(2 * n)], dtype=F64)
    signs = draw.integers(2, 2 * n, high=2) * 2 - 1
    rows = (torch.cat([sizes[:n], small[:n]]), torch.cat([sizes[n:], small[n:]]))
    gradient, residual = ((own * sign).to(dtype) for own, sign in zip(rows, signs, strict=True))
    return {"gradients": [gradient], "residual": residual, "k": k}


def nearly_equal(draw: Draw, n: int, k: int, dtype: torch.dtype) -> dict[str, Any]:
    """Magnitudes that differ by few units in the last place, half of them negative."""
    steps = torch.tensor(draw.shuffled(range(n)))
    sizes = (1 + 4 * steps.double() * torch.finfo(dtype).eps) * (draw.integers(n, high=2) * 2 - 1)
    return {"gradients": [sizes.to(dtype)], "residual": torch.zeros(n, dtype=dtype), "k": k}


def sparsify_cases(draw: Draw) -> list[Given]:
    """By aspect: chosen, residual over steps, ties, edges."""
    n, many = draw.integer(12, 20), draw.integer(3000, 4000)
    zeros = {"gradients": [draw.normal(n)], "residual": torch.zeros(n), "k": draw.integer(3, 5)}
    nothing = {"gradients": [torch.zeros(0)], "residual": torch.zeros(0), "k": 2}
    small = {"gradients": [draw.normal(n, scale=1e-30)], "residual": torch.zeros(n), "k": 4}
    k = draw.integer(4, 7)
    none_left = {"gradients": [torch.zeros(n)], "residual": torch.zeros(n), "k": 3}
    return [
        Given("nothing left before", "chosen", zeros, True),
        sparsify_case(draw, "with a residual", "chosen", (n,), 4, public=True),
        sparsify_case(draw, "two axes", "chosen", (4, draw.integer(5, 7)), 6, dtype=F32),
        sparsify_case(draw, "as many as a layer has", "chosen", (many,), many // 100, dtype=F32),
        sparsify_case(draw, "bfloat16", "chosen", (n,), 1, dtype=B16),
        sparsify_case(draw, "three steps", "residual", (n,), 3, 3, public=True),
        sparsify_case(draw, "six steps of two axes", "residual", (3, draw.integer(4, 6)), 2, 6, dtype=F32),
        sparsify_case(draw, "bfloat16 over steps", "residual", (n,), 4, 4, dtype=B16),
        of_whole_numbers(draw, "equal magnitudes", 14, 6, True),
        of_whole_numbers(draw, "many equal magnitudes", draw.integer(40, 50), draw.integer(18, 22)),
        Given("zeros only", "ties", none_left),
        sparsify_case(draw, "k is 0", "edges", (n,), 0, 2, public=True),
        sparsify_case(draw, "k above the number of entries", "edges", (3, 2), draw.integer(7, 9)),
        Given("no entry", "edges", nothing),
        sparsify_case(draw, "transposed in memory", "edges", (5, 3), 4, 2, transposed=True),
        sparsify_case(draw, "one number", "edges", (), 1),
        each(
            "of all sizes", "chosen", *(of_all_sizes(draw, 9, k, dtype) for k in (5, 13) for dtype in (F64, F32)), small
        ),
        each("nearly equal", "ties", *(nearly_equal(draw, n, k, dtype) for dtype in (F64, F32, B16))),
        each(
            "nothing to add",
            "edges",
            *({**zeros, "k": k} for k in (0, 1, n, 2 * n)),
            sparsify_case(draw, "", "", (3, 4), 12).inputs,
            sparsify_case(draw, "", "", (), 0).inputs,
            {"gradients": [torch.zeros(2, 0)], "residual": torch.zeros(2, 0), "k": 0},
        ),
    ]


# ---- quantize --------------------------------------------------------------------------------------------------------


def increasing(draw: Draw, count: int) -> Tensor:
    """Levels with gaps between 1/4 and 2, about zero."""
    steps = draw.uniform(count, low=0.25, high=2.0, dtype=F32)
    return steps.cumsum(0) - steps.sum() / 2


def between(levels: Tensor, place: Tensor, share: Tensor) -> Tensor:
    """Values at that share of the way from the level at ``place`` to the next."""
    return levels[place] + share * (levels[place + 1] - levels[place])


def codes_case(
    draw: Draw, name: str, aspect: str, shape: tuple[int, ...], levels: Tensor, public: bool = False,
    dtype: torch.dtype = F32, **more: Any,
) -> Given:  # fmt: skip
    """No uniform lies within 0.03 of the share that it is compared with, so that rounding decides nothing."""
    share, u = draw.uniform(*shape, low=0.03, high=0.97), draw.uniform(*shape)
    u = torch.where((u - share).abs() < 0.03, (share + 0.5) % 1, u)
    x = between(levels, draw.integers(*shape, high=len(levels) - 1), share).to(dtype)
    return Given(name, aspect, {"x": x, "levels": levels, "u": u, **more}, public)


def beside_the_share(draw: Draw, n: int, levels: Tensor, dtype: torch.dtype, off: float) -> dict[str, Any]:
    """Uniforms that lie so far from the share, one way or the other: more than float32 rounds by."""
    place, rungs = draw.integers(n, high=len(levels) - 1), levels.double()
    x = between(levels, place, draw.uniform(n, low=0.1, high=0.9)).to(dtype)
    lower = (torch.searchsorted(rungs, x.double(), right=True) - 1).clamp(0, len(levels) - 2)
    share = (x.double() - rungs[lower]) / (rungs[lower + 1] - rungs[lower])
    up = (draw.integers(n, high=2) * 2 - 1) * off
    u = torch.where((share + up >= 0) & (share + up < 1), share + up, share - up).clamp(0, 0.999)
    return {"x": x, "levels": levels, "u": u.float()}


def sweep_case(
    draw: Draw, name: str, count: int, levels: Tensor, sweep: int, public: bool = False, dtype: torch.dtype = F32
) -> Given:
    """Of n uniforms (i + 1/2) / n just j lie below a share between (j - 0.3) / n and (j + 0.3) / n."""
    share = (draw.integers(count, low=1, high=sweep) + draw.uniform(count, low=-0.3, high=0.3)) / sweep
    x = between(levels, draw.integers(count, high=len(levels) - 1), share).to(dtype)
    return Given(name, "unbiased", {"x": x, "levels": levels, "sweep": sweep}, public)


def quantize_cases(draw: Draw) -> list[Given]:
    """By aspect: codes of even levels, unbiased over a sweep, levels of other kinds, edges."""
    even, uneven, fine = (
        torch.linspace(-1, 1, 2 * draw.integer(3, 6) + 1),
        increasing(draw, 6),
        torch.linspace(0, 4, 257),
    )
    tails = torch.tensor([-100.0, -1.0, -0.01, 0.0, 0.01, 1.0, 100.0]) * draw.number(0.5, 2)
    n, inf = draw.integer(20, 30), float("inf")
    kinds, far = [(B16, 3e-4), (F16, 5e-5), (F32, 5e-5), (F64, 5e-5)], torch.tensor([-6e4, 6e4])

    def edge(name: str, x: Tensor, levels: Tensor, u: Tensor | float, public: bool = False, **more: Any) -> Given:
        return Given(name, "edges", {"x": x, "levels": levels, "u": u, **more}, public)

    outside = torch.tensor([-inf, -500.0, float(uneven[0]) - 0.1, float(uneven[-1]) + 0.1, 500.0, inf])
    nan = draw.normal(5)
    nan[draw.integer(0, 4)] = float("nan")
    return [
        codes_case(draw, "even levels", "codes", (n,), even, True),
        codes_case(draw, "float64", "codes", (n,), even, dtype=F64),
        codes_case(draw, "two axes in bfloat16", "codes", (4, n), torch.linspace(-1, 1, 7), True, B16),
        codes_case(draw, "as many as a layer has", "codes", (draw.integer(3000, 4000),), even),
        codes_case(draw, "float16", "codes", (n,), torch.linspace(-2, 2, 5), dtype=F16),
        sweep_case(draw, "sweep of even levels", n, even, 16, True),
        sweep_case(draw, "sweep of uneven levels", n, uneven, 32, dtype=F64),
        sweep_case(draw, "sweep of bfloat16", n, torch.linspace(-1, 1, 3), 8, dtype=B16),
        codes_case(draw, "uneven levels", "levels", (n,), uneven, True),
        codes_case(draw, "levels far apart and near", "levels", (n,), tails),
        codes_case(draw, "two levels", "levels", (n,), torch.tensor([-0.5, 2.0]), dtype=F64),
        codes_case(draw, "257 levels", "levels", (n,), fine, dtype=F64),
        edge("on a level", uneven.clone(), uneven, torch.linspace(0, 0.99, 6), True),
        edge("on a level, the least uniform", uneven.clone(), uneven, 0.0),
        edge("on a level, a large uniform", uneven.clone(), uneven, 0.9999),
        edge("beyond the levels", outside, uneven, 0.9, True),
        edge("beyond the levels, a small uniform", outside, uneven, 0.0),
        edge("beyond the levels in bfloat16", torch.tensor([-9.0, 9.0]).bfloat16(), torch.tensor([-0.3, 0.3]), 0.5),
        edge(
            "u is just the share", torch.tensor([0.5, -0.25]), torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0.5, 0.75])
        ),
        edge("one level", torch.tensor([-inf, 0.5, 1.0, 3.0, inf]), torch.ones(1), 0.25),
        edge("one number for all", draw.normal(n), uneven, 0.5),
        edge("NaN", nan, even, torch.full((5,), 0.5), True, refused=True),
        edge("no entry", torch.zeros(2, 0), even, torch.zeros(2, 0)),
        edge("one number", torch.tensor(0.1), even, torch.tensor(0.2)),
        codes_case(draw, "transposed in memory", "edges", (5, 4), even, transposed=True),
        each("u beside the share", "codes", *(beside_the_share(draw, 40, even, *kind) for kind in kinds)),
        each(
            "u beside the share of uneven levels",
            "levels",
            *(beside_the_share(draw, 40, uneven, *kind) for kind in kinds),
            *(beside_the_share(draw, 9, far, dtype, 0.01) for dtype in (F16, B16, F32)),
        ),
        each(
            "whole numbers",
            "edges",
            *({"x": x, "levels": uneven, "u": 0} for x in (draw.normal(n), draw.normal(4), draw.normal(3, dtype=B16))),
            {"x": draw.normal(5, dtype=F16), "levels": torch.zeros(1), "u": 0},
        ),
    ]


# ---- beyond one room -------------------------------------------------------------------------------------------------


def federated_cases(draw: Draw) -> list[Given]:
    """By aspect: averages, edges."""

    def case(
        name: str, aspect: str, counts: list[int], public: bool = False, dtype: torch.dtype = F64, **more: Any
    ) -> Given:
        states = [{"weight": draw.normal(3, 2, dtype=dtype), "bias": draw.normal(2, dtype=dtype)} for _ in counts]
        return Given(name, aspect, {"states": states, "n_examples": counts, **more}, public)

    few, many = draw.integer(2, 9), draw.integer(50, 90)
    absent = case("a broken client without examples", "edges", [few, 0, many], True)
    absent.inputs["states"][1]["weight"].fill_(float("nan"))  # type: ignore[index, union-attr]
    fewer = case("a count is missing", "edges", [few, many], refused=True)
    return [
        case("uneven", "average", [few, many, 10], True),
        case("equal", "average", [few, few]),
        case("float32", "average", [many, few, 1, 3], True, F32),
        case("bfloat16", "average", [many, few, 7], dtype=B16),
        case("one client", "edges", [few], True),
        absent,
        case("nobody has any", "edges", [0, 0], True, refused=True),
        Given(fewer.name, "edges", {**fewer.inputs, "n_examples": [few]}),
    ]


def gossip_cases(draw: Draw) -> list[Given]:
    """By aspect: means in worlds of all sizes; traffic."""

    def case(
        name: str, aspect: str, world_size: int, steps: int, shape: tuple[int, ...], public: bool = False,
        dtype: torch.dtype = F64,
    ) -> Given:  # fmt: skip
        ranks = [{"x": draw.normal(*shape, dtype=dtype)} for _ in range(world_size)]
        size = torch.Size(shape).numel() * dtype.itemsize
        limits = {"rank_messages": 2 * steps, "rank_bytes": 2 * steps * size} if aspect == "traffic" else {}
        return Given(name, aspect, {"ranks": ranks, "steps": steps}, public, limits)

    n = draw.integer(5, 9)
    return [
        case("three ranks", "mean", 3, 1, (n,), True),
        case("five ranks, three steps", "mean", 5, 3, (2, n), dtype=F32),
        case("two ranks", "mean", 2, 2, (n,), True),
        case("alone", "mean", 1, 1, (n,)),
        case("no entry", "mean", 4, 1, (0,)),
        case("four ranks", "traffic", 4, 2, (n,), True),
        case("six ranks", "traffic", 6, 1, (n,)),
    ]


def mask_cases(draw: Draw) -> list[Given]:
    """By aspect: what each sends; the sum."""

    def case(name: str, aspect: str, ranks: int, n: int, public: bool = False, largest: int = 1000) -> Given:
        updates = [draw.integers(n, low=-largest, high=largest + 1) for _ in range(ranks)]
        masks = [[draw.integers(n, high=2**32) for _ in range(ranks)] for _ in range(ranks)]
        others = [[other for other in range(ranks) if other != rank] for rank in range(ranks)]
        return Given(name, aspect, {"updates": updates, "masks": masks, "others": others}, public)

    n = draw.integer(4, 8)
    return [
        case("two ranks", "sent", 2, n, True),
        case("alone", "sent", 1, n),
        case("large updates", "sent", 3, n, largest=2**31 - 1),
        case("three ranks", "sum", 3, n, True),
        case("five ranks", "sum", 5, n),
        case("no entry", "sum", 3, 0),
    ]


def admm_cases(draw: Draw) -> list[Given]:
    """By aspect: one step from anywhere; several."""
    d = draw.integer(3, 5)

    def case(
        name: str, aspect: str, rows: list[int], steps: int, public: bool = False, dtype: torch.dtype = F64,
        start: Callable[..., Tensor] = draw.normal,
    ) -> Given:  # fmt: skip
        data = {"A": [draw.normal(n, d, dtype=dtype) for n in rows], "b": [draw.normal(n, dtype=dtype) for n in rows]}
        state = {"z": start(d, dtype=dtype), "duals": start(len(rows), d, dtype=dtype)}
        return Given(name, aspect, {**data, **state, "rho": draw.choice([0.5, 1.5, 3.0]), "steps": steps}, public)

    return [
        case("two ranks", "step", [6, 7], 1, True),
        case("fewer rows than unknowns", "step", [2, 9, 1], 1),
        case("one rank", "step", [8], 1, dtype=F32),
        case("from zero", "steps", [5, 6, 7], 3, True, start=torch.zeros),
        case("eight steps", "steps", [4, 12], 8),
        case("a rank without rows", "steps", [0, 6], 2),
    ]
