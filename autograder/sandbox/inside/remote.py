"""Parts of a composite, as the sandbox sees them: calls to the trusted side, forward and backward."""

from collections.abc import Iterator
from typing import Any

import torch

from mlsys_course.desk.check import Tree, allowed, decode, encode
from mlsys_course.desk.check.driver import Candidate
from mlsys_course.desk.check.tree import TreeError, leaves, map_tensors

from .alarm import undisturbed
from .channel import Channel

RAISED = {kind.__name__: kind for kind in (
    ArithmeticError, AssertionError, AttributeError, IndexError, KeyError, LookupError, NotImplementedError,
    OverflowError, RuntimeError, TypeError, ValueError, ZeroDivisionError,
)}  # fmt: skip


class RemotePart:
    """A part by name: callable like the function it stands for, differentiable once."""

    def __init__(self, channel: Channel, name: str):
        self.channel, self.__name__ = channel, name

    def __call__(self, *args: Candidate, **kwargs: Candidate) -> Tree:
        with allowed():  # what a part needs itself is not the candidate's
            call: Tree = {"args": list(args), "kwargs": kwargs}
            tensors = [leaf for _, leaf in leaves(call) if isinstance(leaf, torch.Tensor)]
            shape: list[Tree] = []
            results = _RemoteCall.apply(self, call, shape, *tensors)
            return _filled(shape[0], iter(results))

    def ask(self, request: Tree) -> Tree:
        """The trusted side's answer; raises what the part raised there."""
        try:
            blob = encode(request)
        except TreeError as error:
            raise TypeError(f"{self.__name__} takes tensors, numbers and strings: {error}") from None
        with undisturbed():
            self.channel.send({"kind": "part", "name": self.__name__}, blob)
            head, blob = self.channel.receive()
        if head.get("refused"):
            raise ValueError(f"{self.__name__} refused: {head['refused']}")
        answer = decode(blob)
        if "raised" in answer:
            raise RAISED.get(answer["raised"], RuntimeError)(answer["message"])
        given = next((x for _, x in leaves(request) if isinstance(x, torch.Tensor)), None)
        if given is None or not (torch._C._len_torch_dispatch_stack() or given.is_cuda):  # no card, nor one pretended
            return answer["result"]
        return map_tensors(answer["result"], lambda x: _beside(given, x))


def _beside(given: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The same tensor where the call's are: also where a card is pretended, in the backward pass too."""
    return given.new_empty(x.shape, dtype=x.dtype).copy_(x)


class _RemoteCall(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: RemotePart, call: Tree, shape: list[Tree], *tensors: torch.Tensor) -> Any:
        result = part.ask({"op": "forward", **call})
        shape.append(result)
        found = [leaf for _, leaf in leaves(result) if isinstance(leaf, torch.Tensor)]
        ctx.part, ctx.call = part, map_tensors(call, lambda x: x.detach())
        ctx.empty = [(x.shape, x.dtype) for x in found]  # not the results: they would hold their own graph
        ctx.mark_non_differentiable(*(x for x in found if not (x.is_floating_point() or x.is_complex())))
        return tuple(found)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        pairs = zip(ctx.empty, gradients, strict=True)
        whole = [torch.zeros(shape, dtype=dtype) if g is None else g for (shape, dtype), g in pairs]
        with allowed():
            asked = ctx.part.ask({"op": "backward", **ctx.call, "gradient": whole})
        return (None, None, None, *asked)


def _filled(tree: Tree, tensors: Iterator[torch.Tensor]) -> Tree:
    """The tree with its tensors replaced, in order, by those that carry gradients."""
    return map_tensors(tree, lambda _: next(tensors))
