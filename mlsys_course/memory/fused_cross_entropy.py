"""The same as `chunked_cross_entropy.py` on a card, with one kernel for what lies between a chunk's products.

There each of PyTorch's operators goes through (chunk, V) numbers by itself; here the logits are read twice and written
once, in 16 bits and in place.
"""

import importlib.util
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)


def fits(hidden: Tensor, weight: Tensor) -> bool:
    """Whether the kernel takes them: 16 bits on a card, where Triton is."""
    return hidden.is_cuda and hidden.dtype == weight.dtype in HALVES and importlib.util.find_spec("triton") is not None


def sum_and_gradients(
    hidden: Float[Tensor, "N C"], weight: Float[Tensor, "V C"], targets: Int[Tensor, " N"], chunk: int, ignored: int
) -> tuple[Float[Tensor, ""], Float[Tensor, "N C"], Float[Tensor, "V C"]]:
    """The sum of all losses, and its gradients; the sum and the weight's in float32, the hidden states' as these."""
    loss = torch.zeros((), device=hidden.device)
    grad_hidden = torch.empty_like(hidden)
    grad_weight = torch.zeros_like(weight, dtype=torch.float32)
    for start in range(0, len(targets), chunk):
        rows = slice(start, start + chunk)
        logits = hidden[rows] @ weight.T  # (chunk, V)
        loss += losses_and_gradients(logits, targets[rows], ignored).sum()
        torch.mm(logits, weight, out=grad_hidden[rows])
        torch.addmm(grad_weight, logits.T, hidden[rows], out_dtype=torch.float32, out=grad_weight)
    return loss, grad_hidden, grad_weight


def losses_and_gradients(logits: Float[Tensor, "N V"], targets: Int[Tensor, " N"], ignored: int) -> Float[Tensor, " N"]:
    """-log softmax(logits)[target] of each row in float32, 0 where the target is ignored.

    In place of ``logits`` then stands the gradient of their sum: the probabilities, less 1 at the target.
    """
    from . import fused_cross_entropy_kernel as kernel

    of_a_row: Any = kernel.of_a_row
    losses = torch.empty(len(targets), dtype=torch.float32, device=logits.device)
    with torch.cuda.device(logits.device):
        of_a_row[(len(targets),)](logits, logits.stride(0), targets, losses, logits.shape[1], ignored, num_warps=16)
    return losses
