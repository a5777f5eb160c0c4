"""The two kernels as one function with a gradient."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .flash_attention import WIDTHS, forward
from .flash_attention_backward import backward


class _FlashAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        q, k, v = (x.contiguous() for x in (q, k, v))
        out, lse = forward(q, k, v, causal)
        ctx.causal = causal
        ctx.save_for_backward(q, k, v, out, lse)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return *backward(*ctx.saved_tensors, grad.contiguous(), ctx.causal), None


def attend(
    q: Float[Tensor, "B H T D"], k: Float[Tensor, "B H S D"], v: Float[Tensor, "B H S D"], causal: bool = False
) -> Float[Tensor, "B H T D"]:
    """softmax(q k^T / sqrt(D)) v; with ``causal`` query i sees keys up to i + S - T, and zeros if there is none.

    float16, bfloat16, or float32, all three alike; T and S at least 1. Source: Dao 2023, algorithms 1 and 2.

    Raises:
        ValueError: a head of another width than 16, 32, 64 or 128, or shapes that do not fit together.
    """
    if q.shape[-1] not in WIDTHS:
        raise ValueError(f"heads of {q.shape[-1]}; these kernels take {', '.join(map(str, WIDTHS))}")
    if k.shape != v.shape or q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3]:
        raise ValueError(
            f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; (B, H, T, D), twice (B, H, S, D)"
        )
    return _FlashAttention.apply(q, k, v, causal)  # type: ignore[return-value]
