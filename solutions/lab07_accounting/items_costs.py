"""Lab 7, sealed: the exercises on FLOPs and memory, parts 2 and 3."""

from autograder.exercise import Exercise
from mlsys_course.accounting import peak_memory

from . import cases_costs as cases
from . import mistakes_activations as activations
from . import mistakes_flops as flops
from . import mistakes_memory as memory
from . import references_costs as right
from .item import exercise


def core() -> list[Exercise]:
    """FLOPs, states, activations."""
    layers = {"layers": 5, "pairs": 5, "head": 2}
    twice = {"backward": 2, "selective": 1, "full": 2, "fused": 2, "six_nd": 1}
    states = {"plain": 2, "mixed": 3, "autocast": 2}
    kept = {"network": 5, "attention": 6, "checkpointing": 4, "total": 3}
    return [
        exercise(right.forward_flops, layers, cases.forward_cases, flops.FORWARD, "flops"),
        exercise(right.training_flops, twice, cases.training_cases, flops.TRAINING, "flops"),
        exercise(right.model_states, states, cases.states_cases, memory.STATES, "memory"),
        exercise(right.activation_bytes, kept, cases.activation_cases, activations.ACTIVATIONS, "memory"),
    ]


def extensions() -> list[Exercise]:
    """Inference, the peak of a timeline."""
    cache, peak = {"cache": 3, "largest_batch": 3}, {"peak": 4, "blocks": 2}
    return [
        exercise(right.kv_cache, cache, cases.cache_cases, memory.CACHE, "memory", "extension"),
        exercise(peak_memory, peak, cases.peak_cases, memory.PEAK, "tape", "extension"),
    ]
