"""From ids to vectors: one-hot rows, and the look-up that spares the product with them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .problems import BadInput, check_ids


def one_hot(ids: Int[Tensor, "*batch"], classes: int) -> Float[Tensor, "*batch V"]:
    """A row of zeros with a single 1 for each id, float32; any shape of ids, also () and empty ones.

    Raises BadInput for an id that is not in 0 .. classes - 1. Lecture 000, "Sequence to tokens". Lab 0, exercise
    ``one_hot``.
    """
    check_ids("ids", ids, classes, "the classes")
    return (ids[..., None] == torch.arange(classes, device=ids.device)).float()


def look_up(
    table: Float[Tensor, "V C"], ids: Int[Tensor, "*batch"], padding: int | None = None
) -> Float[Tensor, "*batch C"]:
    """Row ``ids[...]`` of the table for each id: what ``one_hot(ids, V) @ table`` is, without the product.

    Where an id is ``padding`` the vector is zero. Raises BadInput for an id, or a padding, that is no row of the table.
    Lecture 000, "Token embedding". Lab 0, exercise ``look_up``.
    """
    rows = len(table)
    check_ids("ids", ids, rows, "the rows of the table")
    if padding is None:
        return table[ids]
    if not 0 <= padding < rows:
        raise BadInput(f"padding={padding}, but the rows of the table are 0 to {rows - 1}; choose one, or None")
    return table[ids].masked_fill((ids == padding)[..., None], 0.0)
