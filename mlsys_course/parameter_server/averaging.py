"""Averages of weights instead of gradients: federated, by nodes, and among neighbours without any server."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..substrate.ranks import Communicator


def federated_average(states: Sequence[Mapping[str, Tensor]], n_examples: Sequence[int]) -> dict[str, Tensor]:
    """The clients' parameters, each weighted by how many examples its client has.

    Weighted sums are in float64, results in the parameters' own dtype. A client without examples plays no part.
    Raises ValueError where nobody has any, or the numbers of states and counts differ.
    Source: McMahan et al. 2017, "Communication-efficient learning of deep networks from decentralized data",
    algorithm 1. Lab 8, exercise ``federated_average``.
    """
    total = sum(n_examples)
    if len(states) != len(n_examples) or not total:
        raise ValueError(f"{len(states)} clients with {list(n_examples)} examples; give each a count, one above 0")
    shares = [(state, n / total) for state, n in zip(states, n_examples, strict=True) if n]
    return {
        name: sum(share * state[name].double() for state, share in shares).to(tensor.dtype)  # type: ignore[union-attr]
        for name, tensor in states[0].items()
    }


def hierarchical_average(
    states: Sequence[Mapping[str, Tensor]], n_examples: Sequence[int], node_size: int
) -> dict[str, Tensor]:
    """The same average by way of nodes of ``node_size`` clients: one message leaves each node, with its count."""
    nodes = [slice(start, start + node_size) for start in range(0, len(states), node_size)]
    nodes = [node for node in nodes if sum(n_examples[node])]
    return federated_average(
        [federated_average(states[node], n_examples[node]) for node in nodes], [sum(n_examples[node]) for node in nodes]
    )


def gossip_step(x: Float[Tensor, "*shape"], comm: Communicator) -> Float[Tensor, "*shape"]:
    """The mean of x and of what both neighbours in the ring have; a new tensor.

    With two ranks the other one is the only neighbour; alone it is x. Steps on and on approach the mean of all.
    Source: Lian et al. 2017, "Can decentralized algorithms outperform centralized algorithms?". Lab 8, exercise
    ``gossip_step``.
    """
    neighbours = {(comm.rank + way) % comm.world_size for way in (1, -1)} - {comm.rank}
    for rank in sorted(neighbours):
        comm.send(x, rank)
    return torch.stack([x] + [comm.recv(torch.empty_like(x), rank) for rank in sorted(neighbours)]).mean(0)
