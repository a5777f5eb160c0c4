"""Lab 10, sealed: exercises and points."""

from autograder.draw import Draw
from autograder.exercise import Exercise, Item, Question
from mlsys_course.memory import DynamicLossScaler, chunked_cross_entropy

from . import cases_cross_entropy, cases_loss_scaling, mistakes_cross_entropy, mistakes_loss_scaling


def variants(draw: Draw) -> dict:
    """Nothing is drawn for the text: the rules are PyTorch's."""
    return {}


def exercises(v: dict) -> list[Item]:
    """Lab 10's items."""
    scaler = Exercise(
        id="DynamicLossScaler",
        component="mlsys_course.memory.DynamicLossScaler",
        reference=DynamicLossScaler,
        points={"unscaling": 4, "overflow": 4, "growth": 4, "resume": 3},
        cases=cases_loss_scaling.cases,
        misconceptions=mistakes_loss_scaling.MISCONCEPTIONS,
        forbidden=("torch.amp.GradScaler", "torch.cuda.amp.GradScaler"),
    )
    loss = Exercise(
        id="chunked_cross_entropy",
        component="mlsys_course.memory.chunked_cross_entropy",
        reference=chunked_cross_entropy,
        points={"loss": 4, "gradients": 5, "padding": 2, "memory": 4},
        cases=cases_cross_entropy.cases,
        misconceptions=mistakes_cross_entropy.MISCONCEPTIONS,
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
    return [scaler, Question("why_dynamic", rubric), loss]
