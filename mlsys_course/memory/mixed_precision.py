"""A training step with 16-bit weights: float32 masters are what the optimizer moves."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Scaler(Protocol):
    """What ``DynamicLossScaler`` has."""

    def step(self, gradients: Sequence[Tensor]) -> Sequence[Tensor] | None: ...


class MixedPrecisionStep:
    """The step after a 16-bit backward pass: unscale, clip, update float32 masters, round them into the parameters.

    ``parameters`` are the model's, floating-point leaves of any dtypes; ``masters``, in the same order, are float32
    copies, and ``make_optimizer(masters)`` returns who updates them: its ``step()`` reads their ``.grad``. With
    ``scaler`` the loss was scaled; ``max_norm`` bounds the norm of all unscaled gradients together.

    >>> scaler.scale(loss(model(x), y)).backward()
    >>> mixed.step()

    Source: Micikevicius et al. 2018, sections 3.1 and 3.2. Lab 10, exercise ``MixedPrecisionStep``.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        make_optimizer: Callable[[list[Tensor]], Any],
        scaler: Scaler | None = None,
        max_norm: float | None = None,
    ):
        self.parameters = list(parameters)
        self.masters = [parameter.detach().clone().float().requires_grad_() for parameter in self.parameters]
        self.optimizer = make_optimizer(self.masters)
        self.scaler, self.max_norm = scaler, max_norm

    def step(self) -> bool:
        """Takes the parameters' ``.grad``, which are None afterwards; False where the scaler had the step skipped.

        A parameter without ``.grad`` has no part in the step: its master's ``.grad`` is None.
        """
        used = [pair for pair in zip(self.parameters, self.masters, strict=True) if pair[0].grad is not None]
        scaled = [parameter.grad for parameter, _ in used if parameter.grad is not None]
        for parameter in self.parameters:
            parameter.grad = None
        gradients = self.scaler.step(scaled) if self.scaler else [gradient.float() for gradient in scaled]
        if gradients is None:
            return False
        for (_, master), gradient in zip(used, self._clipped(gradients), strict=True):
            master.grad = gradient
        self.optimizer.step()
        with torch.no_grad():
            for parameter, master in used:
                parameter.copy_(master)
                master.grad = None
        return True

    def _clipped(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """All made shorter by one factor where they are longer than ``max_norm`` together."""
        if self.max_norm is None or not gradients:
            return gradients
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        factor = (self.max_norm / norm).clamp(max=1.0) if norm > 0 else 1.0
        return [gradient * factor for gradient in gradients]
