"""What drivers say of a function that is differentiated: its outputs, and their gradients by its inputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .tree import Tree


def with_gradients(
    function: Callable[..., Any], case: Mapping[str, Tree], names: Sequence[str], of: Sequence[str] = ("output",)
) -> dict[str, Tree]:
    """What ``function`` returns for ``names`` of the case, by name; a single tensor is "output".

    Where the case brings a "cotangent", also the gradients of (output * cotangent).sum(): "gradient_x" by x, zeros
    where an input is not used. With several names in ``of`` the cotangent holds theirs side by side.

    Raises:
        ValueError: an output in ``of`` that is no tensor, has another shape or is cut off from the inputs.
    """
    if "cotangent" not in case:
        return _named(function(*(case[name] for name in names)))
    leaves = [case[name].clone().requires_grad_() for name in names]
    outputs = _named(function(*leaves))
    cotangents = case["cotangent"].chunk(len(of), dim=-1) if len(of) > 1 else [case["cotangent"]]
    for name, cotangent in zip(of, cotangents, strict=True):
        _check(name, outputs[name], cotangent)
    found = torch.autograd.grad([outputs[name] for name in of], leaves, cotangents, materialize_grads=True)
    return {**outputs, **{f"gradient_{name}": gradient for name, gradient in zip(names, found, strict=True)}}


def _named(result: Any) -> dict[str, Tree]:
    return dict(result) if isinstance(result, Mapping) else {"output": result}


def _check(name: str, output: Any, cotangent: Tensor) -> None:
    if not isinstance(output, Tensor):
        raise ValueError(f"{name} is a {type(output).__name__}, expected a tensor")
    if output.shape != cotangent.shape:
        raise ValueError(f"{name} has shape {tuple(output.shape)}, expected {tuple(cotangent.shape)}")
    if not output.requires_grad:
        raise ValueError(f"no gradient flows through your result ({name}); it was cut off from the inputs")
