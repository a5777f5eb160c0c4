"""Lab 10, sealed: exercises and points."""

from autograder.draw import Draw
from autograder.exercise import Item, Question, exercises_of
from mlsys_course import memory

from . import cases_cross_entropy, cases_loss_scaling, mistakes


def variants(draw: Draw) -> dict:
    """Nothing is drawn for the text: the rules are PyTorch's."""
    return {}


def exercises(v: dict) -> list[Item]:
    """Lab 10's items."""
    exercise = exercises_of(memory)
    steps = {"unscaling": 4, "overflow": 4, "growth": 4, "resume": 3}
    theirs = {"forbidden": ("torch.amp.GradScaler", "torch.cuda.amp.GradScaler")}
    scaler = exercise("DynamicLossScaler", steps, cases_loss_scaling.cases, mistakes.LOSS_SCALING, **theirs)
    loss = {"loss": 4, "gradients": 4, "padding": 2, "memory": 4, "device": 1}
    chunked = exercise("chunked_cross_entropy", loss, cases_cross_entropy.cases, mistakes.CROSS_ENTROPY)
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
    return [scaler, Question("why_dynamic", rubric), chunked]
