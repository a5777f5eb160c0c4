"""Derivatives by differences: slow, no graph needed, and the judge of every rule."""

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


def numerical_gradient(f: Function, x: Tensor) -> Tensor:
    """Central differences of a function to one number, at float64 ``x``, entry by entry.

    The step, 6e-6 times max(1, |entry|), is near the cube root of float64's precision: a longer one bends with the
    function, a shorter one drowns in rounding.
    """
    found = torch.zeros(x.numel(), dtype=torch.float64, device=x.device)
    for k, entry in enumerate(x.flatten().tolist()):
        step, there = 6e-6 * max(1.0, abs(entry)), []
        for moved in (entry + step, entry - step):
            at = x.clone().flatten()
            at[k] = moved
            there.append((float(at[k]), float(f(at.reshape(x.shape)))))
        (right, above), (left, below) = there
        found[k] = (above - below) / (right - left)
    return found.reshape(x.shape)


def check_gradient(f: Function, x: Tensor, claimed: Tensor) -> tuple[Tensor, bool]:
    """The numerical gradient, and whether ``claimed`` agrees with it. Lab 5, exercise ``check_gradient``.

    It agrees if it has x's shape and no entry is off by more than 1e-5 times the largest numerical one.
    """
    numerical = numerical_gradient(f, x)
    if claimed.shape != x.shape:
        return numerical, False
    largest = float(numerical.abs().max()) if x.numel() else 0.0
    return numerical, bool(((claimed - numerical).abs() <= 1e-5 * largest).all())


def complex_step(f: Function, x: Tensor, step: float = 1e-30) -> Tensor:
    """The imaginary part of f(x + i step) / step: exact to rounding, as nothing is subtracted.

    For analytic functions of complex128 tensors: no relu, no maximum, no comparison, no absolute value.
    Source: Squire and Trapp 1998.
    """
    found = torch.zeros(x.numel(), dtype=torch.float64, device=x.device)
    for k in range(x.numel()):
        at = x.to(torch.complex128).flatten()
        at[k] += 1j * step
        found[k] = f(at.reshape(x.shape)).imag / step
    return found.reshape(x.shape)
