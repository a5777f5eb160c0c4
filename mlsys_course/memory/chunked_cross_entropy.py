"""The loss of a language model's head, and its gradients, without ever holding all logits."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..substrate.dtypes import check_floating


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
    _check_shapes(hidden, weight, targets, chunk)
    wide = torch.promote_types(hidden.dtype, torch.float32)
    counted = targets != ignore_index
    count = counted.sum().clamp(min=1)
    loss = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden = torch.empty_like(hidden)
    grad_weight = torch.zeros_like(weight, dtype=wide)
    for start in range(0, len(targets), chunk):
        rows = slice(start, start + chunk)
        share = counted[rows].to(wide)[:, None] / count  # of each token in the mean: 1 / count, or 0
        target = targets[rows].where(counted[rows], 0)[:, None]
        logits = (hidden[rows] @ weight.T).to(wide)  # (chunk, V), here and nowhere else
        log_z = logits.logsumexp(dim=-1, keepdim=True)
        loss += (share * (log_z - logits.gather(1, target))).sum()
        # The gradient of -log softmax for its logits: the probabilities, less 1 at the target.
        grad_logits = logits.sub_(log_z).exp_()
        grad_logits.scatter_add_(1, target, torch.full_like(share, -1.0))
        grad_logits = grad_logits.mul_(share).to(hidden.dtype)
        grad_hidden[rows] = grad_logits @ weight
        grad_weight += grad_logits.T @ hidden[rows]
    return loss, grad_hidden, grad_weight.to(weight.dtype)


def _check_shapes(hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> None:
    if hidden.shape[1:] != weight.shape[1:] or hidden.shape[:1] != targets.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (hidden, weight, targets))
        raise ValueError(f"hidden, weight, targets have shapes {shapes}; they must be (N, C), (V, C), (N,)")
    check_floating(hidden=hidden, weight=weight)
    if chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 token; 256 is usual")


class ChunkedCrossEntropy(torch.autograd.Function):
    """``chunked_cross_entropy`` as a loss that backward runs through: ``ChunkedCrossEntropy.apply(...)``.

    Its gradients are ready when the forward pass ends; backward only scales them. Arguments go by position.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int = 256) -> Tensor:
        loss, grad_hidden, grad_weight = chunked_cross_entropy(hidden, weight, targets, chunk)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_hidden, grad_weight = ((grad * grad_loss).to(grad.dtype) for grad in ctx.saved_tensors)
        return grad_hidden, grad_weight, None, None
