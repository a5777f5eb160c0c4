"""ZeRO 3: a layer's parameters are whole only while the layer runs, forward and backward."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..all_reduce import all_gather, reduce_scatter
from ..substrate.ranks import Communicator
from .shards import ShardError, flat_padded, pieces_of, shard_size

Layer = Callable[[Tensor, list[Tensor]], Tensor]


def zero3_layer(layer: Layer, shard: Tensor, shapes: Sequence[Sequence[int]], x: Tensor, comm: Communicator) -> Tensor:
    """``layer(x, parameters)``, whose parameters are gathered for it, freed, and gathered once more for backward.

    ``shard`` is this rank's part of the parameters of those ``shapes``, end to end and padded; its gradient is this
    rank's part of the ranks' mean. Backward runs the layer again, so of a layer only x is kept (lab 10's checkpoint).
    Raises ShardError for a shard of another size.
    Source: Rajbhandari et al. 2020, section 5.3; Zhao et al. 2023 (FSDP). Lab 11, exercise ``zero3_layer``.
    """
    held = shard_size(sum(torch.Size(shape).numel() for shape in shapes), comm.world_size)
    if shard.shape != (held,):
        raise ShardError(
            f"a shard of shape {tuple(shard.shape)}; parameters of shapes {[tuple(s) for s in shapes]} in "
            f"{comm.world_size} parts take ({held},) on each rank"
        )
    return _Gathered.apply(layer, shapes, comm, shard, x)  # pyright: ignore[reportReturnType]


def gathered(shard: Tensor, shapes: Sequence[Sequence[int]], comm: Communicator) -> list[Tensor]:
    """The parameters, whole: views of memory that goes when they go."""
    return pieces_of(torch.cat(all_gather(shard.detach(), comm)), shapes)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layer: Layer, shapes: Any, comm: Communicator, shard: Tensor, x: Tensor) -> Tensor:  # pyright: ignore
        ctx.layer, ctx.shapes, ctx.comm = layer, shapes, comm
        ctx.save_for_backward(shard, x)
        return layer(x, gathered(shard, shapes, comm))

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        shard, x = ctx.saved_tensors
        of_shard, of_x = ctx.needs_input_grad[3:]
        weights = [weight.requires_grad_(of_shard) for weight in gathered(shard, ctx.shapes, ctx.comm)]
        x = x.detach().requires_grad_(of_x)
        with torch.enable_grad():
            y = ctx.layer(x, weights)
        wanted = weights * of_shard + [x] * of_x
        found = list(torch.autograd.grad(y, wanted, grad_output, allow_unused=True))
        found = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, found, strict=True)]
        x_grad = found.pop() if of_x else None
        del weights, wanted, y
        if not of_shard:
            return None, None, None, None, x_grad
        size = ctx.comm.world_size
        return None, None, None, reduce_scatter(flat_padded(found, size), ctx.comm) / size, x_grad
