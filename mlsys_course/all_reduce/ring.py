"""All-reduce on a ring: each rank talks to its two neighbours only, and no rank sends more than any other.

This is the lecture's ring, a message a chunk. ``segmented_ring`` has the same one for large tensors.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..substrate.ranks import Communicator
from .messages import exchange


def ring_all_reduce(x: Shaped[Tensor, "*shape"], comm: Communicator) -> Shaped[Tensor, "*shape"]:
    """The sum of all ranks' ``x``, on every rank; ``x`` itself stays as it is.

    Each rank sends 2(P - 1) chunks, none larger than ceil(n / P) entries: twice what it holds, however many ranks P
    there are. Addition is in x's dtype. Source: Patarasuk and Yuan 2009. Lab 9, exercise ``ring_all_reduce``.
    """
    total = x.clone(memory_format=torch.contiguous_format)
    chunks = total.view(-1).tensor_split(comm.world_size)  # views: what is written to them is written to total
    ring_reduce_scatter(chunks, comm)
    ring_all_gather(chunks, comm)
    return total


def ring_reduce_scatter(chunks: Sequence[Tensor], comm: Communicator) -> None:
    """Sum chunk by chunk, in place; rank r ends with the whole sum of chunk r + 1, counted round the ring."""
    size, right, left = comm.world_size, (comm.rank + 1) % comm.world_size, (comm.rank - 1) % comm.world_size
    for step in range(size - 1):
        leaving, target = chunks[(comm.rank - step) % size], chunks[(comm.rank - step - 1) % size]
        target.add_(exchange(leaving, right, torch.empty_like(target), left, comm))


def ring_all_gather(chunks: Sequence[Tensor], comm: Communicator) -> None:
    """Hand round the chunks that are whole, in place; rank r begins with its chunk r + 1."""
    size, right, left = comm.world_size, (comm.rank + 1) % comm.world_size, (comm.rank - 1) % comm.world_size
    for step in range(size - 1):
        exchange(chunks[(comm.rank + 1 - step) % size], right, chunks[(comm.rank - step) % size], left, comm)
