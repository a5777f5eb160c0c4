"""What a traced function is handed: a variable that says where somebody tries to change it."""

from collections.abc import Sequence
from typing import Any

import torch

from .node import GraphError, Kind, Node, Variable, made_at, place


class Argument(Node):
    """A variable that refuses to be updated in place. A plain node's ``x += 1`` makes another node, and the caller's
    tensor, which the function would have changed, stays as it was."""

    __slots__ = ()

    def _refuse(self, *_: Any) -> Any:
        raise GraphError(
            f"{self.label} is updated in place, at {place(made_at())}: the caller would see it; write x = x + 1"
        )

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = __imatmul__ = __setitem__ = _refuse


def argument(name: str, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> Node:
    """As ``variable``, and what is written to it is refused."""
    return Argument(Variable(name), (), Kind(tuple(shape), dtype))
