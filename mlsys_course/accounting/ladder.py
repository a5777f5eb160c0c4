"""A step of a decoder with the techniques of a rung, made of whoever's parts: what ``rung_memory`` predicts, live."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..substrate.model_config import ModelConfig
from ..transformer.insides import blocks_of, change_linears, decoder_of, without_head
from .rungs import Rung


class Parts(NamedTuple):
    """Lab 10's, a student's or the course's, and a decoder of lab 3."""

    decoder: Callable[..., Any]
    accumulate: Callable[..., Any]
    step: Callable[..., Any]
    cross_entropy: Callable[..., Any]
    checkpoint: Callable[..., Any]
    adapter: Callable[..., Any]


class HeadLoss(torch.autograd.Function):
    """A loss that comes with its gradients, for backward to hand on."""

    @staticmethod
    def forward(
        ctx: Any, cross_entropy: Callable[..., Any], chunk: int, hidden: Tensor, weight: Tensor, y: Tensor
    ) -> Any:
        loss, *gradients = cross_entropy(hidden, weight, y, chunk)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, None, *[gradient.mul_(upstream.to(gradient.dtype)) for gradient in ctx.saved_tensors], None


def rung_step(
    config: ModelConfig, rung: Rung, inputs: Tensor, targets: Tensor, parts: Parts
) -> tuple[Callable[[], None], list[Tensor]]:
    """(step, lasting): a step, taken once already, and what is there before it: weights, states, inputs."""
    dtype = torch.bfloat16 if rung.half else torch.float32
    model = decoder_of(parts.decoder, config).to(dtype=dtype)
    weight = without_head(model) if rung.chunk else torch.empty(0)
    if rung.rank:
        model.requires_grad_(False)
        change_linears(model, lambda layer: parts.adapter(layer, torch.randn(rung.rank, layer.in_features), 8.0))
    model.to(inputs.device)
    for block in blocks_of(model) if rung.checkpoints else ():
        block.forward = functools.partial(parts.checkpoint, block.forward)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    update = parts.step(trained, torch.optim.AdamW) if rung.half else torch.optim.AdamW(trained)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        y, found = y.flatten(), model(x).flatten(0, 1)
        if rung.chunk:
            return HeadLoss.apply(parts.cross_entropy, rung.chunk, found, weight, y)
        return F.cross_entropy(found.float(), y)

    def clear() -> None:
        for parameter in trained:
            parameter.grad = None

    def step() -> None:
        clear()
        pieces = [x.chunk(rung.micro_batches) for x in (inputs, targets)]
        parts.accumulate(loss, list(zip(*pieces, strict=True)))
        update.step()

    step()  # the first one makes the optimizer's states
    clear()
    states = [x for state in getattr(update, "optimizer", update).state.values() for x in state.values()]
    return step, [*model.parameters(), *getattr(update, "masters", []), *states, inputs, targets]
