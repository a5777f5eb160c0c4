"""Lab 10, sealed: misconceptions about the loss scale."""

from typing import Any

import torch

from autograder.exercise import Misconception
from mlsys_course.memory import DynamicLossScaler


class CounterSurvivesOverflow(DynamicLossScaler):
    def _back_off(self):
        self.loss_scale *= self.backoff_factor


class CounterSurvivesGrowth(DynamicLossScaler):
    def _count_good_step(self):
        self.good_steps += 1
        if self.good_steps >= self.growth_interval:
            self.loss_scale *= self.growth_factor


class OverflowCountsAsAStep(DynamicLossScaler):
    def _back_off(self):
        self.loss_scale *= self.backoff_factor
        self._count_good_step()


class CounterRunsPastTheInterval(DynamicLossScaler):
    def _count_good_step(self):
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.loss_scale *= self.growth_factor


class GrowsOneStepLate(DynamicLossScaler):
    def _count_good_step(self):
        self.good_steps += 1
        if self.good_steps > self.growth_interval:
            self.loss_scale *= self.growth_factor
            self.good_steps = 0


class DividesByNewScale(DynamicLossScaler):
    def step(self, gradients):
        before = self.loss_scale
        unscaled = super().step(gradients)
        return unscaled and [gradient * (before / self.loss_scale) for gradient in unscaled]


class UnscalesInHalf(DynamicLossScaler):
    def step(self, gradients):
        before = self.loss_scale
        unscaled = super().step(gradients)
        return unscaled and [(gradient / before).float() for gradient in gradients]


class InfinityOnly(DynamicLossScaler):
    def step(self, gradients):
        clean = [torch.where(gradient.isnan(), 0.0, gradient) for gradient in gradients]
        unscaled, before = None, self.loss_scale
        if super().step(clean) is not None:
            unscaled = [gradient.float() / before for gradient in gradients]
        return unscaled


class NanOnly(DynamicLossScaler):
    def step(self, gradients):
        clean = [torch.where(gradient.isinf(), 0.0, gradient) for gradient in gradients]
        unscaled, before = None, self.loss_scale
        if super().step(clean) is not None:
            unscaled = [gradient.float() / before for gradient in gradients]
        return unscaled


class LooksAtTheNorm(DynamicLossScaler):
    def step(self, gradients):
        norms = [gradient.float().norm().to(gradient.dtype) for gradient in gradients]  # overflows by itself
        if all(bool(norm.isfinite()) for norm in norms):
            return super().step(gradients)
        self._back_off()
        return None


class FirstTensorOnly(DynamicLossScaler):
    def step(self, gradients):
        before = self.loss_scale
        if super().step(gradients[:1]) is None:
            return None
        return [gradient.float() / before for gradient in gradients]


class StepsAnyway(DynamicLossScaler):
    def step(self, gradients):
        before = self.loss_scale
        super().step(gradients)
        return [gradient.float() / before for gradient in gradients]


class ForgetsTheCount(DynamicLossScaler):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.good_steps = 0


class KeepsItsOwnSettings(DynamicLossScaler):
    def load_state_dict(self, state):
        self.loss_scale, self.good_steps = state["loss_scale"], state["good_steps"]


class SavesItsLiveState(DynamicLossScaler):
    def state_dict(self) -> Any:
        return vars(self)


MISCONCEPTIONS = [
    Misconception(
        "counter_survives_overflow",
        CounterSurvivesOverflow,
        "The interval counts good steps in a row: what does an overflow do to the count?",
    ),
    Misconception(
        "counter_survives_growth",
        CounterSurvivesGrowth,
        "Follow the count past the first growth: at which step may the scale grow again?",
    ),
    Misconception(
        "overflow_counts_as_a_step",
        OverflowCountsAsAStep,
        "Which steps are good? Print the count after a step that was skipped.",
    ),
    Misconception(
        "counter_runs_past_the_interval",
        CounterRunsPastTheInterval,
        "In a long calm stretch, how often does your scale grow? What is the count after the first time?",
    ),
    Misconception(
        "grows_one_step_late",
        GrowsOneStepLate,
        "With growth_interval=1 the scale grows after every good step. Does yours?",
    ),
    Misconception(
        "divides_by_new_scale",
        DividesByNewScale,
        "Which scale were these gradients multiplied with: the one before this step's update, or the one after?",
    ),
    Misconception(
        "unscales_in_half",
        UnscalesInHalf,
        "After the division some gradients are smaller than any float16. In which dtype do you divide?",
    ),
    Misconception(
        "infinity_only", InfinityOnly, "An infinity is one way for a gradient to be useless. Which is the other?"
    ),
    Misconception("nan_only", NanOnly, "A NaN is one way for a gradient to be useless. Which is the other?"),
    Misconception(
        "looks_at_the_norm",
        LooksAtTheNorm,
        "All entries may be finite where their sum or norm is not. What exactly makes a step unusable?",
    ),
    Misconception("first_tensor_only", FirstTensorOnly, "Do you look at every tensor of the list?"),
    Misconception("steps_anyway", StepsAnyway, "What does `step` return when this step's gradients cannot be used?"),
    Misconception(
        "forgets_the_count", ForgetsTheCount, "A checkpoint may fall between two growths. What must it know?"
    ),
    Misconception(
        "keeps_its_own_settings",
        KeepsItsOwnSettings,
        "The loading scaler may have been made with other arguments. Whose factors and interval hold afterwards?",
    ),
    Misconception(
        "saves_its_live_state",
        SavesItsLiveState,
        "Save a state, take some more steps, and print what you saved. Has it changed?",
    ),
]
