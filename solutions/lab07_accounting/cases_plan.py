"""Lab 7, sealed: cases of traffic, GPUs, schedules, rooflines and stages of ZeRO."""

from collections.abc import Sequence
from typing import Any

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given, calls

from .cases_costs import without_defaults

RING, TREE = "ring", "tree"
SCHEMES = {"ring": [RING], "tree": [TREE], "zero": ["zero-1", "zero-2", "zero-3"]}


def traffic_cases(draw: Draw) -> Sequence[Given]:
    """Gradients and weights of different sizes, trees of all shapes. P divides the entries of rings and ZeRO, except
    where padding is what is asked for; a tree divides nothing."""

    def case(name: str, aspect: str, scheme: str, ranks: int, public: bool = False, **changes: int) -> Given:
        entries, rest = ranks * draw.integer(40, 90_000), draw.integer(1, ranks - 1) if ranks > 2 else 1
        entries += 0 if aspect in ("ring", "zero") else rest
        narrow, wide = draw.choice([(1, 2), (2, 4), (1, 4)])
        inputs = {"scheme": scheme, "entries": entries, "ranks": ranks, "gradient_itemsize": wide}
        inputs |= {"weight_itemsize": narrow, "micro_batches": draw.integer(3, 7)}
        sizes = {"gradient_itemsize": 2, "weight_itemsize": 2, "micro_batches": 1}
        return Given(name, aspect, without_defaults({**inputs, **changes}, **sizes), public)

    few, many = draw.integer(6, 11), draw.integer(30, 200)
    fields: dict[str, Sequence[Any]] = {"ranks": [few, 1, 2, many], "gradient_itemsize": [4, 2]}
    fields |= {"weight_itemsize": [2, 4], "micro_batches": [draw.integer(3, 7), 1]}

    def together(aspect: str, *schemes: str) -> Given:
        rows = crossed({"scheme": schemes, **fields})
        return Given(f"{aspect}, all together", aspect, calls(*(case("", aspect, **row).inputs for row in rows)))

    return [
        case("a ring", "ring", RING, few, True),
        case("a ring of two", "ring", RING, 2),
        case("a ring, one rank", "ring", RING, 1),
        case("a ring, many ranks", "ring", RING, many),
        case("a tree", "tree", TREE, few, True),
        case("a tree of two", "tree", TREE, 2),
        case("a tree of three", "tree", TREE, 3, True),
        case("a tree of four", "tree", TREE, 4),
        case("a tree of five", "tree", TREE, 5),
        case("a tree, one rank", "tree", TREE, 1),
        case("a tree, many ranks", "tree", TREE, many),
        case("stage 1", "zero", "zero-1", few, True),
        case("stage 2", "zero", "zero-2", few, True),
        case("stage 3", "zero", "zero-3", few, True),
        case("stage 1, many ranks", "zero", "zero-1", many),
        case("stage 2, one micro-batch", "zero", "zero-2", many, micro_batches=1),
        case("stage 3, weights are wider", "zero", "zero-3", many, gradient_itemsize=2, weight_itemsize=4),
        case("stage 3, one rank", "zero", "zero-3", 1),
        case("a ring, padded", "padding", RING, few, True),
        case("a ring, fewer entries than ranks", "padding", RING, many, entries=draw.integer(3, 20)),
        case("stage 1, padded", "padding", "zero-1", few, True),
        case("stage 3, padded", "padding", "zero-3", many),
        case("a ring, sixteen bits", "ring", RING, few, gradient_itemsize=2, weight_itemsize=2, micro_batches=1),
        *(together(aspect, *schemes) for aspect, schemes in SCHEMES.items()),
    ]


def gpus_cases(draw: Draw) -> Sequence[Given]:
    """Drawn runs, well away from whole boxes; and exact ones, in numbers that no rounding touches."""

    def case(name: str, aspect: str, public: bool = False, **changes: float) -> Given:
        inputs: dict[str, Any] = {"peak": draw.choice([125e12, 312e12, 989.4e12]), "days": draw.integer(3, 90)}
        inputs |= {"utilization": draw.number(0.25, 0.6), "box": draw.choice([4, 8, 16]), **changes}
        exact = inputs["box"] * draw.integer(2, 90) + inputs["box"] * draw.number(0.08, 0.42)
        inputs = {"flops": exact * inputs["peak"] * inputs["utilization"] * inputs["days"] * 86_400, **inputs}
        inputs = without_defaults(inputs, box=1)
        return Given(name, aspect, {**inputs, "asked": ["exact" if aspect == "exact" else "rented"]}, public)

    boxes = draw.integer(2, 9)
    whole: dict[str, float] = {"peak": 2000.0, "utilization": 0.5, "days": 2, "box": 8}
    whole["flops"] = 1000.0 * 2 * 86_400 * 8 * boxes
    odd: dict[str, Any] = {**whole, "flops": 1000.0 * 2 * 86_400 * (2 * boxes + 0.5), "box": 1}
    return [
        case("a run", "exact", True),
        case("a short run", "exact", days=0.25),
        case("a day at the peak", "exact", True, days=1, utilization=1.0),
        case("less than a card", "exact", flops=draw.number(1e15, 2e15)),
        case("boxes", "boxes", True),
        case("other boxes", "boxes", box=16),
        case("cards one by one", "boxes", True, box=1),
        case("whole boxes already", "boxes", True, **whole),
        case("less than a box", "boxes", flops=draw.number(1e15, 2e15)),
        case("an odd number of cards", "boxes", **odd),
    ]


