"""Lab 9, sealed: misconceptions about halving and doubling, and about nodes."""

import torch

from autograder.exercise import Misconception
from mlsys_course import all_reduce as A
from mlsys_course.all_reduce import collectives


def ring(x, comm):
    return A.ring_all_reduce(x, comm)


def recursive_doubling(x, comm):
    """Whole tensors with partners at 1, 2, 4; others folded in as they should be."""
    total = x.clone()
    power = 1 << (comm.world_size.bit_length() - 1)
    if comm.rank >= power:
        comm.send(total, comm.rank - power)
        return comm.recv(total, comm.rank - power)
    if comm.rank + power < comm.world_size:
        total += comm.recv(torch.empty_like(total), comm.rank + power)
    far = 1
    while far < power:
        partner = comm.rank ^ far
        total = total + collectives.exchange(total.clone(), partner, torch.empty_like(total), partner, comm)
        far *= 2
    if comm.rank + power < comm.world_size:
        comm.send(total, comm.rank + power)
    return total


def leaves_others_out(x, comm):
    """Only the largest power of two takes part."""
    power = 1 << (comm.world_size.bit_length() - 1)
    if comm.rank >= power:
        return x.clone()
    return A.halving_doubling_all_reduce_(x.clone(), A.Group(comm, range(power)))


def others_get_no_result(x, comm):
    power = 1 << (comm.world_size.bit_length() - 1)
    total = x.clone()
    if comm.rank >= power:
        comm.send(total, comm.rank - power)
        return total
    if comm.rank + power < comm.world_size:
        total += comm.recv(torch.empty_like(total), comm.rank + power)
    return A.halving_doubling_all_reduce_(total, A.Group(comm, range(power)))


def halves_only(x, comm):
    """No doubling: each ends with its own chunk whole and the rest as it was."""
    own = A.reduce_scatter(x, comm)
    found = x.clone()
    found.tensor_split(comm.world_size)[comm.rank].copy_(own)
    return found


HALVING = [
    Misconception(
        "a ring", ring, "The sums are right, in 2 (P - 1) steps. With whom would you talk to need log2 P each way?"
    ),
    Misconception(
        "whole tensors",
        recursive_doubling,
        "The steps are few and each moves the whole tensor. Which half of it does your partner need from you?",
    ),
    Misconception(
        "others are left out", leaves_others_out, "What happens to the ranks beyond the largest power of two?"
    ),
    Misconception(
        "others get no result",
        others_get_no_result,
        "The ranks that were folded in gave their part. What do they have?",
    ),
    Misconception("no doubling", halves_only, "After halving, each rank has one chunk that is whole. And the others?"),
]


def flat_ring(x, comm, node_size):
    return A.ring_all_reduce(x, comm)


def sums_in_the_node_only(x, comm, node_size):
    first = comm.rank - comm.rank % node_size
    return A.ring_all_reduce(x, A.Group(comm, range(first, first + node_size)))


def sums_between_nodes_only(x, comm, node_size):
    return A.ring_all_reduce(x, A.Group(comm, range(comm.rank % node_size, comm.world_size, node_size)))


def everybody_between_nodes(x, comm, node_size):
    """Sums in the node, then whole tensors between nodes, from every rank."""
    return sums_between_nodes_only(sums_in_the_node_only(x, comm, node_size), comm, node_size)


HIERARCHY = [
    Misconception(
        "whole tensors between nodes",
        everybody_between_nodes,
        "Some rank sends as much to other nodes as if it were alone in its own. Could a node's ranks share the work?",
    ),
    Misconception("one flat ring", flat_ring, "How much does the ring's busiest rank send to the next node?"),
    Misconception("nodes for themselves", sums_in_the_node_only, "Whose entries are missing from your sums?"),
    Misconception("between nodes only", sums_between_nodes_only, "Whose entries are missing from your sums?"),
]
