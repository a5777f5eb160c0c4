"""The norm of a gradient of which each rank has a part."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..all_reduce import all_reduce
from ..substrate.ranks import Communicator
from .shards import ShardError


def clip_sharded(
    gradients: Sequence[Tensor], whole: Sequence[bool], max_norm: float, comm: Communicator
) -> tuple[list[Tensor], float]:
    """This rank's gradients, scaled so that the norm of the model's is at most ``max_norm``, and what it was before.

    A gradient that is ``whole`` is the same on every rank, and counts once; of the others each rank has a part of its
    own. One number goes round. Raises ShardError on every rank where the norm is infinite or NaN.
    Lab 11, exercise ``clip_sharded``.
    """
    squares = torch.zeros(2, dtype=torch.float64, device=comm.device)  # of parts, of what is whole
    for gradient, everywhere in zip(gradients, whole, strict=True):
        squares[int(everywhere)] += gradient.double().square().sum()
    norm = math.sqrt(float(all_reduce(squares[:1], comm)) + float(squares[1]))
    if not math.isfinite(norm):
        raise ShardError(f"the gradient's norm is {norm}; leave the step out on every rank, or lower the learning rate")
    factor = min(1.0, max_norm / norm) if norm else 1.0
    return [gradient * factor for gradient in gradients], norm
