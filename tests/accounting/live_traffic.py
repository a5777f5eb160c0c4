"""Training steps that really exchange their gradients, by every scheme, with the messages counted by the switchboard.

Gradients and weights are whole numbers of 1, 2 or 4 bytes, so that sums are exact. The new weights are the summed
gradients themselves; every rank must end with all of them.
"""

import torch
from torch import Tensor

from mlsys_course.accounting import Exchange
from mlsys_course.substrate.ranks import Communicator, Traffic, run_in_threads

WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32}


def live_step(scheme: str, exchange: Exchange) -> tuple[list[Tensor], Traffic]:
    """What each rank's weights are in the end, and all messages."""
    world = exchange.ranks + (exchange.servers if scheme == "parameter-server" else 0)
    return run_in_threads(lambda comm: STEPS[scheme](exchange, comm), world)


def gradients(exchange: Exchange, rank: int, micro_batch: int = 0) -> Tensor:
    """A rank's own, different for every rank and micro-batch."""
    entries = torch.arange(exchange.entries) % 5 + rank + micro_batch
    return entries.to(WHOLE[exchange.gradient_itemsize])


def expected(exchange: Exchange, micro_batches: int = 1) -> Tensor:
    """All ranks' gradients summed."""
    parts = [gradients(exchange, r, m).long() for r in range(exchange.ranks) for m in range(micro_batches)]
    return torch.stack(parts).sum(0)


def through_server(exchange: Exchange, comm: Communicator) -> Tensor:
    """Ranks from P on are servers, each with a shard."""
    shards = torch.arange(exchange.entries).tensor_split(exchange.servers)
    if comm.rank >= exchange.ranks:
        shard = shards[comm.rank - exchange.ranks]
        total = torch.zeros(len(shard), dtype=torch.long)
        for worker in range(exchange.ranks):
            total += comm.recv(torch.empty(len(shard), dtype=WHOLE[exchange.gradient_itemsize]), worker)
        for worker in range(exchange.ranks):
            comm.send(total.to(WHOLE[exchange.weight_itemsize]), worker)
        return total
    own, weights = gradients(exchange, comm.rank), []
    for server, shard in enumerate(shards):
        comm.send(own[shard], exchange.ranks + server)
        weights.append(torch.empty(len(shard), dtype=WHOLE[exchange.weight_itemsize]))
    for server, part in enumerate(weights):
        comm.recv(part, exchange.ranks + server)
    return torch.cat(weights)


def over_tree(exchange: Exchange, comm: Communicator) -> Tensor:
    """Up to rank 0, and down again."""
    children = [child for child in (2 * comm.rank + 1, 2 * comm.rank + 2) if child < comm.world_size]
    total = gradients(exchange, comm.rank)
    for child in children:
        total = total + comm.recv(torch.empty_like(total), child)
    if comm.rank:
        comm.send(total, (comm.rank - 1) // 2)
        comm.recv(total, (comm.rank - 1) // 2)
    for child in children:
        comm.send(total, child)
    return total


def reduce_scatter(x: Tensor, comm: Communicator) -> Tensor:
    """The whole sum of this rank's chunk of ``x``, which is padded to equal chunks."""
    size = -(-len(x) // comm.world_size)
    padded = torch.zeros(size * comm.world_size, dtype=x.dtype)
    padded[: len(x)] = x
    chunks = list(padded.split(size))
    for step in range(comm.world_size - 1):
        comm.send(chunks[(comm.rank - step - 1) % comm.world_size], (comm.rank + 1) % comm.world_size)
        arrived = comm.recv(torch.empty(size, dtype=x.dtype), (comm.rank - 1) % comm.world_size)
        chunks[(comm.rank - step - 2) % comm.world_size] += arrived
    return chunks[comm.rank]


def all_gather(chunk: Tensor, comm: Communicator) -> Tensor:
    """All ranks' chunks, one behind the other."""
    chunks = {comm.rank: chunk}
    for step in range(comm.world_size - 1):
        comm.send(chunks[(comm.rank - step) % comm.world_size], (comm.rank + 1) % comm.world_size)
        source = (comm.rank - 1) % comm.world_size
        chunks[(comm.rank - step - 1) % comm.world_size] = comm.recv(torch.empty_like(chunk), source)
    return torch.cat([chunks[rank] for rank in range(comm.world_size)])


def round_ring(exchange: Exchange, comm: Communicator) -> Tensor:
    """Data parallelism: every rank has all summed gradients."""
    return all_gather(reduce_scatter(gradients(exchange, comm.rank), comm), comm)[: exchange.entries]


def sharded(exchange: Exchange, comm: Communicator, stage: int) -> Tensor:
    """ZeRO: each rank updates its own chunk of the weights, which start as zeros."""
    size = -(-exchange.entries // comm.world_size)
    own = torch.zeros(size, dtype=WHOLE[exchange.weight_itemsize])
    summed = torch.zeros(size, dtype=torch.long)
    kept = torch.zeros(exchange.entries, dtype=WHOLE[exchange.gradient_itemsize])
    for micro_batch in range(exchange.micro_batches):
        for _ in range(2 if stage == 3 else 0):  # forward, backward
            assert len(all_gather(own, comm)) >= exchange.entries
        kept += gradients(exchange, comm.rank, micro_batch)
        if stage > 1:
            summed += reduce_scatter(kept, comm)
            kept.zero_()
    if stage == 1:
        summed += reduce_scatter(kept, comm)
    own += summed.to(own.dtype)
    if stage == 3:  # gathered by the next step's forward, which pays for it; here only to look at it
        return own
    return all_gather(own, comm)[: exchange.entries]


STEPS = {
    "parameter-server": through_server,
    "ring": round_ring,
    "tree": over_tree,
    "zero-1": lambda exchange, comm: sharded(exchange, comm, 1),
    "zero-2": lambda exchange, comm: sharded(exchange, comm, 2),
    "zero-3": lambda exchange, comm: sharded(exchange, comm, 3),
}
