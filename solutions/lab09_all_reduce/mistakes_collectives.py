"""Lab 9, sealed: misconceptions about trees, rings, halving and doubling, nodes, barriers and all-to-all."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import mutated, wrong
from mlsys_course import all_reduce as A
from mlsys_course.all_reduce.messages import exchange

# ---- broadcast -------------------------------------------------------------------------------------------------------


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


nearest_first = mutated(
    A.broadcast,
    "    while far > 1:\n        far //= 2\n        if place + far < comm.world_size:",
    "    near = 1\n    while near < far:\n        if place + near < comm.world_size:",
    "send(x, (comm.rank + far) % comm.world_size, comm)",
    "send(x, (comm.rank + near) % comm.world_size, comm)\n        near *= 2",
)

mistake = wrong(A.broadcast)
BROADCAST = [
    Misconception("the root sends to each", star,
        "Everybody has it, after P - 1 messages of one rank. Who else could be sending in the second step?"),
    Misconception("a chain", chain,
        "Each rank sends once. How long does the last one wait, and who is idle meanwhile?"),
    Misconception("always from rank 0", lambda x, comm, root: A.broadcast(x, comm, 0),
        "Whose tensor is it to be, if root is not 0?"),
    Misconception("powers of two only", powers_of_two_only,
        "With 5 ranks, who has a sender in your tree, and who has none?"),
    Misconception("exclusive or with the root", root_by_exclusive_or,
        "With 5 ranks and root 4: which ranks does your numbering name? Count places round from the root instead."),
    Misconception("a copy", lambda x, comm, root: A.broadcast(x.clone(), comm, root), "Is x itself overwritten?"),
    Misconception("returns a copy", lambda x, comm, root: A.broadcast(x, comm, root).clone(),
        "x is right. Is it x itself that you return, or a tensor like it?"),
    mistake("returns nothing", "x is right. What does your function return?", "return x", "return"),
    Misconception("the nearest first", nearest_first,
        "The messages are a tree's. Which of a rank's receivers has the most work ahead of it, and when is it served?"),
]  # fmt: skip


# ---- the ring --------------------------------------------------------------------------------------------------------


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


def drops_the_remainder(x, comm):
    even = len(x) // comm.world_size * comm.world_size
    return torch.cat([ring_all_reduce(x[:even], comm), x[even:]])


def receives_first(x, comm):
    if comm.world_size > 1:
        comm.recv(torch.empty_like(x.tensor_split(comm.world_size)[comm.rank - 1]), (comm.rank - 1) % comm.world_size)
    return ring_all_reduce(x, comm)


def hands_round_from(first: int):
    """The second half, as if rank r held chunk r + first; 1 would be right."""
    gather = mutated(A.ring_all_gather, "comm.rank + 1 - step", f"comm.rank + {first} - step",
                     "(comm.rank - step)", f"(comm.rank + {first - 1} - step)")  # fmt: skip
    return mutated(ring_all_reduce, ring_all_gather=gather)


ring_all_reduce = A.ring_all_reduce
to_the_left = mutated(A.ring_reduce_scatter, "exchange(leaving, right", "exchange(leaving, left")


def the_other_way_round(x, comm):
    return ring_all_reduce(x, A.Group(comm, range(comm.world_size)[::-1]))


mistake = wrong(ring_all_reduce)
RING = [
    Misconception("gather_then_broadcast", gather_then_broadcast,
        "The sums are right. Count what the busiest rank sends: which rank is it, and how does that grow with the "
        "number of ranks?"),
    Misconception("chunks_straight_to_their_owner", chunks_straight_to_their_owner,
        "The sums are right, and no rank sends too much. With whom does each rank talk, and with whom in a ring?"),
    Misconception("whole_tensors_round_the_ring", whole_tensors_round_the_ring,
        "The sums are right, and every rank sends a whole tensor in each step. Which part of it does nobody else send "
        "to that neighbour in that step?"),
    mistake("no_all_gather", "After the first half each rank has one chunk that is whole. Who has the others?",
        "    ring_all_gather(chunks, comm)\n", ""),
    Misconception(
        "hands_round_its_own_chunk",  # receiving over one's own entries in the first half comes to the same
        hands_round_from(0),
        "Each chunk of your result is one rank's alone. Is anything added in the first half, and which chunk is whole "
        "on rank 0 when it ends?",
    ),
    Misconception("begins_one_chunk_too_far", hands_round_from(2),
        "Draw three ranks on paper: which chunk is whole on rank 0 when the first half ends? With that one the second "
        "half begins."),
    mistake("one_step_short", "A chunk has to meet every rank. How many times must it travel?",
        "range(size - 1):\n        leaving", "range(size - 2):\n        leaving"),
    mistake("averages", "Data-parallel training divides later. What does all-reduce return itself?",
        "return total", "return total / comm.world_size"),
    Misconception("drops_the_remainder", drops_the_remainder,
        "Try a length that the number of ranks does not divide. Which entries are left over?"),
    Misconception("loses_the_remainder",
        lambda x, comm: ring_all_reduce(x[: len(x) // comm.world_size * comm.world_size], comm),
        "Your result is shorter than x where the number of ranks does not divide its length. Whose are the last "
        "entries?"),
    mistake("too_few_chunks",
        "Into how many pieces does `torch.chunk` cut 3 entries if it is asked for 4, and what is at chunks[3]? An "
        "empty chunk is one, too.",
        "total.view(-1).tensor_split(comm.world_size)", "torch.chunk(total, comm.world_size)"),
    Misconception("receives_first", receives_first,
        "All ranks wait for their left neighbours at the same time. In a step, of the first half as of the second, "
        "what must a rank have done before it waits?"),
    Misconception("sends_to_the_left", mutated(ring_all_reduce, ring_reduce_scatter=to_the_left),
        "With two ranks both neighbours are the same one. With three: to whom do you send, and for whose message does "
        "that one wait?"),
    Misconception("the_other_way_round", the_other_way_round,
        "The sums are right. Which neighbour gets your messages, and which one was asked for?"),
    mistake("returns_x_itself_when_alone", "With one rank, is your result a new tensor?",
        "total = x.clone(memory_format=torch.contiguous_format)",
        "total = x.clone(memory_format=torch.contiguous_format) if comm.world_size > 1 else x"),
]  # fmt: skip


# ---- halving and doubling, and nodes ---------------------------------------------------------------------------------


def recursive_doubling(x, comm):
    """Whole tensors with partners at 1, 2, 4."""
    total, far = x.clone(), 1
    while far < comm.world_size:
        partner = comm.rank ^ far
        total += exchange(total.clone(), partner, torch.empty_like(total), partner, comm)
        far *= 2
    return total


def folded(doubling, told=True):
    """Halving and doubling with ``doubling`` for its middle; the ranks beyond the power give theirs to the first."""

    def all_reduce(x, comm):
        power, total = 1 << (comm.world_size.bit_length() - 1), x.clone()
        if comm.rank >= power:
            comm.send(total, comm.rank - power)
            return comm.recv(total, comm.rank - power) if told else total
        guest = comm.rank + power < comm.world_size
        if guest:
            total += comm.recv(torch.empty_like(total), comm.rank + power)
        total = doubling(total, A.Group(comm, range(power)))
        if guest and told:
            comm.send(total, comm.rank + power)
        return total

    return all_reduce


def leaves_others_out(x, comm):
    """Only the largest power of two takes part."""
    power = 1 << (comm.world_size.bit_length() - 1)
    return A.halving_doubling_all_reduce(x, A.Group(comm, range(power))) if comm.rank < power else x.clone()


mistake = wrong(A.halving_doubling_all_reduce)
HALVING = [
    Misconception("a ring", A.ring_all_reduce,
        "The sums are right, in 2 (P - 1) steps. With whom would you talk to need log2 P each way?"),
    Misconception("whole tensors", folded(recursive_doubling),
        "The steps are few and each moves the whole tensor. Which half of it does your partner need from you?"),
    Misconception("others are left out", leaves_others_out,
        "What happens to the ranks beyond the largest power of two?"),
    Misconception("others get no result", folded(A.halving_doubling_all_reduce, told=False),
        "The ranks that were folded in gave their part. What do they have?"),
    mistake("no doubling", "After halving, each rank has one chunk that is whole. And the others?",
        "in reversed(halvings)", "in ()"),
]  # fmt: skip


def in_the_node(x, comm, node_size):
    first = comm.rank - comm.rank % node_size
    return A.ring_all_reduce(x, A.Group(comm, range(first, first + node_size)))


def between_nodes(x, comm, node_size):
    return A.ring_all_reduce(x, A.Group(comm, range(comm.rank % node_size, comm.world_size, node_size)))


HIERARCHY = [
    Misconception("whole tensors between nodes",
        lambda x, comm, node_size: between_nodes(in_the_node(x, comm, node_size), comm, node_size),
        "Some rank sends as much to other nodes as if it were alone in its own. Could a node's ranks share the work?"),
    Misconception("one flat ring", lambda x, comm, node_size: A.ring_all_reduce(x, comm),
        "How much does the ring's busiest rank send to the next node?"),
    Misconception("twice between nodes",
        lambda x, comm, node_size: between_nodes(A.hierarchical_all_reduce(x, comm, node_size), comm, node_size),
        "What crosses between nodes, and your sums, are a multiple of what they should be. How often do the nodes add "
        "one another's chunks?"),
    Misconception("nodes for themselves", in_the_node, "Whose entries are missing from your sums?"),
    Misconception("between nodes only", between_nodes, "Whose entries are missing from your sums?"),
]  # fmt: skip


# ---- barrier ---------------------------------------------------------------------------------------------------------

TOKEN, LOOP = torch.zeros(1), "while far < comm.world_size"


def pass_round(comm):
    """Hear from the left, tell the right: whoever is right of rank 0 leaves too soon."""
    if comm.world_size > 1:
        comm.send(TOKEN, (comm.rank + 1) % comm.world_size)
        comm.recv(torch.empty(1), (comm.rank - 1) % comm.world_size)


def sends_only(comm):
    for rank in range(comm.world_size):
        if rank != comm.rank:
            comm.send(TOKEN, rank)


def exclusive_or(comm):
    """Partners as in halving and doubling, which leave the world where it is no power of two."""
    far = 1
    while far < comm.world_size:
        if comm.rank ^ far < comm.world_size:
            exchange(TOKEN, comm.rank ^ far, torch.empty(1), comm.rank ^ far, comm)
        far *= 2


def waits_first(comm):
    if comm.world_size > 1:
        comm.recv(torch.empty(1), (comm.rank - 1) % comm.world_size)
        comm.send(TOKEN, (comm.rank + 1) % comm.world_size)


mistake = wrong(A.barrier)
BARRIER = [
    Misconception("neighbours only", pass_round,
        "You know that your left neighbour has come. How would you learn of a rank further away?"),
    Misconception("sends only", sends_only, "Everybody is told. Who waits until they have heard?"),
    Misconception("through rank 0", lambda comm: A.naive_all_reduce_(TOKEN.clone(), comm),
        "It holds everybody back. How many messages does rank 0 handle, and could ranks tell one another instead?"),
    mistake("one doubling short",
        "After k steps you have heard of 2^k ranks, yourself included. Is that all of them when you stop?",
        LOOP, "while 2 * far < comm.world_size"),
    Misconception("receives first", waits_first,
        "All ranks wait at the same time. What must a rank have done before it waits?"),
    Misconception("exclusive or", exclusive_or,
        "With powers of two it is right. Draw three ranks: who hears from whom, and of whom does rank 1 never hear?"),
]  # fmt: skip


# ---- all-to-all ------------------------------------------------------------------------------------------------------


def through_the_ring(chunks, comm):
    """Everything to everybody, and each takes what is its."""
    table = A.all_gather(torch.stack(list(chunks)), comm)
    return [rows[comm.rank] for rows in table]


def by_distance(chunks, comm):
    """Arrived chunks in the order in which they came, not by sender."""
    found = A.all_to_all(chunks, comm)
    return [found[(comm.rank - step) % comm.world_size] for step in range(comm.world_size)]


ALL_TO_ALL = [
    Misconception("gathers everything", through_the_ring,
        "It is all there. How much of what arrived was meant for this rank?"),
    Misconception("by order of arrival", by_distance, "Whose chunk is at position 0 of the result, on every rank?"),
    Misconception("an all-gather", lambda chunks, comm: A.all_gather(chunks[comm.rank], comm),
        "Which of chunks is meant for rank 0, and did you send that one?"),
    Misconception("nothing is sent", lambda chunks, comm: [chunk.clone() for chunk in chunks],
        "Are these not the chunks that you were given?"),
]  # fmt: skip
