"""Lab 10, sealed: cases of checkpointing and of its schedule."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given
from mlsys_course.memory import least_peak

F64 = torch.float64


def checkpoint_cases(draw: Draw) -> list[Given]:
    """By aspect: values, chance, arguments, context, memory."""

    def case(name: str, aspect: str, look: str, public: bool = False, **more: Any) -> Given:
        rows, width = draw.integer(2, 4), draw.integer(3, 5)
        tensors = {"x": draw.normal(rows, width, dtype=F64), "weight": draw.normal(width, width, dtype=F64)}
        return Given(name, aspect, {**tensors, "look_at": look, **more}, public)

    def kinds(name: str, public: bool = False) -> Given:
        index = draw.integers(draw.integer(2, 5), high=2)
        more = {"index": index, "power": draw.integer(1, 3), "shift": draw.number(-1, 1)}
        return case(name, "arguments", "arguments", public, **more)

    return [
        case("a function of one tensor", "values", "values", True),
        single(case("in float32", "values", "values")),
        case("nested", "values", "nested", True),
        case("nested, other sizes", "values", "nested"),
        case("without gradients", "values", "values", True, no_grad=True),
        case("random numbers", "chance", "chance", True, seed=draw.integer(0, 999)),
        case("random numbers, three times", "chance", "chance", seed=draw.integer(0, 999), times=3),
        kinds("arguments of all kinds", True),
        kinds("arguments of all kinds, others"),
        case("no argument needs a gradient", "arguments", "values", True, x_wants=False),
        case("no argument needs one, others", "arguments", "values", x_wants=False),
        case("nothing needs a gradient", "arguments", "values", x_wants=False, weight_wants=False),
        single(case("autocast", "context", "autocast", True, enabled=True)),
        single(case("autocast switched off", "context", "autocast", enabled=False)),
        case("calls", "memory", "calls", True),
        case("calls, others", "memory", "calls", x_wants=False),
        long(draw, "ten segments", True),
        several("autocast, others", "context", [
            single(case("", "", "autocast", enabled=enabled, dtype=dtype))
            for enabled in (True, False) for dtype in ("float16", "bfloat16")
        ]),
        several("results of all kinds", "values", [
            case("", "", "results", kind=kind, used=used)
            for kind, used in (("one", 0), ("two", 0), ("two", 1), ("three", 1), ("three", 2), ("constant", 1))
        ]),
        several("one tensor twice", "arguments", [case("", "", "twice"), single(case("", "", "twice"))]),
        several("no tensor given", "arguments", [
            case("", "", "none given", power=draw.integer(1, 3), positional=by_place) for by_place in (True, False)
        ]),
        several("nothing is held", "memory", [case("", "", "frees")]),
    ]  # fmt: skip


def several(name: str, aspect: str, calls: Sequence[Given]) -> Given:
    """Several cases as one."""
    return Given(name, aspect, {"each": [one.inputs for one in calls]})


def single(given: Given) -> Given:
    """The same, in float32."""
    inputs = {name: x.float() if isinstance(x, torch.Tensor) else x for name, x in given.inputs.items()}
    return Given(given.name, given.aspect, inputs, given.public)


def long(draw: Draw, name: str, public: bool) -> Given:
    """Operators by the dozen: all of them keep 40 MiB, of which 0.45 may be held."""
    repeats, segments, kinks = draw.integer(4000, 4200), 10, 16
    inputs = {"x": draw.normal(16), "look_at": "memory", "repeats": repeats, "segments": segments, "kinks": kinks}
    limits = {"peak_memory": float(int(0.45 * segments * kinks * repeats * 16 * 4))}
    return Given(name, "memory", inputs, public, limits)


# ---- optimal_checkpoints ---------------------------------------------------------------------------------------------


def schedule_cases(draw: Draw) -> list[Given]:
    """By aspect: least, limit, edges. Bytes are whole numbers, seconds quarters, so that sums are exact."""

    def chain(layers: int, even: bool = False) -> dict[str, list]:
        inputs = [4] * layers if even else [draw.integer(1, 8) for _ in range(layers)]
        saved = [draw.integer(20, 24) if even else own + draw.integer(4, 60) for own in inputs]
        seconds = [draw.integer(1, 12) / 4 for _ in range(layers)]
        return {"inputs": inputs, "saved": [saved[0]] * layers if even else saved, "seconds": seconds}

    def case(name: str, aspect: str, layers: int, shares: list[float], public: bool = False, **more: Any) -> Given:
        rows = chain(layers, more.pop("even", False))
        low, high = least_peak(rows["inputs"], rows["saved"]), sum(rows["saved"])
        limits = [round(low + share * (high - low)) for share in shares]
        look = "limit" if aspect == "limit" else "least"
        return Given(name, aspect, {**rows, "limits": limits, "look_at": look, **more}, public)

    def refused(name: str, layers: int, public: bool = False) -> Given:
        rows = chain(layers)
        low = least_peak(rows["inputs"], rows["saved"])
        inputs = {**rows, "limits": [low - 1, low // 2], "look_at": "least", "refused": True}
        return Given(name, "edges", inputs, public)

    nothing = {"inputs": [], "saved": [], "seconds": [], "limits": [0], "look_at": "least"}
    return [
        case("six layers", "least", 6, [0.05, 0.2, 0.4, 0.6], True),
        case("twelve alike", "least", 12, [0.05, 0.2, 0.6], even=True),
        case("eight layers", "least", 8, [0.0, 0.15, 0.3, 0.5, 0.7, 0.9], True),
        case("ten layers", "least", 10, [0.1, 0.35, 0.65]),
        case("as little as can be", "limit", 7, [0.0, 0.02, 0.1, 0.3], True),
        case("nine alike", "limit", 9, [0.0, 0.1, 0.5], even=True),
        case("eleven layers", "limit", 11, [0.0, 0.05, 0.2, 0.6]),
        case("all of it fits", "edges", 5, [1.0, 2.0], True),
        case("one layer", "edges", 1, [0.0, 1.0]),
        Given("no layer", "edges", nothing),
        refused("too little", 6, True),
        refused("too little, others", 3),
        several("microseconds", "least", [in_units(one, 2.0**-20) for one in
                (case("", "least", 6, [0.05, 0.3, 0.6]), case("", "least", 8, [0.1, 0.4]))]),
        several("the same layers in other order", "least", in_other_order(draw, case("", "least", 7, [0.1, 0.3, 0.5]))),
        several("long segments", "least", [long_segment(draw, length) for length in (3, 5, 7, 9)]),
        several("beyond 16 MiB", "limit", [large(draw, draw.integer(4, 7), look) for look in ("limit", "least")]),
        several("beyond 16 MiB, too little", "edges", [large(draw, 5, "least", refused=True) for _ in range(3)]),
        several("two beside each other", "least", [case("", "least", n, [0.0, 0.5, 1.0]) for n in (2, 3)]),
    ]  # fmt: skip


def in_units(given: Given, unit: float) -> Given:
    """With seconds that are so much smaller."""
    seconds = [unit * one for one in given.inputs["seconds"]]
    return Given("", "", {**given.inputs, "seconds": seconds, "unit": unit})


def in_other_order(draw: Draw, given: Given) -> list[Given]:
    """Of one length and with the same limits, one after the other."""
    rows = {name: given.inputs[name] for name in ("inputs", "saved", "seconds")}
    layers = range(len(rows["seconds"]))
    found = [given]
    for names in (["seconds"], ["inputs", "saved"], ["seconds"]):
        order = draw.shuffled(layers)
        rows = rows | {name: [rows[name][k] for k in order] for name in names}
        least = least_peak(rows["inputs"], rows["saved"])
        limits = [max(limit, least) for limit in given.inputs["limits"]]
        found.append(Given("", "", {**given.inputs, **rows, "limits": limits}))
    return found


def long_segment(draw: Draw, length: int) -> Given:
    """Only where the first so many layers are one segment the rest can keep what it has; else dear ones run again."""
    rest = 3
    saved = [draw.integer(12, 14) for _ in range(length)] + [draw.integer(60, 64) for _ in range(rest)]
    inputs = [1] + [draw.integer(9, 11) for _ in range(length - 1)] + [50] * rest
    limit = max(1 + sum(saved[length:]), sum(saved[:length]))
    seconds = [draw.integer(1, 4) / 4 for _ in range(length)] + [40.0] * rest
    return Given("", "", {"inputs": inputs, "saved": saved, "seconds": seconds, "limits": [limit], "look_at": "least"})


def large(draw: Draw, layers: int, look: str, refused: bool = False) -> Given:
    """Odd numbers of bytes, and limits that are met to the byte, or missed by one."""
    inputs = [2 * draw.integer(2**24, 2**25) + 1 for _ in range(layers)]
    saved = [own + 2 * draw.integer(2**25, 2**27) for own in inputs]
    low, high = least_peak(inputs, saved), sum(saved)
    limits = [low - 1] if refused else [low, low + 1, (low + high) // 2, high - 1, high]
    seconds = [draw.integer(1, 12) / 4 for _ in range(layers)]
    more = {"refused": True} if refused else {}
    return Given(
        "", "", {"inputs": inputs, "saved": saved, "seconds": seconds, "limits": limits, "look_at": look, **more}
    )
