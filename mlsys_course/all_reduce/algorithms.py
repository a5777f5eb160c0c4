"""All-reduce in four ways, with one interface: in place on a flat tensor, the same bits on every rank at the end."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..substrate.ranks import Communicator
from ..substrate.ranks.shared.communicator import Handle
from .collectives import CollectiveError, broadcast, gather, reduce
from .messages import exchange, send
from .segmented_ring import ring_all_reduce_, segmented_all_gather, segmented_reduce_scatter

Algorithm = Callable[[Tensor, Communicator], Tensor]
AllReduce = Callable[[Tensor, Communicator], Any]
Op = Literal["sum", "mean"]


def naive_all_reduce_(x: Tensor, comm: Communicator) -> Tensor:
    """Gather on rank 0, add, send to each: 2(P - 1) steps, and 2(P - 1) n entries through one rank's cable."""
    found = gather(x, comm)
    if found is None:
        return comm.recv(x, 0)
    for other in found[1:]:
        x += other
    for rank in range(1, comm.world_size):
        send(x, rank, comm)
    return x


def tree_all_reduce_(x: Tensor, comm: Communicator) -> Tensor:
    """Reduce up a binomial tree, broadcast down: 2 ceil(log2 P) steps of n entries each. For small tensors."""
    total = reduce(x, comm)
    return broadcast(x if total is None else x.copy_(total), comm)


def halving_doubling_all_reduce(x: Tensor, comm: Communicator) -> Tensor:
    """``halving_doubling_all_reduce_`` on a copy of a flat tensor. Lab 9, extension ``halving_doubling_all_reduce``."""
    return halving_doubling_all_reduce_(x.clone(), comm)


def halving_doubling_all_reduce_(x: Tensor, comm: Communicator) -> Tensor:
    """As few steps as a tree's with as few bytes as a ring's, where P is a power of two.

    Halving: exchange half of what is left with a partner, P/2 away at first, and add, until one chunk is left; then
    back, doubling. Other worlds fold: of the first 2 (P - P') ranks each even one gives its part to the next and waits
    for the result, and P', the largest power of two, go on. Source: Rabenseifner 2004.
    """
    power = 1 << (comm.world_size.bit_length() - 1)
    folded = comm.world_size - power
    if comm.rank < 2 * folded:
        if comm.rank % 2 == 0:
            send(x, comm.rank + 1, comm)
            return comm.recv(x, comm.rank + 1)
        x += comm.recv(torch.empty_like(x), comm.rank - 1)
    taking_part = [*range(1, 2 * folded, 2), *range(2 * folded, comm.world_size)]
    _halve_and_double(x, Group(comm, taking_part))
    if comm.rank < 2 * folded:
        send(x, comm.rank - 1, comm)
    return x


def _halve_and_double(x: Tensor, comm: Communicator) -> None:
    """In place on a flat tensor, for a world that is a power of two."""
    edges = [len(x) * number // comm.world_size for number in range(comm.world_size + 1)]
    low, far, halvings = 0, comm.world_size // 2, []
    while far:
        partner, upper = comm.rank ^ far, bool(comm.rank & far)
        halves = x[edges[low] : edges[low + far]], x[edges[low + far] : edges[low + 2 * far]]
        mine, given = halves[upper], halves[not upper]
        mine += exchange(given, partner, torch.empty_like(mine), partner, comm)
        halvings.append((partner, mine, given))
        low, far = low + far * upper, far // 2
    for partner, mine, given in reversed(halvings):
        exchange(mine, partner, given, partner, comm)


def hierarchical_all_reduce(x: Tensor, comm: Communicator, node_size: int) -> Tensor:
    """``hierarchical_all_reduce_`` on a copy of a flat tensor. Lab 9, extension ``hierarchical_all_reduce``."""
    return hierarchical_all_reduce_(x.clone(), comm, node_size)


def hierarchical_all_reduce_(x: Tensor, comm: Communicator, node_size: int) -> Tensor:
    """For nodes of ``node_size`` consecutive ranks with fast links inside and a slow one between them.

    Reduce-scatter in the node, all-reduce each chunk between the ranks that hold it in their nodes, all-gather in the
    node: what a rank sends over the slow link shrinks by node_size.
    """
    if node_size < 1 or comm.world_size % node_size:
        raise CollectiveError(f"node_size={node_size} does not divide {comm.world_size} ranks into nodes of one size")
    first = comm.rank - comm.rank % node_size
    node = Group(comm, range(first, first + node_size))
    peers = Group(comm, range(comm.rank % node_size, comm.world_size, node_size))
    chunks = x.tensor_split(node_size)
    segmented_reduce_scatter(chunks, node)
    ring_all_reduce_(chunks[(node.rank + 1) % node_size], peers)
    segmented_all_gather(chunks, node)
    return x


class Group(Communicator):
    """Some of a communicator's ranks under numbers of their own: ``members[k]`` is number k."""

    def __init__(self, comm: Communicator, members: Sequence[int]):
        super().__init__(list(members).index(comm.rank), len(members))
        self._comm, self._members, self.device = comm, members, comm.device

    def send(self, tensor: Tensor, to: int) -> None:
        self._comm.send(tensor, self._members[to])

    def recv(self, buffer: Tensor, source: int) -> Tensor:
        return self._comm.recv(buffer, self._members[source])

    def isend(self, tensor: Tensor, to: int) -> Handle:
        return self._comm.isend(tensor, self._members[to])

    def irecv(self, buffer: Tensor, source: int) -> Handle:
        return self._comm.irecv(buffer, self._members[source])

    def flush(self) -> None:
        self._comm.flush()

    def _post(self, tensor: Tensor, to: int) -> None:
        self._comm._post(tensor, self._members[to])

    def _take(self, source: int, buffer: Tensor) -> Tensor:
        return self._comm._take(self._members[source], buffer)


ALGORITHMS: dict[str, Algorithm] = {
    "naive": naive_all_reduce_,
    "ring": ring_all_reduce_,
    "tree": tree_all_reduce_,
    "halving_doubling": halving_doubling_all_reduce_,
}


def all_reduce_(x: Tensor, comm: Communicator, op: Op = "sum", algorithm: str = "ring") -> Tensor:
    """The sum or mean over all ranks, written into ``x`` on each; of any shape and strides. Returns ``x``."""
    if algorithm not in ALGORITHMS:
        raise CollectiveError(f"no algorithm {algorithm!r}; there are {', '.join(ALGORITHMS)}")
    if op not in ("sum", "mean"):
        raise CollectiveError(f"op={op!r}; it is 'sum' or 'mean'")
    if op == "mean" and not (x.is_floating_point() or x.is_complex()):
        raise CollectiveError(f"no mean of {x.dtype}; sum, and divide as you mean it")
    with torch.no_grad():
        flat = x.contiguous().view(-1)
        ALGORITHMS[algorithm](flat, comm)
        if op == "mean":
            flat /= comm.world_size
        return x if flat.data_ptr() == x.data_ptr() else x.copy_(flat.view(x.shape))


def all_reduce(x: Tensor, comm: Communicator, op: Op = "sum", algorithm: str = "ring") -> Tensor:
    """``all_reduce_`` on a copy."""
    return all_reduce_(x.detach().clone(), comm, op, algorithm)
