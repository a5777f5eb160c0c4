"""Names and numbers that a person types into a plan: taken as they are meant, or refused with what to give."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from ..substrate.model_config import BadSize

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
