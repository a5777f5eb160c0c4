"""Lab 10, sealed: exercises and points. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Item, Question, exercises_of
from mlsys_course import memory

from . import (
    cases_checkpoints,
    cases_cross_entropy,
    cases_layout,
    cases_loss_scaling,
    cases_steps,
    mistakes_checkpoints,
    mistakes_layout,
    mistakes_scaling,
    mistakes_steps,
)
from .extensions import extensions


def variants(draw: Draw) -> dict[str, Any]:
    """Sizes of a model, and what its states take, for the choice."""
    billions, rank = draw.choice([3, 7, 13, 30]), draw.choice([4, 8, 16])
    thousands = draw.integer(2, 9)  # adapters hold a thousandth as many numbers, times this
    trained = billions * 1e-3 * thousands  # in 1e9
    answers = [2 * billions + 16 * trained, 16 * billions, 16 * trained, 2 * billions + 4 * trained]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": f"{answers[i]:,.2f} GB" for letter, i in zip("abcd", order, strict=True)}
    numbers = {"billions": billions, "rank": rank, "millions": f"{1e3 * trained:,.0f}"}
    return {**numbers, **options, "memory_answer": "abcd"[order.index(0)]}


def exercises(v: dict) -> list[Item]:
    """Lab 10's items."""
    exercise = exercises_of(memory)
    scaling = {"unscaling": 4, "overflow": 4, "growth": 4, "resume": 3}
    theirs = {"forbidden": ("torch.amp.GradScaler", "torch.cuda.amp.GradScaler")}
    loss = {"loss": 4, "gradients": 4, "padding": 2, "memory": 4, "device": 1}
    pieces = {"loss": 2, "gradients": 4, "no_sync": 2, "memory": 2}
    step = {"update": 3, "masters": 3, "overflow": 2, "clipping": 2}
    tight = {"tolerance": {"float16": 2e-5, "bfloat16": 2e-5}}  # masters are float32
    again = {"values": 2, "chance": 3, "arguments": 3, "context": 1, "memory": 3}
    schedule = {"least": 4, "limit": 4, "edges": 2}
    layout = {"rounding": 2, "best fit": 3, "coalescing": 3, "full": 3}
    lora = {"forward": 2, "training": 2, "merging": 2, "misuse": 2, "device": 1}
    library = {"forbidden": ("torch.utils.checkpoint", "torch.utils.checkpoint.checkpoint")}
    s, c = mistakes_steps, mistakes_checkpoints
    rubric = [
        (2, "quotes from the figure what is lost without a scale and what is left of that loss with it"),
        (2, "explains both errors of a fixed scale: too small loses gradients, too large overflows; and the drift"),
        (2, "says why bfloat16 does without (float32's exponents) and what it pays (8 bits of significand for 11)"),
    ]
    return [
        exercise("accumulate", pieces, cases_steps.accumulate_cases, s.ACCUMULATE),
        exercise("DynamicLossScaler", scaling, cases_loss_scaling.cases, mistakes_scaling.LOSS_SCALING, **theirs),
        exercise("MixedPrecisionStep", step, cases_steps.mixed_cases, s.MIXED, **theirs, **tight),
        Question("why_dynamic", rubric),
        exercise("chunked_cross_entropy", loss, cases_cross_entropy.cases, mistakes_scaling.CROSS_ENTROPY),
        exercise("checkpoint", again, cases_checkpoints.checkpoint_cases, c.CHECKPOINT, **library),
        exercise("optimal_checkpoints", schedule, cases_checkpoints.schedule_cases, c.SCHEDULE),
        exercise("CachingAllocator", layout, cases_layout.allocator_cases, mistakes_layout.ALLOCATOR),
        exercise("LoRALinear", lora, cases_layout.lora_cases, mistakes_layout.LORA),
        Choice("memory_choice", 2, options=list("abcd"), answer=v["memory_answer"]),
        *extensions(),
    ]
