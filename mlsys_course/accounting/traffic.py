"""What one training step sends when P ranks share a batch: exact bytes, for each kind of participant."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..substrate.model_config import check_whole
from .links import Link
from .names import find
from .table import Table

CONVENTION = "payloads without headers; a buffer that the ranks do not divide is padded; what stays at home is free"


@dataclass(frozen=True)
class Load:
    """Bytes over the wire of one participant in one step, by what they carry; ``count`` participants have this load.

    ``in_turn`` says that what comes one way has to wait for what goes the other: then both take their time.
    """

    role: str
    count: int
    sent: Table
    received: Table
    in_turn: bool = False

    @property
    def busiest_way(self) -> int:
        """The larger of the two directions: what a wire that is as fast both ways has to wait for."""
        return max(self.sent.total, self.received.total)

    def seconds(self, link: Link) -> float:
        """How long its wire takes at line rate."""
        if self.in_turn:
            return link.seconds(self.sent.total) + link.seconds(self.received.total)
        return link.seconds(self.sent.total, self.received.total)


@dataclass(frozen=True)
class Exchange:
    """What a step exchanges: as many gradients as weights, ``entries``, over ``ranks`` that compute.

    ``servers`` matters to the parameter server only, ``micro_batches`` (forward and backward passes before an update)
    to ZeRO 2 and 3 only. Raises BadSize for what is no count.
    """

    entries: int
    ranks: int
    gradient_itemsize: int = 2
    weight_itemsize: int = 2
    servers: int = 1
    micro_batches: int = 1

    def __post_init__(self) -> None:
        for field in ("entries", "ranks", "gradient_itemsize", "weight_itemsize", "servers", "micro_batches"):
            check_whole(field, getattr(self, field))

    @property
    def gradients(self) -> int:
        """Bytes of all gradients."""
        return self.entries * self.gradient_itemsize

    @property
    def weights(self) -> int:
        """Bytes of all weights."""
        return self.entries * self.weight_itemsize

    def others_chunks(self, itemsize: int) -> int:
        """Bytes of P - 1 of P equal chunks. A buffer that P does not divide is padded, as real systems do."""
        return (self.ranks - 1) * ceil_div(self.entries, self.ranks) * itemsize


def ceil_div(whole: int, parts: int) -> int:
    """The size of the largest of ``parts`` near-equal parts."""
    return -(-whole // parts)


def load(
    role: str, count: int, sent: Mapping[str, int], received: Mapping[str, int] | None = None, in_turn: bool = False
) -> Load:
    """A load from its terms; where none are received apart, as much comes in as goes out."""
    came = sent if received is None else received
    return Load(role, count, Table("bytes", sent, CONVENTION), Table("bytes", came, CONVENTION), in_turn)


def parameter_server(exchange: Exchange) -> list[Load]:
    """Every worker pushes all gradients and pulls all weights; ``servers`` machines of their own hold a shard each.

    A worker's traffic does not depend on P. A server's grows with P: it is where the traffic meets. The largest shard
    is counted. A weight is pulled when all its gradients have been pushed: one way works after the other. Lab 9's P
    ranks with rank 0 in the middle are P - 1 workers here. Source: Li et al. 2014.
    """
    shard = ceil_div(exchange.entries, exchange.servers) * exchange.ranks
    pulled, pushed = shard * exchange.weight_itemsize, shard * exchange.gradient_itemsize
    return [
        load(
            "worker", exchange.ranks, {"push gradients": exchange.gradients}, {"pull weights": exchange.weights}, True
        ),
        load("server", exchange.servers, {"pull weights": pulled}, {"push gradients": pushed}, in_turn=True),
    ]


def ring(exchange: Exchange) -> list[Load]:
    """2(P - 1) chunks of ceil(n / P) entries out of every rank, and as many in. Source: Patarasuk and Yuan 2009."""
    half = exchange.others_chunks(exchange.gradient_itemsize)
    return [load("every rank", exchange.ranks, {"reduce-scatter gradients": half, "all-gather gradients": half})]


def tree(exchange: Exchange) -> list[Load]:
    """Sums go up a binary tree and the result comes down: all gradients over each edge, once each way.

    Rank r's parent is (r - 1) // 2. The root sends to its children, a leaf to its parent, a rank between to both.
    """
    kinds: Counter[tuple[str, int]] = Counter()
    for rank in range(exchange.ranks):
        children = max(0, min(2, exchange.ranks - 1 - 2 * rank))
        kinds["root" if rank == 0 else "inner rank" if children else "leaf", children + (rank > 0)] += 1
    return [
        load(f"{role}, neighbours: {edges}", count, {"gradients": edges * exchange.gradients})
        for (role, edges), count in kinds.items()
    ]


def zero_1(exchange: Exchange) -> list[Load]:
    """Each rank updates its share of the weights: gradients are scattered, new weights gathered. Rajbhandari 2020."""
    return sharded(exchange, gradient_rounds=1, weight_rounds=1)


def zero_2(exchange: Exchange) -> list[Load]:
    """As ZeRO 1, but gradients are scattered after every micro-batch, since no rank keeps them all."""
    return sharded(exchange, gradient_rounds=exchange.micro_batches, weight_rounds=1)


def zero_3(exchange: Exchange) -> list[Load]:
    """Weights are gathered for each forward and again for each backward, since no rank keeps them either."""
    return sharded(exchange, gradient_rounds=exchange.micro_batches, weight_rounds=2 * exchange.micro_batches)


def sharded(exchange: Exchange, gradient_rounds: int, weight_rounds: int) -> list[Load]:
    """So many reduce-scatters of gradients and all-gathers of weights, on every rank."""
    scattered = gradient_rounds * exchange.others_chunks(exchange.gradient_itemsize)
    gathered = weight_rounds * exchange.others_chunks(exchange.weight_itemsize)
    return [load("every rank", exchange.ranks, {"reduce-scatter gradients": scattered, "all-gather weights": gathered})]


SCHEMES: Mapping[str, Callable[[Exchange], list[Load]]] = MappingProxyType(
    {
        "parameter-server": parameter_server,
        "ring": ring,
        "tree": tree,
        "zero-1": zero_1,
        "zero-2": zero_2,
        "zero-3": zero_3,
    }
)


def loads_of(scheme: str, exchange: Exchange) -> list[Load]:
    """The loads of all kinds of participants in one step of ``scheme``, a name in ``SCHEMES``.

    Convention: payloads only, without headers, and what a participant hands to itself is free. So with one rank
    nothing is sent, save to a parameter server, which is another machine.
    """
    return find("scheme", scheme, SCHEMES)(exchange)


def bottleneck(loads: Sequence[Load]) -> Load:
    """The participant whose wire is busiest: the step waits for it."""
    return max(loads, key=lambda load: load.busiest_way)


def traffic(
    scheme: str,
    entries: int,
    ranks: int,
    gradient_itemsize: int = 2,
    weight_itemsize: int = 2,
    micro_batches: int = 1,
) -> dict[str, int]:
    """Bytes that a step of ``scheme`` sends: "total" of all participants, "bottleneck" of the busiest wire's one way.

    Lab 7, exercise ``traffic``.
    """
    exchange = Exchange(entries, ranks, gradient_itemsize, weight_itemsize, micro_batches=micro_batches)
    loads = loads_of(scheme, exchange)
    return {
        "total": sum(load.count * load.sent.total for load in loads),
        "bottleneck": bottleneck(loads).busiest_way,
    }


def exchange_seconds(loads: Sequence[Load], link: Link) -> float:
    """How long the busiest wire takes at line rate: a lower bound, without latency or congestion.

    Both ways work at once, save at a parameter server, where the pull follows the push.
    """
    return max(load.seconds(link) for load in loads)
