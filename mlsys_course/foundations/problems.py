"""What the functions of this component say about input that they cannot take."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..substrate.errors import CourseProblem


class BadInput(CourseProblem, ValueError):
    """An input that has no meaning here; the message names it, what was expected, and what to do."""


def check_ids(name: str, ids: Tensor, count: int, of: str) -> None:
    """Raise BadInput unless every entry of ``ids`` is one of 0 .. count - 1."""
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise BadInput(f"{name} has dtype {ids.dtype}; whole numbers are expected, such as torch.int64")
    wrong = ids[(ids < 0) | (ids >= count)]
    if wrong.numel():
        raise BadInput(f"{name} has {int(wrong[0])}, but {of} are 0 to {count - 1}; look at where it comes from")


def check_sizes(what: str, found: Sequence[int], expected: Sequence[int]) -> None:
    """Raise BadInput unless two shapes agree."""
    if tuple(found) != tuple(expected):
        raise BadInput(f"{what} has shape {tuple(found)}, expected {tuple(expected)}; check what you pass")
