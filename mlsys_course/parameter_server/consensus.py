"""Training that can be repeated bit for bit: one order of additions, and ranks that agree on what they hold."""

import hashlib
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ..substrate.ranks import Communicator


def fixed_order_mean(arrived: Mapping[int, Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
    """The mean of what ranks sent, added in the order of ranks, whoever came first: the same bits in every run."""
    first, *others = sorted(arrived)
    total = arrived[first].clone()
    for rank in others:
        total += arrived[rank]
    return total / len(arrived)


def state_digest(parameters: Mapping[str, Tensor]) -> bytes:
    """SHA-256 of names, dtypes, shapes and bits, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(parameters):
        tensor = parameters[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def agree_on_state(parameters: Mapping[str, Tensor], comm: Communicator) -> list[int]:
    """Ranks whose parameters differ in any bit, name, dtype or shape from what most ranks have; the same list on all.

    Where several states are held equally often, that of the lowest rank among their holders counts. Every rank sends
    its digest of 32 bytes to all others. Lab 8, exercise ``agree_on_state``.
    """
    own = state_digest(parameters)
    others = [rank for rank in range(comm.world_size) if rank != comm.rank]
    for rank in others:
        comm.send(torch.tensor(list(own), dtype=torch.uint8), rank)
    digests = [own] * comm.world_size
    for rank in others:
        digests[rank] = bytes(comm.recv(torch.empty(32, dtype=torch.uint8), rank).tolist())
    agreed = max(digests, key=digests.count)  # the first of the most frequent
    return [rank for rank, digest in enumerate(digests) if digest != agreed]
