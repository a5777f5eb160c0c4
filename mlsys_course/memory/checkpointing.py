"""Activation checkpointing: keep a function's arguments instead of what it makes, and run it again for backward."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, of which autograd keeps the arguments only.

    Backward calls ``function`` again, once, with the random numbers and the autocast of the first call, and leaves the
    random state as it found it. Gradients go to tensors among the arguments, and to the ``.grad`` of whatever else
    ``function`` uses. Arguments may be anything, and need not require gradients; results are a tensor or a tuple of
    tensors. Where gradients are off it is a plain call. Calls may be nested. Backward means ``backward()``:
    ``torch.autograd.grad`` for something that is no argument does not see through.
    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost". Lab 10, exercise ``checkpoint``.
    """
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    # Results require a gradient even where no argument does: ``function`` may use parameters.
    anchor = torch.empty(0, requires_grad=True)
    context = _Context(tensor.device for tensor in (*args, *kwargs.values()) if isinstance(tensor, Tensor))
    return _Checkpoint.apply(function, list(kwargs), context, anchor, *args, *kwargs.values())


class _Context:
    """The random states and the autocast settings of now."""

    def __init__(self, devices: Iterator[torch.device]):
        self.cuda = sorted({device.index for device in devices if device.type == "cuda"})
        self.state = torch.get_rng_state()
        self.cuda_states = [torch.cuda.get_rng_state(index) for index in self.cuda]
        self.autocast = [
            (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
            for kind in ("cpu", *(["cuda"] if self.cuda else []))
        ]

    @contextmanager
    def again(self) -> Iterator[None]:
        """As it was then; afterwards as it is now."""
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(self.cuda))
            for kind, dtype, enabled in self.autocast:
                stack.enter_context(torch.autocast(kind, dtype, enabled))
            torch.set_rng_state(self.state)
            for index, state in zip(self.cuda, self.cuda_states, strict=True):
                torch.cuda.set_rng_state(state, index)
            yield


class _Checkpoint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., Any], names: list[str], context: _Context, _: Any, *given: Any
    ) -> Any:
        ctx.function, ctx.names, ctx.context = function, names, context
        tensors = [value if isinstance(value, Tensor) else None for value in given]
        ctx.save_for_backward(*tensors)
        ctx.others = [None if isinstance(value, Tensor) else value for value in given]
        return _called(function, names, given)  # autograd is off in here

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        given = [
            other if tensor is None else tensor.detach().requires_grad_(tensor.requires_grad)
            for tensor, other in zip(ctx.saved_tensors, ctx.others, strict=True)
        ]
        with torch.enable_grad(), ctx.context.again():
            outputs = _called(ctx.function, ctx.names, given)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        both = zip(outputs, grad_outputs, strict=True)
        pairs = [(output, grad) for output, grad in both if grad is not None and output.requires_grad]
        torch.autograd.backward([output for output, _ in pairs], [grad for _, grad in pairs])
        gradients = [value.grad if isinstance(value, Tensor) else None for value in given]
        return None, None, None, None, *gradients


def _called(function: Callable[..., Any], names: list[str], given: Any) -> Any:
    """The last of ``given`` are the arguments by name."""
    positional = len(given) - len(names)
    return function(*given[:positional], **dict(zip(names, given[positional:], strict=True)))
