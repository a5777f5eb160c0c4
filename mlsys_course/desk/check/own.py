"""PyTorch's own ways to look at a tensor, taken before a notebook could put others in their place.

``torch.Tensor.clone = mine`` in a notebook would have ``mine`` run wherever a checker looks at a tensor, beside the
record of what a call ran. Nobody can set an attribute of ``TensorBase``.
"""

from collections.abc import Callable
from typing import Any

import torch

_BASE: Any = torch._C.TensorBase
KINDS = (torch.Tensor, torch.nn.Parameter)
PLAIN = frozenset({bool, int, float, str, type(None)})
empty, equal, frombuffer, view_as_real = torch.empty, torch.equal, torch.frombuffer, torch.view_as_real
clone, contiguous, cpu, detach, numpy, view = (
    _BASE.clone, _BASE.contiguous, _BASE.cpu, _BASE.detach, _BASE.numpy, _BASE.view,
)  # fmt: skip
is_complex, is_conj, is_contiguous, is_neg, resolve_conj, resolve_neg = (
    _BASE.is_complex, _BASE.is_conj, _BASE.is_contiguous, _BASE.is_neg, _BASE.resolve_conj, _BASE.resolve_neg,
)  # fmt: skip
dtype_of: Callable[[torch.Tensor], torch.dtype] = _BASE.dtype.__get__
shape_of: Callable[[torch.Tensor], torch.Size] = _BASE.shape.__get__
device_of: Callable[[torch.Tensor], torch.device] = _BASE.device.__get__
_is_wrapped: Callable[[torch.Tensor], bool] = torch._C._functorch.is_functorch_wrapped_tensor  # type: ignore[attr-defined]
_function_modes, _dispatch_modes = torch._C._len_torch_function_stack, torch._C._len_torch_dispatch_stack


def nothing_between(modes: int) -> bool:
    """Whether so many modes, and no others, stand between a call and PyTorch."""
    return _function_modes() == modes and not _dispatch_modes()


def is_plain(tree: Any) -> bool:
    """Whether a tree is of Python's own classes and tensors of PyTorch's: looking at it runs nobody's code."""
    kind = type(tree)
    if kind is dict:
        return all(type(key) is str and is_plain(value) for key, value in tree.items())
    if kind is list or kind is tuple:
        return all(map(is_plain, tree))
    return not _is_wrapped(tree) if kind in KINDS else kind in PLAIN
