"""How surprised a model is by a text that is longer than its context."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..foundations import BadInput


@torch.no_grad()
def perplexity(
    model: Callable[[Tensor], Tensor], ids: Int[Tensor, " T"], context: int, stride: int
) -> Float[Tensor, ""]:
    """exp of the mean of -log p of all tokens but the first, each asked once, in windows of ``context`` tokens.

    Window k starts at token k * stride and asks for those of its tokens that no window before it has asked for; so but
    in the first, each token is asked with at least context - stride tokens before it. The last window may be shorter.
    ``model`` takes ids (1, n) and gives logits (1, n, V). float32, or float64 for float64 logits.
    Source: Hugging Face's guide "Perplexity of fixed-length models". Lab 4, extension ``perplexity``.

    Raises BadInput for fewer than two tokens, and a stride outside 1 .. context - 1.
    """
    T = len(ids)
    if T < 2 or not 1 <= stride < context:
        raise BadInput(f"{T} tokens, stride={stride}, context={context}; give 2 tokens or more, 1 <= stride < context")
    total, asked = torch.zeros((), device=ids.device), 1  # tokens before `asked` are done
    for start in range(0, T, stride):
        window = ids[start : start + context]
        logits = model(window[None])[0]
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        first = asked - start
        total = total + F.cross_entropy(wide[first - 1 : -1], window[first:].long(), reduction="sum")
        asked = start + len(window)
        if asked == T:
            break
    return torch.exp(total / (T - 1))
