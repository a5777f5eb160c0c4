"""The parameter server: workers push gradients, servers update, workers pull. Source: Li et al. 2014.

Ranks 0 to S - 1 are servers, the other W = P - S are workers. A parameter has a key; each key is one server's.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ..substrate.errors import CourseProblem
from ..substrate.ranks import Communicator

Update: TypeAlias = Callable[[str, Tensor, Tensor], object]  # key, parameter (changed in place), mean gradient


class ServerError(CourseProblem, ValueError):
    """Keys, shapes or ranks that do not fit a parameter server."""


def parameter_server_step(
    parameters: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    owners: Mapping[str, int],
    n_servers: int,
    comm: Communicator,
    update: Update,
) -> None:
    """One synchronous step: push, mean over the workers, one update of each key, pull.

    ``owners`` gives the server of each key, in the order in which keys are pushed, alike on all ranks. A server's
    ``parameters`` of its own keys are updated in place, a worker's ``gradients`` are pushed and all its ``parameters``
    overwritten. A server adds in the order of ranks, whoever comes first, and answers a key before it waits for the
    next; a worker pushes everything before it waits. Lab 8, exercise ``parameter_server_step``.
    """
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, server in owners.items():
            comm.send(gradients[key], server)
        for key, server in owners.items():
            comm.recv(parameters[key], server)
        return
    for key, server in owners.items():
        if server != comm.rank:
            continue
        total = torch.zeros_like(parameters[key])
        for worker in workers:
            total += comm.recv(torch.empty_like(total), worker)
        update(key, parameters[key], total / len(workers))
        for worker in workers:
            comm.send(parameters[key], worker)


def shard_keys(sizes: Mapping[str, int], n_servers: int) -> dict[str, int]:
    """The server of each key, with balanced bytes: the largest goes first, to whoever has the fewest bytes so far.

    Of equal sizes the earlier key goes first, of equal servers the lower takes it. The fullest server has at most
    4/3 - 1/(3 S) of what the best split gives it (Graham 1969). Keys are in the order of ``sizes``. Lab 8, extension
    ``shard_keys``.
    """
    held, owners = [0] * n_servers, dict[str, int]()
    for key in sorted(sizes, key=lambda key: -sizes[key]):  # sorting keeps the order of equals
        owners[key] = held.index(min(held))
        held[owners[key]] += sizes[key]
    return {key: owners[key] for key in sizes}


def check_same_keys(
    parameters: Mapping[str, Tensor], owners: Mapping[str, int], n_servers: int, comm: Communicator
) -> None:
    """Raise ServerError on every rank unless all have the same keys, shapes, dtypes and servers, in one order.

    Once before training: without it ranks that differ would wait for messages that never come, or add up other keys.
    """
    problem = _own_problem(parameters, owners, n_servers, comm)
    known = [(key, str(x.dtype), tuple(x.shape)) for key, x in parameters.items()]
    layout = repr((known, list(owners.items()), n_servers)).encode()
    digest = int.from_bytes(hashlib.sha256(layout).digest()[:6], "big")
    mine = torch.tensor([bool(problem), digest])
    others = [rank for rank in range(comm.world_size) if rank != comm.rank]
    for rank in others:
        comm.send(mine, rank)
    found = {rank: comm.recv(torch.empty_like(mine), rank) for rank in others}
    if problem:
        raise ServerError(problem)
    for rank, theirs in found.items():
        if bool(theirs[0]):
            raise ServerError(f"rank {rank} cannot begin, and says why; rank {comm.rank} would wait for it")
        if int(theirs[1]) != digest:
            raise ServerError(
                f"rank {rank} has other keys, shapes, dtypes or servers than rank {comm.rank}, or in another order; "
                "build the same parameters and owners on every rank"
            )


def _own_problem(
    parameters: Mapping[str, Tensor], owners: Mapping[str, int], n_servers: int, comm: Communicator
) -> str:
    """What a rank sees by itself, in words."""
    if not 1 <= n_servers < comm.world_size:
        return f"n_servers={n_servers} of {comm.world_size} ranks; give at least one server and leave one worker"
    if unknown := [key for key in (*owners, *parameters) if key not in parameters or key not in owners]:
        return f"unknown key {unknown[0]!r}: parameters and owners must have the same keys"
    if lost := [key for key, server in owners.items() if not 0 <= server < n_servers]:
        return f"owners[{lost[0]!r}]={owners[lost[0]]} is no server; servers are 0 to {n_servers - 1}"
    return ""


def train_on_servers(
    parameters: Mapping[str, Tensor],
    gradient: Callable[[int, Mapping[str, Tensor]], Mapping[str, Tensor]],
    steps: int,
    owners: Mapping[str, int],
    n_servers: int,
    comm: Communicator,
    update: Update,
) -> None:
    """So many steps on this rank, after ``check_same_keys``; ``gradient(step, parameters)`` is asked on workers only.

    All ranks begin with the servers' values. A gradient of another shape or dtype, or none for a key, raises
    ServerError before anything of it is sent.
    """
    check_same_keys(parameters, owners, n_servers, comm)
    servers, workers = range(n_servers), range(n_servers, comm.world_size)
    for key, server in owners.items():
        if comm.rank == server:
            for worker in workers:
                comm.send(parameters[key], worker)
        elif comm.rank not in servers:
            comm.recv(parameters[key], server)
    for step in range(steps):
        gradients = {} if comm.rank in servers else gradient(step, parameters)
        if comm.rank in workers:
            _check_gradients(parameters, gradients, list(owners))
        parameter_server_step(parameters, gradients, owners, n_servers, comm, update)


def _check_gradients(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], keys: Sequence[str]) -> None:
    for key in keys:
        x, grad = parameters[key], gradients.get(key)
        if grad is None or (grad.shape, grad.dtype) != (x.shape, x.dtype):
            given = "no gradient" if grad is None else f"a gradient of shape {tuple(grad.shape)}, {grad.dtype},"
            raise ServerError(f"{given} for {key!r}, which has shape {tuple(x.shape)}, {x.dtype}; give one like it")
