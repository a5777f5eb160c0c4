"""Lab 7, sealed: cases of FLOPs and memory."""

from collections.abc import Sequence
from typing import Any

from autograder.crossing import crossed
from autograder.draw import Draw
from autograder.exercise import Given, calls

TERMS = ["input", "norms", "attention", "pairs", "mlp"]


def shape(draw: Draw, **fixed: int) -> dict[str, int]:
    """Sizes of a plain decoder in which nothing is equal to anything else by chance."""
    kv_heads = draw.integer(2, 5)
    drawn = {
        "vocabulary": draw.integer(1000, 90_000),
        "n_layers": draw.integer(3, 40),
        "d_model": 8 * draw.integer(30, 300),
        "n_heads": kv_heads * draw.integer(2, 5),
        "n_kv_heads": kv_heads,
        "head_dim": 8 * draw.integer(3, 16),
        "d_ffn": 8 * draw.integer(310, 900),
        "gated": draw.choice([False, True]),
    }
    return {**drawn, **fixed}


def without_defaults(inputs: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Without the last ones of ``defaults`` that are so anyway: a case leaves them out of its call."""
    while defaults and inputs[(last := [*defaults][-1])] == defaults.pop(last):
        inputs = {name: value for name, value in inputs.items() if name != last}
    return inputs


def forward_cases(draw: Draw) -> Sequence[Given]:
    """Training and decoding, shared heads and none, with and without a gate."""

    def case(name: str, aspect: str, asked: list[str], public: bool = False, past: int = 0, **changes: Any) -> Given:
        inputs: dict[str, Any] = {"batch": draw.integer(2, 9), "time": draw.integer(20, 4000)}
        inputs |= without_defaults({"past": past, "asked": asked}, past=0)
        inputs |= {key: changes.pop(key) for key in ("batch", "time") if key in changes}
        return Given(name, aspect, {"config": shape(draw, **changes), **inputs}, public)

    layers, whole = ["projections", "mlp"], ["projections", "pairs", "mlp", "head", "total"]
    cached, heads = draw.integer(200, 5000), draw.integer(3, 12)
    fields: dict[str, Sequence[Any]] = {"gated": [False, True], "past": [0, cached], "time": [draw.integer(20, 400), 1]}
    fields |= {"n_kv_heads": [1, heads], "batch": [draw.integer(2, 9), 1], "n_layers": [draw.integer(3, 40), 1]}

    def together(aspect: str, terms: list[str]) -> Given:
        each = [dict(case("", aspect, terms, n_heads=heads, **row).inputs) for row in crossed(fields)]
        return Given(f"switches together, {aspect}", aspect, calls(*each))

    sizes = {"vocabulary": 100_003, "d_model": 12_289, "n_heads": 35, "n_kv_heads": 7, "head_dim": 129, "d_ffn": 40_001}
    large = {**sizes, "n_layers": 127, "batch": 999_983, "time": 1_000_003}
    return [
        case("numbers that no float holds", "head", whole, past=1_000_033, **large),
        case("layers of such numbers", "layers", layers, **large),
        case("pairs of such numbers", "pairs", ["pairs"], **large),
        case("with a gate", "layers", layers, True, gated=True),
        case("without a gate", "layers", layers, True, gated=False),
        case("a key and value head each", "layers", layers, n_heads=heads, n_kv_heads=heads),
        case("one token", "layers", layers, batch=1, time=1),
        case("layers, decoding", "layers", layers, True, time=1, past=cached),
        case("training", "pairs", ["pairs"], True),
        case("decoding with a cache", "pairs", ["pairs"], True, past=cached, time=1),
        case("one key and value head", "pairs", ["pairs"], n_kv_heads=1),
        case("a prompt goes on", "pairs", ["pairs"], past=cached, time=draw.integer(20, 90)),
        case("whole table", "head", whole, True),
        case("whole table, one layer", "head", whole, n_layers=1),
        case("whole table, decoding", "head", whole, past=cached, time=1, batch=1),
        *(together(aspect, terms) for aspect, terms in (("layers", layers), ("pairs", ["pairs"]), ("head", whole))),
    ]


def training_cases(draw: Draw) -> Sequence[Given]:
    """Each kind of recomputation with either attention. Both at once without a head, which is another part's matter."""

    def case(
        name: str, aspect: str, asked: str, recompute: str, attention: str, public: bool = False, **fixed: int
    ) -> Given:
        forward = {n: 2 * draw.integer(10**9, 9 * 10**12) for n in ("projections", "pairs", "mlp", "head")} | fixed
        numbers = {"parameters": draw.integer(10**8, 10**11), "tokens": draw.integer(1000, 10**7)}
        ways = without_defaults({"recompute": recompute, "attention": attention}, recompute="none", attention="eager")
        return Given(name, aspect, {"forward": forward, **numbers, **ways, "asked": asked.split()}, public)

    both = "forward backward"
    large = {name: 2 * (10**18 + draw.integer(1, 999)) for name in ("head", "mlp", "pairs", "projections")}

    def turned(recompute: str, attention: str) -> dict[str, Any]:
        """The terms in another order, and too large for a float."""
        rest = {"parameters": 10**12 + 39, "tokens": 10**13 + 37, "recompute": recompute, "attention": attention}
        return {"forward": large, **rest, "asked": ["forward", "backward", "recompute", "six_nd"]}

    return [
        Given("in another order", "full", turned("full", "eager")),
        Given("in another order, selective", "selective", turned("selective", "eager")),
        Given("in another order, fused", "fused", calls(*(turned(how, "fused") for how in ("none", "selective")))),
        case("backward", "backward", both, "none", "eager", True),
        case("backward, checkpointed", "backward", both, "full", "fused", True),
        case("backward, fused", "backward", both, "none", "fused"),
        case("backward, selective", "backward", both, "selective", "eager"),
        case("nothing twice", "selective", "recompute", "none", "eager", True),
        case("selective", "selective", "recompute", "selective", "eager", True),
        case("full", "full", "recompute", "full", "eager", True),
        case("full, other numbers", "full", "recompute", "full", "eager"),
        case("fused attention", "fused", "recompute", "none", "fused", True),
        case("selective, fused", "fused", "recompute", "selective", "fused", True),
        case("full, fused, no head", "fused", "recompute", "full", "fused", head=0),
        case("6 N D", "six_nd", "six_nd", "none", "eager", True),
        case("6 N D, checkpointed", "six_nd", "six_nd", "full", "fused"),
    ]


def states_cases(draw: Draw) -> Sequence[Given]:
    """Each precision; optimizers with two moments, one and none."""

    def case(name: str, aspect: str, precision: str, optimizer: str, public: bool = False) -> Given:
        count = draw.integer(10**6, 2 * 10**11)
        kept = without_defaults({"precision": precision, "optimizer": optimizer}, precision="mixed", optimizer="adamw")
        return Given(name, aspect, {"parameters": count, **kept}, public)

    rows = crossed({"precision": ["float32", "bfloat16"], "optimizer": ["adamw", "momentum", "sgd"]})
    return [
        case("float32", "plain", "float32", "adamw", True),
        case("bfloat16", "plain", "bfloat16", "adamw", True),
        case("bfloat16, momentum", "plain", "bfloat16", "momentum"),
        case("float32, no moments", "plain", "float32", "sgd"),
        case("mixed", "mixed", "mixed", "adamw", True),
        case("mixed, momentum", "mixed", "mixed", "momentum", True),
        case("mixed, no moments", "mixed", "mixed", "sgd", True),
        case("autocast", "autocast", "autocast", "adamw", True),
        case("autocast, no moments", "autocast", "autocast", "sgd"),
        case("autocast, momentum", "autocast", "autocast", "momentum"),
        Given("every precision and optimizer", "plain", calls(*(case("", "", **row).inputs for row in rows))),
    ]


def activation_cases(draw: Draw) -> Sequence[Given]:
    """Small layers, so that tests can build live ones; more tokens than channels, so that pairs matter."""

    def case(
        name: str, aspect: str, asked: list[str], attention: str, kept: str, public: bool = False, **changes: int
    ) -> Given:
        kv_heads = draw.integer(2, 3)
        config = {"d_model": 4 * draw.integer(9, 20), "n_heads": kv_heads * draw.integer(2, 4), "n_kv_heads": kv_heads}
        config |= {"head_dim": 4 * draw.integer(2, 4), "d_ffn": 4 * draw.integer(30, 60), "gated": False, **changes}
        inputs = {"batch": draw.integer(2, 3), "time": draw.integer(41, 80), "asked": asked}
        ways = {"attention": attention, "checkpointing": kept}
        inputs |= without_defaults(ways, attention="fused", checkpointing="none")
        return Given(name, aspect, {"config": config, **inputs}, public)

    sides, inside = ["input", "norms", "mlp"], ["attention", "pairs"]
    heads = draw.integer(3, 6)

    def together(**row: Any) -> dict[str, Any]:
        return dict(case("", "total", ["total"], n_heads=heads, **row).inputs)

    fields: dict[str, Sequence[Any]] = {"attention": ["eager", "fused"], "kept": ["none", "selective", "full"]}
    fields |= {"gated": [False, True], "n_kv_heads": [1, heads]}
    return [
        case("norms and network", "network", sides, "eager", "none", True),
        case("norms and network with a gate", "network", sides, "fused", "none", True, gated=True),
        case("norms and network, selective", "network", sides, "eager", "selective", gated=True),
        case("network without a gate, fused", "network", sides, "fused", "none"),
        case("eager", "attention", inside, "eager", "none", True),
        case("fused", "attention", inside, "fused", "none", True),
        case("eager, one key and value head", "attention", inside, "eager", "none", n_kv_heads=1),
        case("fused, a key and value head each", "attention", inside, "fused", "none", n_heads=heads, n_kv_heads=heads),
        case("selective", "checkpointing", inside, "eager", "selective", True),
        case("full", "checkpointing", TERMS, "eager", "full", True),
        case("full, fused", "checkpointing", TERMS, "fused", "full", gated=True),
        case("selective, fused", "checkpointing", inside, "fused", "selective", True),
        case("selective, one key and value head", "checkpointing", inside, "eager", "selective", n_kv_heads=1),
        case("a live layer, eager", "total", ["total"], "eager", "none", True, gated=True),
        case("a live layer, fused", "total", ["total"], "fused", "none", gated=False),
        case("a live layer, selective", "total", ["total"], "eager", "selective", gated=False),
        case("a live layer, full", "total", ["total"], "fused", "full", gated=True),
        Given("switches together", "total", calls(*(together(**row) for row in crossed(fields)))),
    ]


def cache_cases(draw: Draw) -> Sequence[Given]:
    """Shared heads, wide heads, cards that hold few sequences, exactly some, and not even the weights."""

    def case(name: str, asked: str, public: bool = False, fits: int = 0, spare: float = 0.5, **changes: int) -> Given:
        config = shape(draw, **{key: n for key, n in changes.items() if key.startswith("n_")})
        inputs = {"batch": draw.integer(2, 40), "time": draw.integer(100, 9000), "itemsize": draw.choice([1, 2, 4])}
        inputs |= {
            "parameters": draw.integer(10**8, 10**10),
            **{key: n for key, n in changes.items() if key == "batch"},
        }
        one = 2 * config["n_layers"] * config["n_kv_heads"] * config["head_dim"] * inputs["time"] * inputs["itemsize"]
        memory = inputs["parameters"] * inputs["itemsize"] + fits * one + int(spare * one)
        return Given(name, asked, {"config": config, **inputs, "memory": memory, "asked": [asked]}, public)

    few = draw.integer(3, 90)
    return [
        case("cache", "cache", True),
        case("cache of one key and value head", "cache", n_kv_heads=1),
        case("cache of one layer", "cache", n_layers=1),
        case("cache, shared heads", "cache", True),
        case("some fit", "largest_batch", True, fits=few),
        case("some fit, to the byte", "largest_batch", fits=few, spare=0),
        case("fewer fit than are asked about", "largest_batch", fits=few, batch=few + 9),
        case("one fits", "largest_batch", fits=1, batch=7),
        case("none fits", "largest_batch", True),
        case("the weights do not fit", "largest_batch", True, spare=-1.5),
    ]


def peak_cases(draw: Draw) -> Sequence[Given]:
    """Steps in which the peak comes late, early, twice, and sizes that blocks round up."""

    def sizes(count: int) -> list[int]:
        return [512 * draw.integer(3, 90) - draw.integer(1, 400) for _ in range(count)]

    def layers(count: int, grows: bool) -> list[list[Any]]:
        """Forward keeps an activation a layer; backward takes a gradient, and lets the activation go."""
        kept, passing = sizes(count), [n * (3 if grows else 1) for n in sizes(count)]
        events: list[list[Any]] = [[f"activation {n}", size] for n, size in enumerate(kept)]
        for n in reversed(range(count)):
            events += [[f"gradient {n}", passing[n]], [f"activation {n}", 0]]
            events += [[f"gradient {n + 1}", 0]] if n + 1 < count else []
        return [*events, ["gradient 0", 0]]

    def case(name: str, events: list[list[Any]], public: bool = False, block: int = 512) -> Given:
        aspect = "blocks" if block > 1 else "peak"
        return Given(name, aspect, {"events": events, "block": block}, public)

    twice = [["a", 700], ["b", 300], ["b", 0], ["c", 300], ["a", 0], ["c", 0]]
    small = [[f"bias {n}", size % 97 + 1] for n, size in enumerate(sizes(draw.integer(5, 9)))]
    return [
        case("a step", layers(draw.integer(4, 7), False), True, block=1),
        case("a step with large gradients", layers(draw.integer(4, 7), True), True, block=1),
        case("the same height twice", twice, True, block=1),
        case("one event", [["all", sizes(1)[0]]], block=1),
        case("one byte", [["flag", 1]], block=1),
        case("a name comes again", [["x", 900], ["x", 0], ["y", 100], ["x", 500], ["y", 0]], block=1),
        case("in blocks", layers(draw.integer(4, 7), True), True),
        case("many small ones", small, True),
        case("what fills its block", [["a", 1024], ["b", 512], ["a", 0], ["c", 513]]),
        case("large blocks", layers(draw.integer(3, 5), False), block=2 * 2**20),
        Given(
            "blocks of any size", "blocks", calls(*({"events": small, "block": block} for block in (384, 1000, 3, 513)))
        ),
    ]
