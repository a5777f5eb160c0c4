"""ZeRO 1: each rank steps a P-th of the parameters, and so keeps a P-th of the optimizer's states."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..all_reduce import all_gather, reduce_scatter
from ..substrate.ranks import Communicator
from .shards import flat_padded, write_back


class Optimizer(Protocol):
    """As in ``torch.optim``; it works entry by entry, as SGD and AdamW do."""

    def step(self) -> Any: ...


MakeOptimizer = Callable[[list[Tensor]], Optimizer]


def zero1_step(
    parameters: Sequence[Tensor], make_optimizer: MakeOptimizer, comm: Communicator, state: Any = None
) -> Any:
    """One step by the ranks' mean gradient, after which all ranks have all parameters, and .grad is None.

    ``parameters`` have one dtype; one without a gradient counts as zeros. ``state`` is None in the first step, and then
    what the last call returned. Each rank sends 2(P - 1) / P times the parameters' bytes, padding included.
    Source: Rajbhandari et al. 2020, section 5.1. Lab 11, exercise ``zero1_step``.
    """
    if state is None:
        shard = own_shard(parameters, comm)
        state = shard, make_optimizer([shard])
    shard, optimizer = state
    shard.grad = mean_gradient(parameters, comm)
    optimizer.step()
    shard.grad = None
    write_back(torch.cat(all_gather(shard.detach(), comm)), parameters)
    return state


def own_shard(parameters: Sequence[Tensor], comm: Communicator) -> Tensor:
    """A copy of this rank's part, on which the optimizer works."""
    return flat_padded(parameters, comm.world_size).chunk(comm.world_size)[comm.rank].clone().requires_grad_()


def mean_gradient(parameters: Sequence[Tensor], comm: Communicator) -> Tensor:
    """This rank's part of the ranks' mean gradient. The parameters' own is freed: nobody needs it whole."""
    return summed_gradient(parameters, comm) / comm.world_size


def summed_gradient(parameters: Sequence[Tensor], comm: Communicator) -> Tensor:
    """The same of the sum, in the parameters' dtype."""
    flat = flat_padded((torch.zeros_like(p) if p.grad is None else p.grad for p in parameters), comm.world_size)
    for p in parameters:
        p.grad = None
    return reduce_scatter(flat, comm)
