"""Two kernels, forward and backward, as one function of tensors that autograd knows."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .memory import FastMemory

Kernel = Callable[..., Any]


def differentiable(forward: Kernel, backward: Kernel, capacity: int) -> Callable[..., Tensor]:
    """``function(tensors, *settings)``: what ``forward(memory, *arrays, *settings)`` returns first, with a gradient.

    All that forward returns is kept for ``backward(memory, *arrays, *returned, grad, *settings)``, which returns the
    gradients of the tensors. Each runs on a machine of its own, with ``capacity`` entries of fast memory.
    """

    def function(tensors: Sequence[Tensor], *settings: Any) -> Tensor:
        return _Kernels.apply((forward, backward, capacity), settings, *tensors)  # type: ignore[return-value]

    return function


class _Kernels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: tuple[Kernel, Kernel, int], settings: tuple, *tensors: Tensor) -> Tensor:
        run, _, capacity = kernels
        memory = FastMemory(capacity)
        returned = [memory.read(array) for array in run(memory, *map(memory.array, tensors), *settings)]
        ctx.kernels, ctx.settings = kernels, settings
        ctx.save_for_backward(*tensors, *returned)
        return returned[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        _, run, capacity = ctx.kernels
        memory = FastMemory(capacity)
        made = run(memory, *map(memory.array, (*ctx.saved_tensors, grad)), *ctx.settings)
        return None, None, *map(memory.read, made)
