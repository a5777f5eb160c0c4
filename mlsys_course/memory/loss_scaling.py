"""Mixed precision's loss scale: keep float16 gradients inside float16's range."""

import math
from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST = torch.finfo(torch.float32).max  # of a scale


class ScalerState(TypedDict):
    """All that a scaler needs to go on from a checkpoint: plain numbers."""

    loss_scale: float
    growth_factor: float
    backoff_factor: float
    growth_interval: int
    good_steps: int


class DynamicLossScaler:
    """Multiply the loss before backward, divide the gradients after it, and find the factor while training.

    A step whose gradients hold an infinity or a NaN is skipped, and the scale multiplied by ``backoff_factor``; after
    ``growth_interval`` good steps in a row it is multiplied by ``growth_factor``. Both restart the count.
    Source: Micikevicius et al. 2018, section 3.2; the rule is ``torch.amp.GradScaler``'s.
    Lab 10, exercise ``DynamicLossScaler``.

    Raises:
        ValueError: a scale, factor or interval with which the scale could not move both ways.
    """

    def __init__(
        self,
        initial_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ):
        if not (math.isfinite(initial_scale) and initial_scale > 0):
            raise ValueError(f"initial_scale={initial_scale} must be positive and finite; 2.0**16 is usual")
        if not growth_factor > 1:
            raise ValueError(f"growth_factor={growth_factor} must be more than 1; 2.0 is usual")
        if not 0 < backoff_factor < 1:
            raise ValueError(f"backoff_factor={backoff_factor} must be between 0 and 1; 0.5 is usual")
        if growth_interval < 1:
            raise ValueError(f"growth_interval={growth_interval} must be at least 1 step; 2000 is usual")
        self.loss_scale = float(initial_scale)
        self.growth_factor = growth_factor
        self.backoff_factor = backoff_factor
        self.growth_interval = growth_interval
        self.good_steps = 0  # since the last change of the scale

    def scale(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The loss to call ``backward`` on."""
        return loss * self.loss_scale

    def step(self, gradients: Sequence[Tensor]) -> list[Tensor] | None:
        """The gradients of the unscaled loss, in float32; None where this step must be skipped. Moves the scale."""
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            self._back_off()
            return None
        # To float32 first: divided in float16, what the scale saved from underflow would underflow here.
        unscaled = [gradient.float() / self.loss_scale for gradient in gradients]
        self._count_good_step()
        return unscaled

    def _back_off(self) -> None:
        self.loss_scale *= self.backoff_factor
        self.good_steps = 0

    def _count_good_step(self) -> None:
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            grown = self.loss_scale * self.growth_factor
            self.loss_scale = grown if grown <= LARGEST else self.loss_scale
            self.good_steps = 0

    def state_dict(self) -> ScalerState:
        """The state, to be saved with the model's and the optimizer's."""
        return ScalerState(
            loss_scale=self.loss_scale,
            growth_factor=self.growth_factor,
            backoff_factor=self.backoff_factor,
            growth_interval=self.growth_interval,
            good_steps=self.good_steps,
        )

    def load_state_dict(self, state: ScalerState) -> None:
        """Go on where ``state`` was taken, whatever this scaler was made with."""
        self.loss_scale = state["loss_scale"]
        self.growth_factor = state["growth_factor"]
        self.backoff_factor = state["backoff_factor"]
        self.growth_interval = state["growth_interval"]
        self.good_steps = state["good_steps"]
