"""Which numbers a function takes."""

from torch import Tensor

from .errors import CourseProblem


class NotFloating(CourseProblem, ValueError):
    """Whole numbers, or complex ones, where only floating-point numbers have a result of their dtype."""


def check_floating(**tensors: Tensor) -> None:
    """Raise NotFloating, by name, for a tensor that is not floating point: its result would be cut to whole numbers."""
    for name, x in tensors.items():
        if not x.is_floating_point():
            raise NotFloating(f"{name} is {x.dtype}; floating-point numbers are expected, so convert: {name}.float()")
