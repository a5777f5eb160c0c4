"""The loss of a language model's head, and its gradients, without ever holding all logits."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..substrate.dtypes import check_floating
from .fused_cross_entropy import fits, sum_and_gradients


def chunked_cross_entropy(
    hidden: Float[Tensor, "N C"],
    weight: Float[Tensor, "V C"],
    targets: Int[Tensor, " N"],
    chunk: int = 256,
    ignore_index: int = -100,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N C"], Float[Tensor, "V C"]]:
    """The mean of -log softmax(hidden @ weight.T)[target], with its gradients for ``hidden`` and ``weight``.

    Forward and backward of ``chunk`` tokens at a time, so that (chunk, V) numbers stand where (N, V) would. Tokens
    whose target is ``ignore_index`` count in no sum and no mean; with none left all three results are 0. The loss is
    float32, or float64 for float64 inputs, and so are sums over chunks; gradients have the dtypes of what they are for.
    Source: Hsu et al. 2024, "Liger Kernel", fused linear cross-entropy.
    Lab 10, exercise ``chunked_cross_entropy``.

    Raises:
        ValueError: shapes that do not fit, whole numbers for hidden or weight, or a chunk of no tokens.
    """
    loss, grad_hidden, grad_weight, count = _of_the_sum(hidden, weight, targets, chunk, ignore_index)
    return loss / count, grad_hidden.div_(count), grad_weight.div_(count).to(weight.dtype)


@torch.no_grad()  # gradients are returned, so there is nothing for autograd to keep
def _of_the_sum(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int, ignore_index: int = -100
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sum of all losses, its gradients, that for ``weight`` in float32 or better, and how many tokens count.

    Divided by thousands of tokens, a probability would be 0 in float16; so nothing is divided here.
    """
    _check_shapes(hidden, weight, targets, chunk)
    wide = torch.promote_types(hidden.dtype, torch.float32)
    counted = targets != ignore_index
    count = counted.sum().clamp(min=1)
    if fits(hidden, weight):
        return *sum_and_gradients(hidden, weight, targets, chunk, ignore_index), count
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden = torch.empty_like(hidden)
    grad_weight = torch.zeros_like(weight, dtype=wide)
    # What a chunk adds up for a word may be beyond float16: hidden is made smaller by a power of two, the sum larger.
    most = max(1, min(chunk, len(targets)))
    room = 2.0 ** math.ceil(math.log2(most)) if hidden.dtype == torch.float16 else 1.0
    for start in range(0, len(targets), chunk):
        rows = slice(start, start + chunk)
        counts = counted[rows].to(wide)[:, None]
        target = targets[rows].where(counted[rows], 0)[:, None]
        logits = (hidden[rows] @ weight.T).to(wide)  # (chunk, V), here and nowhere else
        log_z = logits.logsumexp(dim=-1, keepdim=True)
        loss += (counts * (log_z - logits.gather(1, target))).sum()
        # The gradient of -log softmax for its logits: the probabilities, less 1 at the target.
        grad_logits = logits.sub_(log_z).exp_()
        grad_logits.scatter_add_(1, target, torch.full_like(counts, -1.0))
        grad_logits = grad_logits.mul_(counts).to(hidden.dtype)
        grad_hidden[rows] = grad_logits @ weight
        grad_weight.add_(grad_logits.T @ (hidden[rows] / room), alpha=room)
    return loss, grad_hidden, grad_weight, count


def _check_shapes(hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> None:
    if hidden.shape[1:] != weight.shape[1:] or hidden.shape[:1] != targets.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (hidden, weight, targets))
        raise ValueError(f"hidden, weight, targets have shapes {shapes}; they must be (N, C), (V, C), (N,)")
    check_floating(hidden=hidden, weight=weight)
    if chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 token; 256 is usual")


class ChunkedCrossEntropy(torch.autograd.Function):
    """``chunked_cross_entropy`` as a loss that backward runs through: ``ChunkedCrossEntropy.apply(...)``.

    Its gradients are ready when the forward pass ends, of the sum over tokens; backward multiplies them with what it is
    given over their number, and rounds once, so that a loss scale keeps small ones in float16. The weight's waits in
    float32. Arguments go by position.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int = 256) -> Tensor:
        loss, grad_hidden, grad_weight, count = _of_the_sum(hidden, weight, targets, chunk)
        ctx.save_for_backward(grad_hidden, grad_weight, count)
        ctx.dtypes = hidden.dtype, weight.dtype
        return loss / count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        *gradients, count = ctx.saved_tensors
        scale = (grad_loss / count).reshape(1)  # of float32: a loss scale of 2^16 is beyond float16
        found = [torch.empty_like(grad, dtype=dtype) for grad, dtype in zip(gradients, ctx.dtypes, strict=True)]
        for grad, rounded in zip(gradients, found, strict=True):
            torch.mul(grad, scale, out=rounded)  # in float32, which is nowhere kept
        return *found, None, None
