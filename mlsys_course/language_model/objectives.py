"""What a language model is trained for: the next token, or those that were hidden."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..foundations import BadInput
from ..substrate.dtypes import check_floating

IGNORED = -100  # the label of a position that is not asked


def causal_loss(
    logits: Float[Tensor, "B T V"], labels: Int[Tensor, "B T"], ignore_index: int = IGNORED
) -> Float[Tensor, ""]:
    """The mean of -log p of each sequence's tokens but the first: logits at t are asked for ``labels`` at t + 1.

    Labels are the tokens themselves, but ``ignore_index`` where a token is not asked; the mean is over those that are,
    of all sequences together, and 0 where there is none. float32, or float64 for float64 logits. Lecture 002,
    "self-supervised learning"; lecture 004, "Next Token Prediction", whose product lacks its first factor.
    Lab 4, exercise ``causal_loss``.

    Raises BadInput for shapes that do not fit, and for a label that is neither a token nor ``ignore_index``.
    """
    check_floating(logits=logits)
    if logits.ndim != 3 or labels.shape != logits.shape[:2]:
        raise BadInput(f"logits {tuple(logits.shape)}, labels {tuple(labels.shape)}; expected (B, T, V) and (B, T)")
    V, asked = logits.shape[-1], labels[:, 1:] != ignore_index
    following = labels[:, 1:]
    if bool((((following < 0) | (following >= V)) & asked).any()):
        raise BadInput(f"a label is none of the tokens 0 to {V - 1}, nor ignore_index={ignore_index}")
    wide = torch.promote_types(logits.dtype, torch.float32)
    predictions = logits[:, :-1].flatten(0, 1).to(wide)  # (B (T - 1), V)
    total = F.cross_entropy(predictions, following.flatten().long(), ignore_index=ignore_index, reduction="sum")
    return total / asked.sum().clamp(min=1)


def mask_tokens(
    ids: Int[Tensor, "B T"],
    u: Float[Tensor, "3 B T"],
    mask_id: int,
    vocabulary: int,
    rate: float = 0.15,
    special: Bool[Tensor, "B T"] | None = None,
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Inputs and labels of masked language modelling, from three uniform numbers in [0, 1) a token.

    A token is chosen where u[0] < rate and it is not ``special``. A chosen one becomes ``mask_id`` where u[1] < 0.8,
    the token floor(u[2] * vocabulary) where 0.8 <= u[1] < 0.9, and stays as it is otherwise. Labels are the ids where
    a token was chosen, and -100 elsewhere. Source: Devlin et al. 2019, section 3.1.
    Lab 4, exercise ``mask_tokens``.

    Raises BadInput for a rate outside [0, 1] and for shapes that do not fit.
    """
    if not 0 <= rate <= 1:
        raise BadInput(f"rate={rate}; choose a number from 0 to 1, such as 0.15")
    if u.shape != (3, *ids.shape) or (special is not None and special.shape != ids.shape):
        raise BadInput(f"u {tuple(u.shape)} for ids {tuple(ids.shape)}; expected {(3, *ids.shape)}, special as ids")
    chosen = u[0] < rate
    if special is not None:
        chosen = chosen & ~special
    drawn = (u[2] * vocabulary).to(ids.dtype)
    inputs = ids.masked_fill(chosen & (u[1] < 0.8), mask_id)
    inputs = inputs.where(~chosen | (u[1] < 0.8) | (u[1] >= 0.9), drawn)
    return inputs, ids.masked_fill(~chosen, IGNORED)
