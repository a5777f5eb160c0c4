"""Mixed precision: what travels has 16 bits, and the shards that the optimizer steps have 32."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..all_reduce import all_gather
from ..substrate.ranks import Communicator
from .shards import write_back
from .zero1 import MakeOptimizer, own_shard, summed_gradient


def mixed_zero1_step(
    parameters: Sequence[Tensor], make_optimizer: MakeOptimizer, comm: Communicator, state: Any = None
) -> Any:
    """``zero1_step`` for parameters of 16 bits: each rank's shard is a float32 master (lab 10), P times less of them.

    Gradients are summed in the parameters' dtype, then widened and divided by P; masters are rounded, then gathered.
    So a rank sends 2 (P - 1) / P n numbers of 16 bits. Source: Rajbhandari et al. 2020, section 3.1.
    Lab 11, extension ``mixed_zero1_step``.
    """
    if state is None:
        master = own_shard(parameters, comm).detach().float().requires_grad_()
        state = master, make_optimizer([master])
    master, optimizer = state
    master.grad = summed_gradient(parameters, comm).float() / comm.world_size
    optimizer.step()
    master.grad = None
    rounded = master.detach().to(parameters[0].dtype)
    write_back(torch.cat(all_gather(rounded, comm)), parameters)
    return state
