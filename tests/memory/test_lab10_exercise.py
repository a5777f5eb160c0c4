"""Lab 10's exercise: what it expects is what ``torch.amp.GradScaler`` does, and any right class passes it."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autograder.cases import only_mistakes, outcome_of
from autograder.course import load_package
from autograder.draw import Draw
from autograder.exercise import Exercise
from mlsys_course.desk.check import Case, Specification, Verdict, judge, run_case
from mlsys_course.desk.check.edition import load_drivers

LAB = Path(__file__).parents[2] / "solutions" / "lab10_memory"
EXERCISE: Exercise = load_package(LAB).exercises({"memory_answer": "a"})[1]
DRIVER = load_drivers(LAB)["DynamicLossScaler"]
NAMES = {"initial_scale": "init_scale"}


class PyTorchsScaler:
    """``torch.amp.GradScaler`` behind the exercise's interface."""

    def __init__(self, **settings: float):
        renamed: dict[str, Any] = {NAMES.get(name, name): value for name, value in settings.items()}
        self.scaler = torch.amp.GradScaler("cpu", **renamed)
        self.state_dict, self.load_state_dict = self.scaler.state_dict, self.scaler.load_state_dict

    @property
    def loss_scale(self) -> float:
        return self.scaler.get_scale()

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return self.scaler.scale(loss)

    def step(self, gradients: list[torch.Tensor]) -> list[torch.Tensor] | None:
        parameters = [torch.nn.Parameter(torch.zeros(gradient.shape)) for gradient in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.float().clone()
        one_more = torch.nn.Parameter(torch.zeros(()))  # an optimizer wants a parameter
        one_more.grad = torch.zeros(())
        optimizer, stepped = torch.optim.SGD([*parameters, one_more]), []
        optimizer.register_step_post_hook(lambda *_: stepped.append(True))
        self.scaler.scale(torch.zeros(()))  # it wants to have scaled something before
        self.scaler.step(optimizer)
        self.scaler.update()
        return [p.grad for p in parameters if p.grad is not None] if stepped else None


class ScaleInATensor:
    """Another right way: state in float32 tensors, a reciprocal for the division, every entry checked in a loop."""

    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.loss_scale = torch.tensor(initial_scale, dtype=torch.float32)
        self.settings = [growth_factor, backoff_factor, growth_interval]
        self.until_growth = growth_interval

    def scale(self, loss):
        return torch.mul(loss, self.loss_scale)

    def step(self, gradients):
        wide = [gradient.to(torch.float64) for gradient in gradients]
        if any(x != x or abs(x) == float("inf") for gradient in wide for x in gradient.flatten().tolist()):
            self.loss_scale = self.loss_scale * self.settings[1]
            self.until_growth = self.settings[2]
            return None
        found = tuple((gradient * self.loss_scale.double().reciprocal()).float() for gradient in wide)
        self.until_growth -= 1
        if not self.until_growth:
            self.loss_scale = self.loss_scale * self.settings[0]
            self.until_growth = self.settings[2]
        return found

    def state_dict(self):
        return {"all": [self.loss_scale.item(), self.until_growth, *self.settings]}

    def load_state_dict(self, state):
        scale, self.until_growth, *self.settings = state["all"]
        self.loss_scale = torch.tensor(scale)


@functools.cache
def specification(secret: bytes) -> Specification:
    """All sealed cases, where GradScaler says what is right."""
    cases = []
    for given in EXERCISE.cases(Draw(secret, "lab10_memory", "DynamicLossScaler", "sealed")):
        right = run_case(DRIVER, PyTorchsScaler, given.inputs)
        assert not right.problem, right.words
        mistakes = {
            m.name: outcome_of(DRIVER, EXERCISE, m.candidate, given.inputs, {}, {}) for m in EXERCISE.misconceptions
        }
        cases.append(Case(given.name, given.aspect, given.inputs, right.outputs, mistakes))
    hints = {m.name: m.hint for m in EXERCISE.misconceptions}
    whole = Specification(EXERCISE.id, EXERCISE.kind, EXERCISE.points, cases, hints)
    return replace(whole, cases=[only_mistakes(whole, case, DRIVER) for case in cases])


def verdict(candidate: Any, secret: bytes) -> Verdict:
    cases = specification(secret).cases
    return judge(specification(secret), {c.name: run_case(DRIVER, candidate, c.inputs) for c in cases}, DRIVER)


@pytest.mark.parametrize("secret", [b"one term's", b"another term's"])
@pytest.mark.parametrize("candidate", [EXERCISE.reference, ScaleInATensor])
def test_a_right_class_scores_full_marks(candidate: Any, secret: bytes) -> None:
    found = verdict(candidate, secret)
    assert found.ok and found.score == found.max_score == 15, [r.wrong for r in found.results if not r.ok]


@pytest.mark.parametrize("mistake", EXERCISE.misconceptions, ids=lambda mistake: mistake.name)
def test_a_misconception_keeps_the_points_of_what_is_right(mistake: Any) -> None:
    found = verdict(mistake.candidate, b"one term's")
    assert 0 < found.score < found.max_score


class SumsToSee(EXERCISE.reference):
    """One way to look at a sum instead of at every entry."""

    def step(self, gradients: list[torch.Tensor]) -> list[torch.Tensor] | None:
        if all(bool(gradient.sum().isfinite()) for gradient in gradients):
            return super().step(gradients)
        self._back_off()
        return None


class CountsEveryStep(EXERCISE.reference):
    """The count moves before the gradients are looked at, and an overflow does not touch it."""

    def step(self, gradients: list[torch.Tensor]) -> list[torch.Tensor] | None:
        used = self.loss_scale
        overflow = any(bool(gradient.isfinite().logical_not().any()) for gradient in gradients)
        if overflow:
            self.loss_scale *= self.backoff_factor
        self._count_good_step()
        return None if overflow else [gradient.float() / used for gradient in gradients]


class NeverResets(EXERCISE.reference):
    def _count_good_step(self) -> None:
        self.good_steps += 1
        self.loss_scale *= self.growth_factor if self.good_steps == self.growth_interval else 1


@pytest.mark.parametrize("secret", [b"one term's", b"another term's"])
@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (CountsEveryStep, "overflow_counts_as_a_step"),
        (NeverResets, "counter_runs_past_the_interval"),
    ],
)
def test_another_way_to_make_a_mistake_gets_its_hint(candidate: Any, name: str, secret: bytes) -> None:
    assert verdict(candidate, secret).misconceptions[0] == name


