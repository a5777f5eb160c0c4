"""In which order a submission's exercises are asked: one that nobody can know, as far as secrecy allows."""

import random
from collections.abc import Collection

from .contract import Trusted


def drawn_order(exercises: Collection[str], trusted: Trusted) -> list[str]:
    """A random order in which no exercise follows one that could tell it its answer.

    A composite's candidate may ask its parts, and leave what they answer for whoever is asked later in the same
    sandbox: so it comes after the exercises that its parts are. Who is measured comes last, since from then on no
    process of the sandbox may start another.
    """
    drawn = list(exercises)
    random.SystemRandom().shuffle(drawn)
    return sorted(drawn, key=lambda exercise: (is_measured(exercise, trusted), _depth(exercise, drawn, trusted)))


def is_measured(exercise: str, trusted: Trusted) -> bool:
    """Whether it has a sealed call whose peak memory counts."""
    return any(call.measure_memory for call in trusted.calls(exercise))


def _depth(exercise: str, known: Collection[str], trusted: Trusted, above: tuple[str, ...] = ()) -> int:
    """0 without parts, else one more than the deepest of them."""
    if exercise not in known or exercise in above:
        return 0
    return max((1 + _depth(part, known, trusted, (*above, exercise)) for part in trusted.parts(exercise)), default=0)
