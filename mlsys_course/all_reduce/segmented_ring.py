"""The ring for large tensors: chunks travel in segments, and where they land is kept for the next call."""

from collections import deque
from collections.abc import Sequence
from itertools import cycle

import torch
from torch import Tensor

from ..substrate.ranks import Communicator
from ..substrate.ranks.shared.communicator import Handle

# Bytes of memory that a call leaves for the next one. The system clears every page of fresh memory at its first touch,
# which takes longer than to add what lands there. (On a card PyTorch keeps memory itself.)
MOST_KEPT = 64 << 20


def ring_all_reduce_(x: Tensor, comm: Communicator, segment_bytes: int | None = None) -> Tensor:
    """``ring_all_reduce`` in place, with the same messages; ``x`` is contiguous, and is returned.

    Chunks larger than ``segment_bytes`` travel as several messages, so that one is added while the next arrives.
    """
    chunks = x.view(-1).tensor_split(comm.world_size)  # views: what is written to them is written to x
    segmented_reduce_scatter(chunks, comm, segment_bytes)
    segmented_all_gather(chunks, comm, segment_bytes)
    return x


def segmented_reduce_scatter(chunks: Sequence[Tensor], comm: Communicator, segment_bytes: int | None = None) -> None:
    """``ring_reduce_scatter``, segment by segment."""
    _travel(chunks, comm, comm.rank, segment_bytes, add=True)


def segmented_all_gather(chunks: Sequence[Tensor], comm: Communicator, segment_bytes: int | None = None) -> None:
    """``ring_all_gather``, segment by segment."""
    _travel(chunks, comm, comm.rank + 1, segment_bytes, add=False)


def _travel(chunks: Sequence[Tensor], comm: Communicator, first: int, segment_bytes: int | None, add: bool) -> None:
    """P - 1 steps. In each, a chunk goes to the right and the one before it in number arrives from the left.

    Two segments are under way at a time: while one is added, the next arrives.
    """
    size, pieces = comm.world_size, [_segments(chunk, segment_bytes) for chunk in chunks]
    right, left = (comm.rank + 1) % size, (comm.rank - 1) % size
    most = max(map(len, pieces))
    depth = min(2, most)
    room, slots = _landings(pieces, depth, comm) if add and size > 1 else (None, [])
    landings = cycle(slots)
    under_way = deque[tuple[Handle | None, Handle | None, Tensor | None, Tensor | None]]()
    for step in range(size - 1):
        leaving, arriving = pieces[(first - step) % size], pieces[(first - step - 1) % size]
        for number in range(most):  # chunks differ by an entry, so one may have a segment more
            sending = comm.isend(leaving[number], right) if number < len(leaving) else None
            receiving = target = landed = None
            if number < len(arriving):
                target = arriving[number]
                landed = next(landings)[target.numel()] if add else None
                receiving = comm.irecv(target if landed is None else landed, left)
            comm.flush()  # both begin now, also where messages otherwise begin at a wait
            under_way.append((sending, receiving, target, landed))
            if len(under_way) == depth:  # a segment that leaves in the next step has arrived by then
                _finish(*under_way.popleft())
    while under_way:
        _finish(*under_way.popleft())
    if room is not None and room.device.type == "cpu" and room.nbytes <= MOST_KEPT:
        comm.spare[:] = [room]


def _finish(sending: Handle | None, receiving: Handle | None, target: Tensor | None, landed: Tensor | None) -> None:
    """Wait for what arrives first: there is work to do with it. What landed beside its target is added to it."""
    if receiving:
        receiving.wait()
        if target is not None and landed is not None:
            target.add_(landed)
    if sending:
        sending.wait()


def _room(nbytes: int, device: torch.device, comm: Communicator) -> Tensor:
    """Memory for segments to land in: that of the last call, where it is still there and large enough."""
    if device.type == "cpu" and comm.spare:
        room = comm.spare.pop()  # taken out: should another call run meanwhile, it has its own
        if room.nbytes >= nbytes:
            return room
    return torch.empty(nbytes, dtype=torch.uint8, device=device)


def _landings(pieces: Sequence[Sequence[Tensor]], depth: int, comm: Communicator) -> tuple[Tensor, list]:
    """The room, and ``depth`` slots of it that are used in turn: views by how many entries a segment has."""
    sizes, first = {piece.numel() for chunk in pieces for piece in chunk}, pieces[0][0]
    needed = depth * max(sizes) * first.element_size()
    room = _room(needed, first.device, comm)
    slots = room[:needed].view(first.dtype).view(depth, max(sizes))
    return room, [{size: slot[:size] for size in sizes} for slot in slots]


def _segments(chunk: Tensor, segment_bytes: int | None) -> Sequence[Tensor]:
    """The chunk in pieces of at most so many bytes; at least one, which may be empty."""
    if segment_bytes is None:
        return [chunk]
    if segment_bytes < chunk.element_size():
        raise ValueError(f"segment_bytes={segment_bytes} is less than one entry of {chunk.element_size()} bytes")
    return chunk.split(segment_bytes // chunk.element_size())
