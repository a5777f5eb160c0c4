"""Lab 8, sealed: exercises and points. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Item

from .exercises_wire import wire_exercises


def variants(draw: Draw) -> dict[str, Any]:
    """Nothing is drawn for the text."""
    return {}


def exercises(v: dict) -> list[Item]:
    """Lab 8's items."""
    return [*wire_exercises()]
