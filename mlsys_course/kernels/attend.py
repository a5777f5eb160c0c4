"""Flash attention for tensors and autograd: the two kernels, on a machine whose fast memory is just large enough."""

from jaxtyping import Float
from torch import Tensor

from ..substrate.fast_memory import differentiable
from .flash_attention import flash_attention
from .flash_attention_backward import flash_attention_backward


def attend(
    q: Float[Tensor, "H T D"],
    k: Float[Tensor, "H S D"],
    v: Float[Tensor, "H S Dv"],
    block: int = 128,
    causal: bool = False,
    window: int | None = None,
) -> Float[Tensor, "H T Dv"]:
    """softmax(q k^T / sqrt(D)) v of each head, with ``causal`` and ``window`` as ``flash_attention`` has them.

    Memory grows with T and S, not with their product: what is kept for backward is the inputs, the output and a number
    a query. ``block`` queries and as many keys are worked on at a time.
    """
    room = 4 * block * (q.shape[-1] + v.shape[-1]) + 3 * block * block + 8 * block  # backward's, which is the larger
    function = differentiable(flash_attention, flash_attention_backward, room)
    return function((q, k, v), block, block, causal, window)
