"""A vector for a whole text: what an encoder is asked for when it searches."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ..attention import padding_mask
from ..foundations import BadInput


def sentence_vectors(hidden: Float[Tensor, "B T C"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B C"]:
    """The mean of each sentence's vectors, scaled to length 1; sentence b has its tokens at 0 .. lengths[b] - 1.

    What padding holds counts for nothing, be it NaN. The mean is taken in float32, or in float64 for float64, and the
    result has hidden's dtype; a mean of zero stays zero. Source: Reimers and Gurevych 2019, section 3.
    Lab 4, extension ``sentence_vectors``.

    Raises BadInput for a length outside 1 .. T.
    """
    B, T, _ = hidden.shape
    if lengths.shape != (B,) or bool(((lengths < 1) | (lengths > T)).any()):
        raise BadInput(f"lengths {lengths.tolist()}; expected {B} of them, each from 1 to {T}")
    there = padding_mask(lengths, T)[:, 0, 0, :, None]  # (B, T, 1)
    wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32)).masked_fill(~there, 0.0)
    return F.normalize(wide.sum(1) / lengths[:, None], dim=-1).to(hidden.dtype)
