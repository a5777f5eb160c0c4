"""Text from students on its way to people: one place that makes it safe for a terminal, a page and a spreadsheet.

Whatever a student may choose (names of files, text of a notebook, an error's words) comes through here, so that no
terminal obeys it, no page or log hides or turns round what stands there, and no spreadsheet computes it.
"""

import logging
import unicodedata
from typing import Any

from markupsafe import Markup

from mlsys_course.desk.screen import printable

FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20|%"  # what a spreadsheet may take for a formula's beginning, full-width too
TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}  # the text after it reads the other way, or stops doing so


def spelt(name: str) -> str:
    """A name of a student's choice: letters that only look like others are spelt out."""
    return ascii(name)[1:-1][:80]


def for_page(value: Any) -> Any:
    """What a template shows: without characters that nobody sees; what is HTML already stays as it is."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join("\ufffd" if _hides(c) else c for c in value)


def _hides(c: str) -> bool:
    control = unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\r\t"
    return control or ord(c) in TURNING or ord(c) >= 0xE0000


def for_sheet(value: Any) -> Any:
    """A cell of a table that somebody may open in a spreadsheet; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    first = unicodedata.normalize("NFKC", text).lstrip()[:1]
    return f"'{text}" if first and first in FORMULA else text


class PlainFormatter(logging.Formatter):
    """A log's lines: a message stays on its line, and says what it says."""

    def format(self, record: logging.LogRecord) -> str:
        """Each line of it printable."""
        return "\n".join(map(printable, super().format(record).split("\n")))
