"""Gradient accumulation: the gradient of a large batch from batches that fit."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor


def accumulate(
    loss: Callable[[Tensor, Tensor], Tensor],
    micro_batches: Sequence[tuple[Tensor, Tensor]],
    ignore_index: int = -100,
    no_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> Float[Tensor, ""]:
    """Adds to every ``.grad`` what one backward pass over all micro-batches together would; returns their mean loss.

    ``loss(inputs, targets)`` is the mean over the tokens of one micro-batch whose target is not ``ignore_index``. A
    micro-batch without such a token is left out; with none at all, the loss is 0 and no ``.grad`` is touched. Only one
    micro-batch's activations are held at a time. ``no_sync()`` is entered around every backward pass but the last, as
    ``DataParallel`` of lab 9 has it. Lab 10, exercise ``accumulate``.
    """
    counts = [int((targets != ignore_index).sum()) for _, targets in micro_batches]
    counted = [(batch, count) for batch, count in zip(micro_batches, counts, strict=True) if count]
    tokens, total = sum(counts), torch.zeros(())
    for n, ((inputs, targets), count) in enumerate(counted, 1):
        share = loss(inputs, targets) * (count / tokens)
        with no_sync() if n < len(counted) else nullcontext():
            share.backward()
        total = total.to(share) + share.detach()
    return total
