"""Lab 9, sealed: cases, misconceptions, points."""

import math

import torch

from autograder.draw import Draw
from autograder.exercise import Exercise, Given, Item, Misconception, Question
from mlsys_course.all_reduce import ring_all_gather, ring_all_reduce, ring_reduce_scatter


def variants(draw: Draw) -> dict:
    """Nothing is drawn for the text: the algorithm is the same every term."""
    return {}


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


def receives_first(x, comm):
    if comm.world_size > 1:
        comm.recv(torch.empty_like(x.tensor_split(comm.world_size)[comm.rank - 1]), (comm.rank - 1) % comm.world_size)
    return ring_all_reduce(x, comm)


MISCONCEPTIONS = [
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
        "receives_first",
        receives_first,
        "Read what each rank does first. Who has sent anything by then?",
    ),
]


def case(
    draw: Draw,
    name: str,
    aspect: str,
    world_size: int,
    length: int,
    public: bool = False,
    dtype: torch.dtype = torch.float32,
    limited: bool = False,
) -> Given:
    """A tensor of its own for each rank; ``limited`` to what a ring sends."""
    ranks = [{"x": draw.normal(length, dtype=dtype)} for _ in range(world_size)]
    steps = 2 * (world_size - 1)
    rank_bytes = steps * math.ceil(length / world_size) * dtype.itemsize
    limits = {"rank_bytes": rank_bytes, "rank_messages": steps, "total_bytes": world_size * rank_bytes}
    limits["off_ring_bytes"] = 0.0  # every message goes to the right neighbour
    return Given(name, aspect, {"ranks": ranks}, public, limits if limited else {})


def cases(draw: Draw) -> list[Given]:
    """By aspect: sum, uneven, traffic. Of the first and the last, the number of ranks divides the length."""
    few, many = draw.integer(3, 9), draw.integer(40, 80)
    return [
        case(draw, "two ranks", "sum", 2, 2 * few),
        case(draw, "three ranks", "sum", 3, 3 * few, True),
        case(draw, "four ranks", "sum", 4, 4 * few, True, torch.float64),
        case(draw, "bfloat16", "sum", 4, 4 * few, dtype=torch.bfloat16),
        case(draw, "uneven length", "uneven", 4, 4 * few + draw.integer(1, 3), True),
        case(draw, "uneven on three ranks", "uneven", 3, 3 * few + draw.integer(1, 2), dtype=torch.float64),
        case(draw, "fewer entries than ranks", "uneven", 4, draw.integer(1, 3), True),
        case(draw, "no entry", "uneven", 3, 0),
        case(draw, "one rank", "uneven", 1, few, True),
        case(draw, "traffic of three ranks", "traffic", 3, 3 * many, limited=True),
        case(draw, "traffic of four ranks", "traffic", 4, 4 * many, True, limited=True),
        case(draw, "traffic in bfloat16", "traffic", 4, 4 * many, dtype=torch.bfloat16, limited=True),
    ]


def exercises(v: dict) -> list[Item]:
    """Lab 9's items."""
    ring = Exercise(
        id="ring_all_reduce",
        component="mlsys_course.all_reduce.ring_all_reduce",
        reference=ring_all_reduce,
        points={"sum": 6, "uneven": 4, "traffic": 6},
        cases=cases,
        misconceptions=MISCONCEPTIONS,
        forbidden=(
            "torch.distributed",
            "torch.distributed.all_reduce",
            "torch.distributed.reduce_scatter",
            "torch.distributed.all_gather",
            "torch.distributed.nn",
        ),
    )
    rubric = [
        (2, "reads from the figure that the busiest rank's bytes stay below twice the tensor in a ring, and grow with "
            "the number of ranks at the root"),
        (2, "names the price, 2(P - 1) steps one after the other, and that it decides for small tensors"),
        (2, "works out both for 350 GB on 1,024 ranks: about 0.7 TB from each rank, about 358 TB from the root"),
    ]  # fmt: skip
    return [ring, Question("why_a_ring", rubric)]
