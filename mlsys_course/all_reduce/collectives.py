"""The collectives, from messages between two ranks. Every rank calls the same one, in the same order.

P ranks, n entries. Results are new tensors, except for ``broadcast``, whose point is to overwrite.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..substrate.errors import CourseProblem
from ..substrate.ranks import Communicator
from .messages import exchange, send
from .segmented_ring import segmented_all_gather, segmented_reduce_scatter


class CollectiveError(CourseProblem, ValueError):
    """Ranks, chunks or names that do not fit a collective."""


def broadcast(x: Tensor, comm: Communicator, root: int = 0) -> Tensor:
    """Overwrite ``x`` on every rank with the root's, and return it: a binomial tree of ceil(log2 P) steps.

    In step k the 2^k ranks that have it send it to as many others. Lab 9, exercise ``broadcast``.
    """
    _check_root(root, comm)
    place = (comm.rank - root) % comm.world_size  # the root's is 0
    far = 1
    while far < comm.world_size and not place & far:
        far *= 2
    if place:  # ``far`` is the lowest bit of place: without it, it is the place of who has x just before
        comm.recv(x, (comm.rank - far) % comm.world_size)
    while far > 1:
        far //= 2
        if place + far < comm.world_size:
            send(x, (comm.rank + far) % comm.world_size, comm)
    return x


def reduce(x: Tensor, comm: Communicator, root: int = 0) -> Tensor | None:
    """The sum of all ranks' ``x`` on the root, None elsewhere: the tree of ``broadcast`` from its leaves."""
    _check_root(root, comm)
    place, total = (comm.rank - root) % comm.world_size, x.clone()
    far = 1
    while far < comm.world_size:
        if place & far:
            send(total, (comm.rank - far) % comm.world_size, comm)
            return None
        if place + far < comm.world_size:
            total += comm.recv(torch.empty_like(total), (comm.rank + far) % comm.world_size)
        far *= 2
    return total


def scatter(chunks: Sequence[Tensor] | None, buffer: Tensor, comm: Communicator, root: int = 0) -> Tensor:
    """Chunk r of the root's on rank r, in ``buffer``, which has its shape; P - 1 messages of the root's."""
    _check_root(root, comm)
    if comm.rank != root:
        return comm.recv(buffer, root)
    _check_count(chunks, comm)
    assert chunks is not None
    for rank, chunk in enumerate(chunks):
        if rank != root:
            send(chunk, rank, comm)
    return buffer.copy_(chunks[root])


def gather(x: Tensor, comm: Communicator, root: int = 0) -> list[Tensor] | None:
    """Every rank's ``x`` by rank on the root, None elsewhere; all have one shape."""
    _check_root(root, comm)
    if comm.rank != root:
        send(x, root, comm)
        return None
    return [x.clone() if rank == root else comm.recv(torch.empty_like(x), rank) for rank in range(comm.world_size)]


def all_gather(x: Tensor, comm: Communicator) -> list[Tensor]:
    """Every rank's ``x`` by rank, on every rank; all have one shape. A ring of P - 1 steps."""
    # On the ring, rank r begins with chunk r + 1: so chunk k is rank k - 1's.
    found = [torch.empty_like(x) for _ in range(comm.world_size)]
    found[(comm.rank + 1) % comm.world_size].copy_(x)
    segmented_all_gather(found, comm)
    return found[1:] + found[:1]


def reduce_scatter(x: Tensor, comm: Communicator) -> Tensor:
    """Chunk r of the sum of all ranks' ``x`` on rank r, chunks as ``tensor_split`` cuts the flat tensor.

    A ring of P - 1 steps, in which a rank sends (P - 1) / P of x. ZeRO stops here (lab 11).
    """
    chunks = list(x.flatten().clone().tensor_split(comm.world_size))
    shifted = chunks[-1:] + chunks[:-1]  # the ring leaves number r + 1 on rank r
    segmented_reduce_scatter(shifted, comm)
    return chunks[comm.rank].clone()


def all_to_all(
    chunks: Sequence[Tensor], comm: Communicator, buffers: Sequence[Tensor] | None = None
) -> Sequence[Tensor]:
    """What each rank has for this one, by rank: ``chunks[d]`` goes to rank d. Lab 9, extension ``all_to_all``.

    ``buffers`` have the shapes of what arrives; without them it has the shapes of ``chunks``. In step k a rank sends to
    the k-th on its right and receives from the k-th on its left, so that nobody is sent two messages at once.
    """
    _check_count(chunks, comm)
    arriving = [torch.empty_like(chunk) for chunk in chunks] if buffers is None else buffers
    _check_count(arriving, comm)
    arriving[comm.rank].copy_(chunks[comm.rank])
    for step in range(1, comm.world_size):
        to, source = (comm.rank + step) % comm.world_size, (comm.rank - step) % comm.world_size
        exchange(chunks[to], to, arriving[source], source, comm)
    return arriving


def barrier(comm: Communicator) -> None:
    """Return when every rank has called it. Source: Hensgen, Finkel and Manber 1988 (dissemination).

    In step k a rank tells the 2^k-th on its right, and hears from the 2^k-th on its left what that one has heard:
    after ceil(log2 P) steps word of every rank has come to every rank. Lab 9, extension ``barrier``.
    """
    token, far = torch.zeros(1, dtype=torch.uint8, device=comm.device), 1
    while far < comm.world_size:
        to, source = (comm.rank + far) % comm.world_size, (comm.rank - far) % comm.world_size
        exchange(token, to, torch.empty_like(token), source, comm)
        far *= 2


def _check_root(root: int, comm: Communicator) -> None:
    if not 0 <= root < comm.world_size:
        raise CollectiveError(f"root={root} is no rank; ranks are 0 to {comm.world_size - 1}")


def _check_count(chunks: Sequence[Tensor] | None, comm: Communicator) -> None:
    if chunks is None or len(chunks) != comm.world_size:
        given = "none" if chunks is None else len(chunks)
        raise CollectiveError(f"{given} chunks for {comm.world_size} ranks; give one for each rank")
