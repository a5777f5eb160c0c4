"""A long result in a few numbers, all of which it takes to have them."""

import torch
from torch import Tensor

PIECE = 1 << 14  # entries that are looked at at a time: what memory is measured for must not be in the looking


def sampled(x: Tensor, every: int) -> dict[str, Tensor]:
    """Each so manieth entry, or row, of ``x``; and of each piece of all its entries a mean with weights that differ.

    Who works out only what is looked at here has worked out everything.
    """
    flat = x.detach().reshape(-1)
    weights = torch.arange(min(PIECE, len(flat)), dtype=torch.float64, device=x.device).cos()
    means = [(piece.double() * weights[: len(piece)]).mean() for piece in flat.split(PIECE)] if len(flat) else []
    together = torch.stack(means) if means else flat.double()
    return {"some": x.detach()[::every].clone(), "all": together}
