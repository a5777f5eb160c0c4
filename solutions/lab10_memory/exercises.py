"""Lab 10, sealed: cases, misconceptions, points."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Exercise, Given, Item, Misconception, Question
from mlsys_course.memory import DynamicLossScaler


def variants(draw: Draw) -> dict:
    """Nothing is drawn for the text: the rule is PyTorch's."""
    return {}


class CounterSurvivesOverflow(DynamicLossScaler):
    def _back_off(self):
        self.loss_scale *= self.backoff_factor


class CounterSurvivesGrowth(DynamicLossScaler):
    def _count_good_step(self):
        self.good_steps += 1
        if self.good_steps >= self.growth_interval:
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


def settings(draw: Draw, **fixed: float) -> dict[str, float]:
    """Constructor arguments: powers of two unless ``fixed``."""
    drawn = {
        "initial_scale": 2.0 ** draw.integer(12, 15),
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": draw.integer(3, 5),
    }
    return {**drawn, **fixed}


def gradients(draw: Draw, low: float = -28.0, high: float = -16.0) -> list[torch.Tensor]:
    """Gradients of three parameters as a model has them: magnitudes spread over many powers of two."""
    shapes = [(draw.integer(2, 5), draw.integer(2, 5)), (draw.integer(3, 9),), ()]
    return [
        torch.exp2(draw.uniform(*shape, low=low, high=high)) * torch.where(draw.uniform(*shape) < 0.5, -1.0, 1.0)
        for shape in shapes
    ]


def steps(draw: Draw, pattern: str, **magnitude: float) -> list[dict[str, Any]]:
    """A step for each letter: ``g`` good, ``+`` or ``-`` an infinity, ``n`` a NaN; capitals in the last tensor."""
    found = []
    for letter in pattern:
        tensors = gradients(draw, **magnitude)
        poison = {"+": math.inf, "-": -math.inf, "n": math.nan, "P": math.inf, "N": math.nan}.get(letter)
        if poison is not None:
            flat = tensors[-1 if letter.isupper() else 0].view(-1)
            flat[draw.integer(0, len(flat) - 1)] = poison
        found.append({"loss": draw.uniform(low=0.5, high=4.0), "gradients": tensors})
    return found


def case(
    name: str,
    aspect: str,
    returns: Sequence[str],
    settings: dict[str, float],
    steps: list[dict[str, Any]],
    public: bool = False,
    dtype: str = "float16",
    **more: int,
) -> Given:
    inputs = {"settings": settings, "steps": steps, "dtype": dtype, "unit": 2.0**28, "returns": list(returns), **more}
    return Given(name, aspect, inputs, public)


def cases(draw: Draw) -> list[Given]:
    """By aspect: unscaling, overflow, growth, resume."""
    value, flag, scale = ["scaled_loss", "gradients"], ["skipped", "loss_scale"], ["loss_scale"]
    calm = settings(draw, growth_interval=100)
    s, huge = settings(draw), settings(draw, initial_scale=2.0**30, growth_interval=40)
    interval = int(s["growth_interval"])
    few, early = draw.integer(1, interval - 1), draw.integer(1, interval - 1)
    broken = "g" * few + "+" + "g" * (2 * interval + 1)
    kinds = "".join(draw.shuffled("+-nPNgg"))
    top = 15.9 - math.log2(calm["initial_scale"])  # finite in float16, and just so
    return [
        case("first steps", "unscaling", value, calm, steps(draw, "ggg"), True),
        case("over growths", "unscaling", ["gradients"], s, steps(draw, "g" * (2 * interval + 2)), True),
        case("bfloat16", "unscaling", value, calm, steps(draw, "ggg", low=-40.0), dtype="bfloat16"),
        case("float32", "unscaling", value, calm, steps(draw, "gg"), dtype="float32"),
        case("infinities and NaN", "overflow", flag, calm, steps(draw, "g" + kinds + "g"), True),
        case("large but finite", "overflow", flag, calm, steps(draw, "ggg", low=top - 0.3, high=top), True),
        case("all overflow", "overflow", flag, calm, steps(draw, "".join(draw.shuffled("+-nPN")))),
        case("one NaN", "overflow", [*flag, "gradients"], calm, steps(draw, "gNg")),
        case("scale far too large", "overflow", flag, huge, steps(draw, "g" * 24, low=-13.0, high=-9.0)),
        case("good steps only", "growth", scale, s, steps(draw, "g" * (3 * interval + 1)), True),
        case("overflow breaks a count", "growth", scale, s, steps(draw, broken), True),
        case("overflow after a growth", "growth", scale, s, steps(draw, "g" * interval + "+" + "g" * interval)),
        case("interval of one", "growth", scale, settings(draw, growth_interval=1), steps(draw, "gg+ggPg")),
        case(
            "no powers of two",
            "growth",
            scale,
            settings(
                draw, initial_scale=1000.0, growth_factor=draw.number(1.2, 1.9), backoff_factor=draw.number(0.2, 0.7)
            ),
            steps(draw, "".join(draw.shuffled("g" * 16 + "++"))),
        ),
        case("checkpoint inside a count", "resume", flag, s, resumed(draw, early, interval), True, resume_at=early),
        case("checkpoint before any step", "resume", flag, s, resumed(draw, 0, interval), resume_at=0),
        case(
            "checkpoint after an overflow",
            "resume",
            flag,
            s,
            steps(draw, "g" * interval + "+" + "g" * (interval - 1) + "g+" + "g" * interval),
            resume_at=interval + 2,
        ),
    ]


def resumed(draw: Draw, done: int, interval: int) -> list[dict[str, Any]]:
    """``done`` steps, then growth soon, an overflow, and another growth."""
    return steps(draw, "g" * done + "g" * (interval - done) + "+" + "g" * (2 * interval + 1))


def exercises(v: dict) -> list[Item]:
    """Lab 10's items."""
    scaler = Exercise(
        id="DynamicLossScaler",
        component="mlsys_course.memory.DynamicLossScaler",
        reference=DynamicLossScaler,
        points={"unscaling": 4, "overflow": 4, "growth": 4, "resume": 3},
        cases=cases,
        misconceptions=MISCONCEPTIONS,
        forbidden=("torch.amp.GradScaler", "torch.cuda.amp.GradScaler"),
    )
    rubric = [
        (2, "quotes from the figure what is lost without a scale and what is left of that loss with it"),
        (
            2,
            "explains both errors of a fixed scale: too small loses gradients, too large overflows; and the drift",
        ),
        (
            2,
            "says why bfloat16 does without (float32's exponent range) and what it pays (8 bits of significand for 11)",
        ),
    ]
    return [scaler, Question("why_dynamic", rubric)]
