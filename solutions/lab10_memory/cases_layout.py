"""Lab 10, sealed: cases of the caching allocator and of adapters."""

from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Given

F64 = torch.float64
KB = 1024


def traffic(draw: Draw, count: int, most: int, freed: float = 0.45) -> list[list]:
    """Random requests and what is freed of them, in the order of a program that forgets nothing at the end."""
    actions, live = [], []
    for n in range(count):
        if live and draw.number(0, 1) < freed:
            actions.append([live.pop(draw.integer(0, len(live) - 1)), "free"])
        else:
            actions.append([f"t{n}", draw.integer(1, most)])
            live.append(f"t{n}")
    return actions


def several_calls(name: str, aspect: str, calls: Sequence[Given]) -> Given:
    """Several cases as one."""
    return Given(name, aspect, {"each": [one.inputs for one in calls]})


def allocator_cases(draw: Draw) -> list[Given]:
    """By aspect: rounding, best fit, coalescing, full. ``actions`` are (name, bytes), or (name, "free")."""

    def case(
        name: str, aspect: str, actions: Sequence[Sequence], public: bool = False, capacity: int = 256 * KB,
        segment: int = 16 * KB, looks: Sequence[str] = ("addresses", "segments", "totals"), **more: Any,
    ) -> Given:  # fmt: skip
        inputs = {"capacity": capacity, "segment_size": segment, "actions": [list(a) for a in actions]}
        return Given(name, aspect, {**inputs, "look_at": list(looks), **more}, public)

    def freed(sizes: Sequence[int], names: str, then: Sequence[int]) -> list[list]:
        """Tensors a, b, c, ... of so many KB; some of them go, others come."""
        made = [[chr(97 + n), size * KB] for n, size in enumerate(sizes)]
        return [*made, *[[name, "free"] for name in names], *[[f"new{n}", size * KB] for n, size in enumerate(then)]]

    odd = draw.integer(1, 511)
    holes = draw.shuffled([2, 3, 4, 5])
    walls = [size for hole in holes for size in (hole, 1)]
    three = draw.shuffled("bcd")
    a, b = draw.integer(2, 3), draw.integer(4, 5)
    own = {"settings": {"block_size": 256}}
    emptied = [["a", 8 * KB], ["b", 3 * KB], ["a", "free"], ["c", 9 * KB], ["d", 5 * KB]]
    seen = ("addresses", "segments", "totals", "history")
    tight = {"looks": seen, "capacity": 20 * KB, "segment": 8 * KB}
    most = draw.integer(3, 5)
    # Three segments lie empty, and one of them would be enough.
    several = [*[[f"s{n}", 8 * KB] for n in range(most)], *[[f"s{n}", "free"] for n in draw.sample(range(most), 3)],
               ["large", 9 * KB], ["more", 8 * KB]]  # fmt: skip
    in_vain = [["a", 8 * KB], ["b", odd], ["a", "free"], ["c", 30 * KB], ["d", 8 * KB], ["b", "free"], ["e", 21 * KB],
               ["f", 5]]  # fmt: skip
    sizes = draw.shuffled([1, 2, 3, 4])
    return [
        case("a few", "rounding", [["a", 1], ["b", 512], ["c", 512 + odd]], True),
        case("one beyond a segment", "rounding", [["a", 16 * KB + odd], ["b", 3 * KB]], True),
        case("another block size", "rounding", [["a", 250 + odd], ["b", 1], ["a", "free"], ["c", 256]], True, **own),
        case("exactly a segment", "rounding", [["a", 16 * KB], ["b", 16 * KB], ["c", odd]]),
        case("the smallest hole", "best fit", freed([4, 1, 2, 1, 3, 1], "ace", [2, 3, 1]), True),
        case("equal holes", "best fit", freed([2, 1, 2, 1, 2, 1], "eca", [1, 2, 1, 2]), True),
        case("drawn holes", "best fit", freed([*walls], "aceg", draw.shuffled([1, 2, 3, 4]))),
        case("holes of two segments", "best fit", freed([14, 14, 2, 2], "bd", [2, 1, 13])),
        case("a neighbour on the left", "coalescing", freed([1, a, b, 1], "bc", [a + b]), True),
        case("a neighbour on the right", "coalescing", freed([1, a, b, 1], "cb", [a + b]), True),
        case("on both sides", "coalescing", freed([1, 2, a, 3, 1], "".join(three), [5 + a])),
        case("the rest of a segment", "coalescing", freed([1, a, b], "c", [16 - 1 - a])),
        case("not beyond a segment", "coalescing", freed([16, 16, 1], "ab", [20]), True),
        case("long traffic", "coalescing", traffic(draw, 60, 6 * KB, 0.5)),
        case("empty segments go back", "full", emptied, True, capacity=20 * KB, segment=8 * KB),
        case("too much", "full", [["a", 9 * KB], ["b", 9 * KB], ["a", "free"], ["c", odd]], True, 16 * KB, 8 * KB),
        case("as much as there is", "full", [["a", 8 * KB], ["b", 8 * KB], ["c", 1]], False, 16 * KB, 8 * KB),
        case("exactly full", "full", [["a", 8 * KB], ["a", "free"], ["b", 16 * KB]], False, 24 * KB, 8 * KB),
        case("a hole is found though the device is full", "full", freed([8, 4, 4, 8], "c", [3, 2]), False, 24 * KB,
             8 * KB),
        case("nothing, and less", "full", [["a", 0], ["b", -5], ["c", 5]], True),
        case("freed twice", "full", [["a", 5], ["a", "free"], ["a", "free"], ["b", 7]], True),
        case("what was never given", "full", [["a", 600], ["b", 5], ["x", "free"], ["a", "free"]], nowhere=512),
        case("full traffic", "coalescing", traffic(draw, 50, 6 * KB, 0.4), False, 48 * KB, 8 * KB),
        several_calls("several empty ones", "full", [
            case("", "", several, capacity=8 * most * KB, segment=8 * KB, looks=seen),
            case("", "", in_vain, **tight),
        ]),
        several_calls("a segment that does not fit", "full", [
            case("", "", [["a", 8 * KB], ["b", 8 * KB], ["c", 3 * KB], ["a", "free"], ["e", 5 * KB]], **tight),
            case("", "", [["a", 3 * KB]], looks=seen, capacity=4 * KB, segment=8 * KB),
            case("", "", [["a", 8 * KB]], looks=seen, capacity=8 * KB, segment=8 * KB),
        ]),
        several_calls("holes of all sizes", "coalescing", [
            case("", "", freed([size for hole in order for size in (hole, 1)], "aceg", []), looks=seen)
            for order in (sizes, [4, 3, 2, 1], [2, 4, 1, 3])
        ]),
        several_calls("traffic, looked at all the time", "full", [
            case("", "", traffic(draw, 40, 9 * KB, 0.45), looks=seen, capacity=30 * KB + odd, segment=8 * KB),
            case("", "", traffic(draw, 40, 3 * KB, 0.5), looks=seen, capacity=11 * KB, segment=3 * KB,
                 settings={"block_size": 3 * 256}),
            case("", "", traffic(draw, 40, 12 * KB, 0.6), looks=seen, capacity=40 * KB, segment=4 * KB),
        ]),
    ]  # fmt: skip