STEP = ["compute_seconds", "exchange_seconds", "step_seconds"]
RUN = ["steps", "days", "cost"]


def schedule_cases(draw: Draw) -> Sequence[Given]:
    """The cards are slower, or the wire is; steps that divide the tokens, and that do not."""

    def case(name: str, aspect: str, slower: str, public: bool = False, **changes: float) -> Given:
        batch, gpus = 1024 * draw.integer(200, 5000), 8 * draw.integer(2, 90)
        inputs: dict[str, Any] = {
            "flops_per_token": draw.number(1e9, 5e11),
            "tokens": batch * draw.integer(20, 900) + draw.integer(1, batch // 3),
            "batch_tokens": batch,
            "gpus": gpus,
            "peak": draw.choice([312e12, 989.4e12, 2250e12]),
            "utilization": draw.number(0.25, 0.6),
            "bandwidth": draw.choice([3.125e9, 50e9, 450e9]),
            "price": draw.number(1, 9),
            **changes,
        }
        compute = inputs["flops_per_token"] * inputs["batch_tokens"] / gpus / inputs["peak"] / inputs["utilization"]
        ratio = draw.number(0.2, 0.7) if slower == "cards" else draw.number(1.5, 4)
        inputs["sent"] = int(ratio * compute * inputs["bandwidth"])
        asked = {"step": STEP, "run": RUN, "reached": ["reached"]}[aspect]
        return Given(name, aspect, {**without_defaults({**inputs, **changes}, price=0.0), "asked": asked}, public)

    def long(gpus: int) -> dict[str, Any]:
        """Days and a part of one."""
        step = {"flops_per_token": 6e9, "batch_tokens": 2**20, "gpus": gpus, "peak": 1e15, "utilization": 0.5}
        seconds = 6e9 * 2**20 / gpus / 0.5e15
        rest = {
            "tokens": 2**20 * int(2.4 * 86_400 / seconds),
            "sent": 2**20,
            "bandwidth": 50e9,
            "price": draw.number(1, 9),
        }
        return {**step, **rest, "asked": RUN}

    whole: dict[str, Any] = {"batch_tokens": 2**20, "tokens": 2**20 * draw.integer(20, 900)}
    return [
        case("the cards are slower", "step", "cards", True),
        case("the wire is slower", "step", "wire", True),
        case("nothing to send", "step", "cards", sent=0),
        case("a slower wire, at the peak", "step", "wire", utilization=1.0),
        case("a run, bound by cards", "run", "cards", True),
        case("a run, bound by the wire", "run", "wire", True),
        case("steps divide the tokens", "run", "cards", **whole),
        case("less than a step", "run", "wire", batch_tokens=2**20, tokens=draw.integer(9, 2**19)),
        case("for nothing", "run", "cards", price=0.0),
        case("reached, bound by cards", "reached", "cards", True),
        case("reached, bound by the wire", "reached", "wire", True),
        case("reached, another wire", "reached", "wire"),
        case("less than a step, bound by cards", "step", "cards", batch_tokens=2**20, tokens=draw.integer(9, 2**19)),
        case("one card", "step", "cards", gpus=1),
        Given("one card, and a run of days", "run", calls(*(long(gpus) for gpus in (1, 64)))),
    ]


def roofline_cases(draw: Draw) -> Sequence[Given]:
    """Products on both sides of the ridge, well away from it; single rows and columns; one at it, in powers of two."""

    def case(name: str, aspect: str, side: str, public: bool = False, **changes: Any) -> Given:
        inputs: dict[str, Any] = {"m": draw.integer(3, 90), "k": draw.integer(100, 900), "n": draw.integer(100, 900)}
        inputs |= {"itemsize": draw.choice([1, 2, 4]), "bandwidth": draw.number(1e11, 8e12), **changes}
        m, k, n = (inputs[name] for name in "mkn")
        intensity = 2 * m * k * n / inputs["itemsize"] / (m * k + k * n + m * n)
        away = inputs.pop("away", None) or draw.number(2.5, 6)
        inputs["peak"] = inputs["bandwidth"] * intensity * (away if side == "memory" else 1 / away)
        asked = {"intensity": ["flops", "bytes", "intensity"], "speed": ["attainable", "seconds"], "bound": ["bound"]}
        return Given(name, aspect, {**inputs, "asked": asked[aspect]}, public)

    def tie() -> Given:
        power, bandwidth = draw.integer(3, 6), float(2 ** draw.integer(37, 42))
        sizes = dict.fromkeys("mkn", 3 << power)  # 2 << power FLOPs for each byte
        inputs = {**sizes, "itemsize": 1, "bandwidth": bandwidth, "peak": (2 << power) * bandwidth, "asked": ["bound"]}
        return Given("which, at the ridge", "bound", inputs, True)

    return [
        case("a product", "intensity", "compute", True),
        case("a square product", "intensity", "memory", m=64, k=64, n=64),
        case("one row: decoding", "intensity", "memory", True, m=1),
        case("one column", "intensity", "memory", n=1),
        case("below the ridge", "speed", "memory", True),
        case("above the ridge", "speed", "compute", True),
        case("one row, slow memory", "speed", "memory", m=1),
        case("above the ridge, bytes of one", "speed", "compute", itemsize=1),
        case("which, below", "bound", "memory", True),
        case("which, above", "bound", "compute", True),
        tie(),
        case("which, one row", "bound", "memory", m=1),
        case("which, one row, slow cores", "bound", "compute", m=1),
        *(case(f"which, hardly {side}", "bound", side, away=1.004, m=9, k=50, n=70) for side in ("memory", "compute")),
        Given("an outer product", "intensity", calls(*(case("", "intensity", "memory", k=k).inputs for k in (1, 2)))),
    ]


def zero_cases(draw: Draw) -> Sequence[Given]:
    """Each stage is the first that fits once; nothing fits; what fits to the byte."""

    def case(name: str, aspect: str, public: bool = False, *, first: int | None = None, spare: int = 0) -> Given:
        ranks = draw.integer(6, 60)
        parameters = ranks * draw.integer(10**5, 10**7) + draw.integer(1, ranks - 1)
        activations = draw.integer(10**5, parameters)
        share = -(-parameters // ranks)
        held = [16 * parameters, 4 * parameters + 12 * share, 2 * parameters + 14 * share, 16 * share]
        memory = activations + (held[first] + spare if first is not None else draw.integer(2 * held[3], held[0]))
        asked = {"bytes": ["bytes"], "stage": ["stage"], "ranks": ["ranks"]}[aspect]
        inputs = {"parameters": parameters, "activations": activations, "ranks": ranks, "memory": memory}
        return Given(name, aspect, {**inputs, "asked": asked}, public)

    def tight(name: str, aspect: str, memory: int, public: bool = False) -> Given:
        inputs = {"parameters": draw.integer(10**6, 10**8), "activations": 10**7, "ranks": 8, "memory": memory}
        return Given(name, aspect, {**inputs, "asked": [aspect]}, public)

    def even() -> Given:
        share, ranks = draw.integer(10**5, 10**7), draw.integer(6, 60)
        inputs = {"parameters": share * ranks, "activations": 12345, "ranks": 4, "memory": 12345 + 16 * share}
        return Given("even shares", "ranks", {**inputs, "asked": ["ranks"]}, True)

    def not_another() -> Given:
        """Room for whole shares of ``share`` parameters, and for a part of another."""
        share, ranks = draw.integer(10**5, 10**7), draw.integer(6, 60)
        inputs = {"parameters": share * ranks + 1, "activations": 12345, "ranks": 4, "memory": 12360 + 16 * share}
        return Given("room for part of a parameter more", "ranks", {**inputs, "asked": ["ranks"]}, True)

    def single() -> Given:
        inputs = {"parameters": draw.integer(10**6, 10**8), "activations": 12345, "ranks": 1, "memory": 10**9}
        return Given("one rank", "bytes", {**inputs, "asked": ["bytes"]})

    def room(more: int) -> Given:
        """For all on one rank, and some bytes more, or less."""
        parameters = draw.integer(10**6, 10**8)
        inputs = {"parameters": parameters, "activations": 12345, "ranks": 4, "memory": 12345 + 16 * parameters + more}
        return Given("", "ranks", {**inputs, "asked": ["ranks"]})

    slack = draw.integer(1, 90)
    return [
        case("bytes", "bytes", True),
        case("bytes on more ranks", "bytes", True),
        case("bytes on others", "bytes"),
        single(),
        case("the last stage", "stage", True, first=3, spare=slack),
        case("the first stage", "stage", True, first=1, spare=slack),
        case("the second stage, to the byte", "stage", True, first=2),
        case("without sharding, to the byte", "stage", first=0),
        case("a byte is missing", "stage", first=3, spare=-1),
        tight("activations alone fill it", "stage", 10**7),
        case("how many ranks", "ranks", True),
        even(),
        not_another(),
        case("as many as there are", "ranks", True, first=3),
        case("a byte less each", "ranks", first=3, spare=-1),
        tight("room for less than a parameter", "ranks", 10**7 + 15),
        tight("activations alone are too much", "ranks", 10**7 - 15, True),
        tight("room for one parameter", "ranks", 10**7 + 16),
        Given("one rank is enough", "ranks", calls(*(dict(room(more).inputs) for more in (0, 10**6, -1)))),
    ]
