"""Lab 9, sealed: misconceptions about the ring."""

import torch

from autograder.exercise import Misconception
from mlsys_course.all_reduce import ring_all_gather, ring_all_reduce, ring_reduce_scatter


def gather_then_broadcast(x, comm):
    total = x.clone()
    if comm.rank:
        comm.send(x, 0)
        return comm.recv(total, 0)
    for source in range(1, comm.world_size):
        total += comm.recv(torch.empty_like(x), source)
    for receiver in range(1, comm.world_size):
        comm.send(total, receiver)
    return total


def chunks_straight_to_their_owner(x, comm):
    total = x.clone()
    chunks = total.tensor_split(comm.world_size)
    others = [rank for rank in range(comm.world_size) if rank != comm.rank]
    for rank in others:
        comm.send(chunks[rank].clone(), rank)
    for rank in others:
        chunks[comm.rank].add_(comm.recv(torch.empty_like(chunks[comm.rank]), rank))
    for rank in others:
        comm.send(chunks[comm.rank], rank)
    for rank in others:
        comm.recv(chunks[rank], rank)
    return total


def whole_tensors_round_the_ring(x, comm):
    total, passing = x.clone(), x.clone()
    for _ in range(comm.world_size - 1):
        comm.send(passing, (comm.rank + 1) % comm.world_size)
        comm.recv(passing, (comm.rank - 1) % comm.world_size)
        total += passing
    return total


def no_all_gather(x, comm):
    total = x.clone()
    ring_reduce_scatter(total.tensor_split(comm.world_size), comm)
    return total


def hand_round(chunks, comm, first):
    """The second half, if rank r begins with chunk r + first. 1 would be right."""
    for step in range(comm.world_size - 1):
        send, receive = (comm.rank + first - step) % comm.world_size, (comm.rank + first - 1 - step) % comm.world_size
        comm.send(chunks[send], (comm.rank + 1) % comm.world_size)
        comm.recv(chunks[receive], (comm.rank - 1) % comm.world_size)


def hands_round_its_own_chunk(x, comm):
    total = x.clone()
    chunks = total.tensor_split(comm.world_size)
    ring_reduce_scatter(chunks, comm)
    # As if rank r held the sum of chunk r. Receiving over one's own entries in the first half comes to the same.
    hand_round(chunks, comm, first=0)
    return total


def begins_one_chunk_too_far(x, comm):
    total = x.clone()
    chunks = total.tensor_split(comm.world_size)
    ring_reduce_scatter(chunks, comm)
    hand_round(chunks, comm, first=2)
    return total


def one_step_short(x, comm):
    total = x.clone()
    chunks = total.tensor_split(comm.world_size)
    for step in range(comm.world_size - 2):
        send, receive = (comm.rank - step) % comm.world_size, (comm.rank - step - 1) % comm.world_size
        comm.send(chunks[send], (comm.rank + 1) % comm.world_size)
        chunks[receive].add_(comm.recv(torch.empty_like(chunks[receive]), (comm.rank - 1) % comm.world_size))
    ring_all_gather(chunks, comm)
    return total


def averages(x, comm):
    return ring_all_reduce(x, comm) / comm.world_size


def drops_the_remainder(x, comm):
    even = len(x) // comm.world_size * comm.world_size
    return torch.cat([ring_all_reduce(x[:even], comm), x[even:]])


def loses_the_remainder(x, comm):
    return ring_all_reduce(x[: len(x) // comm.world_size * comm.world_size], comm)


def too_few_chunks(x, comm):
    """By ``torch.chunk``, which may return fewer than it was asked for."""
    total = x.clone()
    chunks = torch.chunk(total, comm.world_size)
    for step in range(2 * (comm.world_size - 1)):
        comm.send(chunks[(comm.rank - step) % comm.world_size], (comm.rank + 1) % comm.world_size)
        chunk = chunks[(comm.rank - step - 1) % comm.world_size]
        arrived = comm.recv(torch.empty_like(chunk), (comm.rank - 1) % comm.world_size)
        chunk.copy_(chunk + arrived if step < comm.world_size - 1 else arrived)
    return total


def receives_first(x, comm):
    if comm.world_size > 1:
        comm.recv(torch.empty_like(x.tensor_split(comm.world_size)[comm.rank - 1]), (comm.rank - 1) % comm.world_size)
    return ring_all_reduce(x, comm)


RING = [
    Misconception(
        "gather_then_broadcast",
        gather_then_broadcast,
        "The sums are right. Count what the busiest rank sends: which rank is it, and how does that grow with the "
        "number of ranks?",
    ),
    Misconception(
        "chunks_straight_to_their_owner",
        chunks_straight_to_their_owner,
        "The sums are right, and no rank sends too much. With whom does each rank talk, and with whom in a ring?",
    ),
    Misconception(
        "whole_tensors_round_the_ring",
        whole_tensors_round_the_ring,
        "The sums are right, and every rank sends a whole tensor in each step. Which part of it does nobody else send "
        "to that neighbour in that step?",
    ),
    Misconception(
        "no_all_gather",
        no_all_gather,
        "After the first half each rank has one chunk that is whole. Who has the others?",
    ),
    Misconception(
        "hands_round_its_own_chunk",
        hands_round_its_own_chunk,
        "Each chunk of your result is one rank's alone. Is anything added in the first half, and which chunk is whole "
        "on rank 0 when it ends?",
    ),
    Misconception(
        "begins_one_chunk_too_far",
        begins_one_chunk_too_far,
        "Draw three ranks on paper: which chunk is whole on rank 0 when the first half ends? With that one the second "
        "half begins.",
    ),
    Misconception(
        "one_step_short",
        one_step_short,
        "A chunk has to meet every rank. How many times must it travel?",
    ),
    Misconception("averages", averages, "Data-parallel training divides later. What does all-reduce return itself?"),
    Misconception(
        "drops_the_remainder",
        drops_the_remainder,
        "Try a length that the number of ranks does not divide. Which entries are left over?",
    ),
    Misconception(
        "loses_the_remainder",
        loses_the_remainder,
        "Your result is shorter than x where the number of ranks does not divide its length. Whose are the last "
        "entries?",
    ),
    Misconception(
        "too_few_chunks",
        too_few_chunks,
        "Into how many pieces does `torch.chunk` cut 3 entries if it is asked for 4, and what is at chunks[3]? An "
        "empty chunk is one, too.",
    ),
    Misconception(
        "receives_first",
        receives_first,
        "Read what each rank does first. Who has sent anything by then?",
    ),
]
