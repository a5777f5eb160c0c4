"""All-reduce on a ring: each rank talks to its two neighbours only, and no rank sends more than any other."""

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..ranks import Communicator


def ring_all_reduce(x: Shaped[Tensor, " n"], comm: Communicator) -> Shaped[Tensor, " n"]:
    """The sum of all ranks' ``x``, on every rank; ``x`` itself stays as it is.

    Each rank sends 2(P - 1) messages, none larger than ceil(n / P) entries: twice what it holds, however many ranks P
    there are. Addition is in x's dtype. Source: Patarasuk and Yuan 2009. Lab 9, exercise ``ring_all_reduce``.
    """
    total = x.clone()
    chunks = total.tensor_split(comm.world_size)  # views: what is written to them is written to total
    ring_reduce_scatter(chunks, comm)
    ring_all_gather(chunks, comm)
    return total


def ring_reduce_scatter(chunks: Sequence[Tensor], comm: Communicator) -> None:
    """Sum chunk by chunk, in place; rank r ends with the whole sum of chunk r + 1, counted round the ring."""
    for step in range(comm.world_size - 1):
        received = _pass_on(chunks, comm, comm.rank - step)
        chunks[(comm.rank - step - 1) % comm.world_size].add_(received)


def ring_all_gather(chunks: Sequence[Tensor], comm: Communicator) -> None:
    """Hand round the chunks that are whole, in place; rank r begins with its chunk r + 1."""
    for step in range(comm.world_size - 1):
        received = _pass_on(chunks, comm, comm.rank + 1 - step)
        chunks[(comm.rank - step) % comm.world_size].copy_(received)


def _pass_on(chunks: Sequence[Tensor], comm: Communicator, index: int) -> Tensor:
    """Send chunk ``index`` to the right while the one before it arrives from the left."""
    size = comm.world_size
    buffer = torch.empty_like(chunks[(index - 1) % size])
    sent = comm.isend(chunks[index % size], (comm.rank + 1) % size)
    comm.recv(buffer, (comm.rank - 1) % size)
    sent.wait()
    return buffer
