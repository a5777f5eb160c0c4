"""Which line of a TOML file says what: tomllib tells values, and a person needs the line."""

import re
from pathlib import Path

from ..errors import CourseError

NAME = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
DOTTED = rf"{NAME}(?:\s*\.\s*{NAME})*"
HEADER = re.compile(rf"\s*\[\[?\s*({DOTTED})\s*\]\]?")
ASSIGNMENT = re.compile(rf"\s*({DOTTED})\s*=(.*)")
LONG_STRING = re.compile(r'"""|' + r"'''")


class Lines:
    """A TOML file's text, and the line of each key: ``lines.of("labs", "lab02_attention", "due")``."""

    def __init__(self, path: Path, text: str):
        self.path, self.text = path, text
        self.known: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        inside = False  # a string of several lines
        for number, line in enumerate(text.split("\n"), 1):
            if not inside and (header := HEADER.match(line)):
                table = _parts(header[1])
                self.known.setdefault(table, number)
            elif not inside and (assignment := ASSIGNMENT.match(line)):
                self.known.setdefault((*table, *_parts(assignment[1])), number)
            inside ^= len(LONG_STRING.findall(line)) % 2 == 1

    def of(self, *path: str) -> int:
        """The line of a key, or of what it stands in: an inline table is one line."""
        while path:
            if path in self.known:
                return self.known[path]
            path = path[:-1]
        return 1

    def error(self, message: str, *path: str) -> CourseError:
        """What is wrong with a key, with file and line."""
        return CourseError(f"{self.path}:{self.of(*path)}: {message}")


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(NAME, dotted))
