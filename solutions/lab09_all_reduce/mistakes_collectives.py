"""Lab 9, sealed: misconceptions about trees, barriers, and the other collectives."""

import torch

from autograder.exercise import Misconception
from mlsys_course import all_reduce as A
from mlsys_course.all_reduce import collectives


def star(x, comm, root):
    """The root sends to each."""
    if comm.rank != root:
        return comm.recv(x, root)
    for rank in range(comm.world_size):
        if rank != root:
            comm.send(x, rank)
    return x


def chain(x, comm, root):
    place = (comm.rank - root) % comm.world_size
    if place:
        comm.recv(x, (comm.rank - 1) % comm.world_size)
    if place + 1 < comm.world_size:
        comm.send(x, (comm.rank + 1) % comm.world_size)
    return x


def always_from_zero(x, comm, root):
    return A.broadcast(x, comm, 0)


def powers_of_two_only(x, comm, root):
    """As many as the largest power of two holds; the others keep what they have."""
    power = 1 << (comm.world_size.bit_length() - 1)
    members = [(root + k) % comm.world_size for k in range(power)]
    return A.broadcast(x, A.Group(comm, members)) if comm.rank in members else x


def root_by_exclusive_or(x, comm, root):
    """Places as rank ^ root, which leaves the world where it is no power of two."""
    place, far = comm.rank ^ root, 1
    while far < comm.world_size:
        if place < far and (place + far) ^ root < comm.world_size:
            comm.send(x, (place + far) ^ root)
        elif far <= place < 2 * far:
            comm.recv(x, (place - far) ^ root)
        far *= 2
    return x


def overwrites_a_copy(x, comm, root):
    return A.broadcast(x.clone(), comm, root)


def returns_a_copy(x, comm, root):
    return A.broadcast(x, comm, root).clone()


def returns_nothing(x, comm, root):
    A.broadcast(x, comm, root)


def nearest_first(x, comm, root):
    """The tree's messages, in the wrong order: the nearest get it first, and those far away wait."""
    place, far = (comm.rank - root) % comm.world_size, 1
    while far < comm.world_size and not place & far:
        far *= 2
    if place:
        comm.recv(x, (comm.rank - far) % comm.world_size)
    near = 1
    while near < far:
        if place + near < comm.world_size:
            comm.send(x, (comm.rank + near) % comm.world_size)
        near *= 2
    return x


BROADCAST = [
    Misconception(
        "the root sends to each",
        star,
        "Everybody has it, after P - 1 messages of one rank. Who else could be sending in the second step?",
    ),
    Misconception(
        "a chain", chain, "Each rank sends once. How long does the last one wait, and who is idle meanwhile?"
    ),
    Misconception("always from rank 0", always_from_zero, "Whose tensor is it to be, if root is not 0?"),
    Misconception(
        "powers of two only",
        powers_of_two_only,
        "With 5 ranks, who has a sender in your tree, and who has none?",
    ),
    Misconception(
        "exclusive or with the root",
        root_by_exclusive_or,
        "With 5 ranks and root 4: which ranks does your numbering name? Count places round from the root instead.",
    ),
    Misconception("a copy", overwrites_a_copy, "Is x itself overwritten?"),
    Misconception("returns a copy", returns_a_copy, "x is right. Is it x itself that you return, or a tensor like it?"),
    Misconception("returns nothing", returns_nothing, "x is right. What does your function return?"),
    Misconception(
        "the nearest first",
        nearest_first,
        "The messages are a tree's. Which of a rank's receivers has the most work ahead of it, and when is it served?",
    ),
]


# ---- barrier ---------------------------------------------------------------------------------------------------------

TOKEN = torch.zeros(1)


def pass_round(comm, token=TOKEN):
    """Hear from the left, tell the right: whoever is right of rank 0 leaves too soon."""
    if comm.world_size > 1:
        comm.send(token, (comm.rank + 1) % comm.world_size)
        comm.recv(torch.empty_like(token), (comm.rank - 1) % comm.world_size)


def sends_only(comm):
    for rank in range(comm.world_size):
        if rank != comm.rank:
            comm.send(TOKEN, rank)


def central(comm):
    """Rank 0 hears from all and tells all."""
    A.naive_all_reduce_(TOKEN.clone(), comm)


def one_doubling_short(comm):
    far = 1
    while 2 * far < comm.world_size:
        collectives.exchange(
            TOKEN, (comm.rank + far) % comm.world_size, torch.empty(1), (comm.rank - far) % comm.world_size, comm
        )
        far *= 2


def exclusive_or(comm):
    """Partners as in halving and doubling, which leave the world where it is no power of two."""
    far = 1
    while far < comm.world_size:
        if comm.rank ^ far < comm.world_size:
            collectives.exchange(TOKEN, comm.rank ^ far, torch.empty(1), comm.rank ^ far, comm)
        far *= 2


def receives_first(comm):
    if comm.world_size > 1:
        comm.recv(torch.empty(1), (comm.rank - 1) % comm.world_size)
        comm.send(TOKEN, (comm.rank + 1) % comm.world_size)


BARRIER = [
    Misconception(
        "neighbours only",
        pass_round,
        "You know that your left neighbour has come. How would you learn of a rank further away?",
    ),
    Misconception("sends only", sends_only, "Everybody is told. Who waits until they have heard?"),
    Misconception(
        "through rank 0",
        central,
        "It holds everybody back. How many messages does rank 0 handle, and could ranks tell one another instead?",
    ),
    Misconception(
        "one doubling short",
        one_doubling_short,
        "After k steps you have heard of 2^k ranks, yourself included. Is that all of them when you stop?",
    ),
    Misconception("receives first", receives_first, "Read what each rank does first. Who has sent anything by then?"),
    Misconception(
        "exclusive or",
        exclusive_or,
        "With powers of two it is right. Draw three ranks: who hears from whom, and of whom does rank 1 never hear?",
    ),
]


# ---- all-to-all ------------------------------------------------------------------------------------------------------


def broadcasts_its_own(chunks, comm):
    return A.all_gather(chunks[comm.rank], comm)


def keeps_its_chunks(chunks, comm):
    return [chunk.clone() for chunk in chunks]


def through_the_ring(chunks, comm):
    """Everything to everybody, and each takes what is its."""
    table = A.all_gather(torch.stack(list(chunks)), comm)
    return [rows[comm.rank] for rows in table]


def by_distance(chunks, comm):
    """Arrived chunks in the order in which they came, not by sender."""
    found = A.all_to_all(chunks, comm)
    return [found[(comm.rank - step) % comm.world_size] for step in range(comm.world_size)]


ALL_TO_ALL = [
    Misconception(
        "gathers everything", through_the_ring, "It is all there. How much of what arrived was meant for this rank?"
    ),
    Misconception("by order of arrival", by_distance, "Whose chunk is at position 0 of the result, on every rank?"),
    Misconception(
        "an all-gather", broadcasts_its_own, "Which of chunks is meant for rank 0, and did you send that one?"
    ),
    Misconception("nothing is sent", keeps_its_chunks, "Are these not the chunks that you were given?"),
]
