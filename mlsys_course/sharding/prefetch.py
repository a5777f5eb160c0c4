"""When a layer is gathered, used and freed, if only so many may be whole at a time; and how long that takes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .shards import ShardError

Event = tuple[str, int]  # "gather", "forward", "backward", "scatter" or "free", and the layer


def prefetch_order(n_layers: int, most: int = 2) -> list[Event]:
    """The events of a step of ZeRO 3, in order, with at most ``most`` layers whole at a time.

    Held are the next ``most`` different layers in the order of use, which is forward 0, 1, ... and backward back again:
    before each use those of them that are not held are gathered, the nearest first; after it, and in backward after the
    layer's gradient is scattered, the layer is freed unless it is one of those still. Raises ShardError for most < 1.
    Lab 11, exercise ``prefetch_order``.
    """
    if most < 1 or n_layers < 0:
        raise ShardError(f"n_layers={n_layers}, most={most}; a layer that runs is held, so most is 1 at least")
    uses = [("forward", k) for k in range(n_layers)] + [("backward", k) for k in reversed(range(n_layers))]
    events: list[Event] = []
    held: set[int] = set()
    for n, (kind, layer) in enumerate(uses):
        for needed in _nearest(uses[n:], most):
            if needed not in held:
                held.add(needed)
                events.append(("gather", needed))
        events.append((kind, layer))
        if kind == "backward":
            events.append(("scatter", layer))
        if layer not in _nearest(uses[n + 1 :], most):
            held.remove(layer)
            events.append(("free", layer))
    return events


def _nearest(uses: Sequence[Event], most: int) -> list[int]:
    """The first ``most`` different layers of these uses."""
    return list(dict.fromkeys(layer for _, layer in uses))[:most]


class Timed(NamedTuple):
    """An event, and its seconds from the beginning of the step."""

    event: Event
    start: float
    end: float


def sharded_timeline(events: Sequence[Event], seconds: Mapping[str, float]) -> list[Timed]:
    """Two lanes: a rank computes one thing and sends one thing at a time, each lane in the order of ``events``.

    ``seconds`` by kind. A use waits for its layer's gather, a scatter for its backward, a gather for all memory that
    was freed before it in ``events``.
    """
    lanes = {"forward": 0.0, "backward": 0.0, "gather": 0.0, "scatter": 0.0}
    there: dict[int, float] = {}  # by layer: when it is whole, or its gradient is
    freed, timed = 0.0, list[Timed]()
    for kind, layer in events:
        if kind == "free":
            freed = max(freed, there[layer])
            timed.append(Timed((kind, layer), freed, freed))
            continue
        pair = ("forward", "backward") if kind in ("forward", "backward") else ("gather", "scatter")
        start = max(lanes[kind], freed if kind == "gather" else there[layer])
        end = start + seconds.get(kind, 0.0)
        lanes |= dict.fromkeys(pair, end)
        if kind != "scatter":
            there[layer] = end
        timed.append(Timed((kind, layer), start, end))
    return timed