# ---- LoRALinear ------------------------------------------------------------------------------------------------------


def lora_cases(draw: Draw) -> list[Given]:
    """By aspect: forward, training, merging, misuse."""

    def case(
        name: str, aspect: str, look: str, rank: int, public: bool = False, dtype: torch.dtype = F64,
        trained: bool = True, batch: Sequence[int] = (2,), **more: Any,
    ) -> Given:  # fmt: skip
        inputs, outputs = draw.integer(4, 6), draw.integer(2, 4)
        wide = F64 if dtype == F64 else torch.float32
        tensors = {
            "weight": draw.normal(outputs, inputs, dtype=dtype, scale=0.5),
            "a": draw.normal(rank, inputs, dtype=wide, scale=0.5),
            "x": draw.normal(*batch, inputs, dtype=dtype),
            "alpha": float(draw.choice([1, 4, 12])),
        }
        tensors |= {"b": draw.normal(outputs, rank, dtype=wide, scale=0.5)} if trained else {}
        tensors |= {"bias": draw.normal(outputs, dtype=dtype)} if more.pop("bias", True) else {}
        return Given(name, aspect, {**tensors, "look_at": look, **more}, public)

    def exact(look: str, rank: int, base: str, **more: Any) -> dict[str, Any]:
        """Whole numbers and halves, of which float32 has every sum and product, and 16 bits need not."""
        inputs, outputs = draw.integer(4, 6), draw.integer(5, 7)
        tensors = {
            "weight": draw.integers(outputs, inputs, low=-3, high=4) / 2,
            "bias": draw.integers(outputs, low=-3, high=4) / 2,
            "a": draw.integers(rank, inputs, low=-9, high=10) + 0.5,
            "b": draw.integers(outputs, rank, low=-20, high=21) + 0.25,
            "x": draw.integers(3, inputs, low=-7, high=8) / 2,
        }
        return {**tensors, "alpha": rank * draw.choice([0.5, 2.0]), "base": base, "look_at": look, **more}

    half = torch.bfloat16
    bases = ("bfloat16", "float16", "bfloat16")
    again = case("", "", "training", 3, dtype=half, times=1).inputs
    return [
        Given("where it rounds", "forward", {"each": [exact("forward", n + 1, base) for n, base in enumerate(bases)]}),
        Given("where merging rounds", "merging",
              {"each": [exact("merging", n + 1, base, times=2) for n, base in enumerate(bases)]}),
        Given("adapters of 16 bits", "training", {"each": [again, in_halves(again)]}),
        case("merged, trained, merged", "merging", "merging", 2, times=3),
        case("before training", "forward", "forward", 2, True, trained=False),
        case("trained", "forward", "forward", 2, True),
        case("rank one, no bias", "forward", "forward", 1, bias=False, batch=(2, 3)),
        case("rank five", "forward", "forward", 5, batch=()),
        case("a base of 16 bits", "forward", "forward", 3, dtype=half),
        case("a step", "training", "training", 2, True, trained=False, times=1),
        case("three steps", "training", "training", 2, True, trained=False, times=3),
        case("going on", "training", "training", 3, bias=False, times=2, batch=(2, 2)),
        case("merged and back", "merging", "merging", 2, True, times=1),
        case("twice", "merging", "merging", 3, times=2, bias=False),
        case("sixteen bits, merged and back", "merging", "merging", 2, True, dtype=half, times=3),
        case("misuse", "misuse", "misuse", 2, True),
        case("misuse, others", "misuse", "misuse", 1, bias=False),
    ]  # fmt: skip


def in_halves(inputs: dict[str, Any]) -> dict[str, Any]:
    """With a in the base's dtype."""
    return {**inputs, "a": inputs["a"].to(inputs["weight"].dtype)}
