"""All-reduce on a ring: each rank talks to its two neighbours only, and no rank sends more than any other."""

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..ranks import Communicator
from ..ranks.communicator import Handle


def ring_all_reduce(
    x: Shaped[Tensor, "*shape"], comm: Communicator, segment_bytes: int | None = None
) -> Shaped[Tensor, "*shape"]:
    """The sum of all ranks' ``x``, on every rank; ``x`` itself stays as it is.

    Each rank sends 2(P - 1) chunks, none larger than ceil(n / P) entries: twice what it holds, however many ranks P
    there are. Addition is in x's dtype. Source: Patarasuk and Yuan 2009. Lab 9, exercise ``ring_all_reduce``.
    """
    return ring_all_reduce_(x.clone(memory_format=torch.contiguous_format), comm, segment_bytes)


def ring_all_reduce_(x: Tensor, comm: Communicator, segment_bytes: int | None = None) -> Tensor:
    """``ring_all_reduce`` in place; ``x`` is contiguous, and is returned.

    Chunks larger than ``segment_bytes`` travel as several messages, so that one is added while the next arrives.
    """
    chunks = x.view(-1).tensor_split(comm.world_size)  # views: what is written to them is written to x
    ring_reduce_scatter(chunks, comm, segment_bytes)
    ring_all_gather(chunks, comm, segment_bytes)
    return x


def ring_reduce_scatter(chunks: Sequence[Tensor], comm: Communicator, segment_bytes: int | None = None) -> None:
    """Sum chunk by chunk, in place; rank r ends with the whole sum of chunk r + 1, counted round the ring."""
    _travel(chunks, comm, comm.rank, segment_bytes, add=True)


def ring_all_gather(chunks: Sequence[Tensor], comm: Communicator, segment_bytes: int | None = None) -> None:
    """Hand round the chunks that are whole, in place; rank r begins with its chunk r + 1."""
    _travel(chunks, comm, comm.rank + 1, segment_bytes, add=False)


def _travel(chunks: Sequence[Tensor], comm: Communicator, first: int, segment_bytes: int | None, add: bool) -> None:
    """P - 1 steps. In each, a chunk goes to the right and the one before it in number arrives from the left.

    Two segments are under way at a time: while one is added, the next arrives.
    """
    size, pieces = comm.world_size, [_segments(chunk, segment_bytes) for chunk in chunks]
    right, left = (comm.rank + 1) % size, (comm.rank - 1) % size
    most = max(map(len, pieces))
    under_way: list[list[Handle | _Arrival]] = []
    for step in range(size - 1):
        leaving, arriving = pieces[(first - step) % size], pieces[(first - step - 1) % size]
        for number in range(most):  # chunks differ by an entry, so one may have a segment more
            handles: list[Handle | _Arrival] = []
            if number < len(leaving):
                handles.append(comm.isend(leaving[number], right))
            if number < len(arriving):
                handles.append(_Arrival(arriving[number], comm, left, add))
            comm.flush()  # both begin now, also where messages otherwise begin at a wait
            under_way.append(handles)
            if len(under_way) >= min(2, most):  # a segment that leaves in the next step has arrived by then
                _wait(under_way.pop(0))
    for handles in under_way:
        _wait(handles)


def _wait(handles: Sequence["Handle | _Arrival"]) -> None:
    for handle in reversed(handles):  # what arrives first: there is work to do with it
        handle.wait()


class _Arrival:
    """A segment that will be added to ``target``, or take its place."""

    def __init__(self, target: Tensor, comm: Communicator, source: int, add: bool):
        self.target, self.buffer = target, torch.empty_like(target) if add else target
        self.handle = comm.irecv(self.buffer, source)

    def wait(self) -> None:
        self.handle.wait()
        if self.buffer is not self.target:
            self.target.add_(self.buffer)


def _segments(chunk: Tensor, segment_bytes: int | None) -> Sequence[Tensor]:
    """The chunk in pieces of at most so many bytes; at least one, which may be empty."""
    if segment_bytes is None:
        return [chunk]
    if segment_bytes < chunk.element_size():
        raise ValueError(f"segment_bytes={segment_bytes} is less than one entry of {chunk.element_size()} bytes")
    return chunk.split(segment_bytes // chunk.element_size())