def test_what_comes_to_something_else_gets_no_hint() -> None:
    """Sums overflow elsewhere than norms do: the hint would be near, and is not this one's."""
    found = verdict(SumsToSee, b"one term's")
    assert not found.ok and found.misconceptions == []


def test_a_scale_that_is_no_power_of_two_is_told_though_it_is_within_tolerance() -> None:
    class Sloppy(EXERCISE.reference):
        def _back_off(self) -> None:
            self.loss_scale *= self.backoff_factor * (1 + 1e-6)
            self.good_steps = 0

    found = verdict(Sloppy, b"one term's")
    assert any(word.startswith("a power of two") for result in found.results for word in result.wrong)


def test_a_scale_that_cuts_the_graph_is_told_so() -> None:
    class Detached(EXERCISE.reference):
        def scale(self, loss: torch.Tensor) -> torch.Tensor:
            return torch.tensor(loss.item() * self.loss_scale)

    found = verdict(Detached, b"one term's")
    assert found.status == "error" and "does not require grad" in found.results[0].wrong[0]


def test_a_tensor_in_the_checkpoint_costs_only_the_part_that_resumes() -> None:
    class TensorState(EXERCISE.reference):
        def state_dict(self) -> Any:
            return {**super().state_dict(), "loss_scale": torch.tensor(self.loss_scale)}

    found = verdict(TensorState, b"one term's")
    assert found.score == 12
    assert {result.aspect for result in found.results if not result.ok} == {"resume"}
