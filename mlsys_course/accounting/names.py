"""Names and numbers that a person types into a plan: taken as they are meant, or refused with what to give."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from .config import BadSize

T = TypeVar("T")


def find(field: str, name: str, choices: Mapping[str, T]) -> T:
    """``choices[name]``, whatever its case and its blanks, hyphens and underscores.

    Raises:
        BadSize: no such name; the message has the nearest one and all of them.
    """
    known = {plain(choice): choice for choice in choices}
    wanted = plain(str(name))
    if wanted in known:
        return choices[known[wanted]]
    nearest = get_close_matches(wanted, known, n=1, cutoff=0)[0]
    raise BadSize(f"{field}={name!r} is unknown; did you mean {known[nearest]!r}? Choose one of {', '.join(choices)}")


def plain(name: str) -> str:
    """A name in small letters, without blanks, hyphens, underscores and dots."""
    return "".join(letter for letter in name.lower() if letter not in " -_.")


def check_positive(field: str, value: Any, at_most: float | None = None) -> None:
    """Raises BadSize unless ``value`` is a finite number above 0, and at most ``at_most``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf") or (at_most is not None and value > at_most):
        top = "" if at_most is None else f" and at most {at_most:g}"
        raise BadSize(f"{field}={value!r}; give a number above 0{top}")
