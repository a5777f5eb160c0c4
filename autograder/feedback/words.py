"""Plain words for what came out: the state of an exercise, an error's size, how late."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from markupsafe import Markup, escape

from .grades import Mark

SAID = {
    "error": "stops with an error",
    "timeout": "takes too long",
    "memory": "takes too much memory",
    "crashed": "ends Python itself",
    "missing": "not there yet",
    "forbidden": "uses a call that is not allowed here",
    "unreadable": "could not be read",
}
SYMBOLS = {"full": "✓", "some": "◐", "none": "✗", "waits": "…"}


@dataclass(frozen=True)
class State:
    """How an exercise stands: one of the kinds of SYMBOLS, and in words."""

    kind: str
    words: str

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.kind]


def state_of(mark: Mark, facts: Mapping[str, Any], *, blank: bool, unreadable: bool) -> State:
    """The gradebook decides the points, and with them the kind; what grading saw decides the words."""
    if mark.waits:
        return State("waits", "will be graded by a person")
    if unreadable and not mark.by_person:
        return State("none", SAID["unreadable"])
    kind = "full" if mark.score >= mark.max_score else "some" if mark.score > 0 else "none"
    if blank and kind == "none" and not mark.by_person:
        return State(kind, "left blank")
    if not facts["status"] or mark.by_person:
        return State(kind, "graded by a person")
    if facts["status"] in SAID:
        return State(kind, SAID[facts["status"]])
    wrong = "not the right answer" if facts["kind"] == "choice" else "not right yet"
    return State(kind, {"full": "all right", "some": "right in part", "none": wrong}[kind])


def error_html(text: str) -> Markup:
    """``1e-03`` as a power of ten; the largest stands for all that are larger."""
    match = re.fullmatch(r"1e([+-]\d+)", text)
    if not match:
        return escape({"": "", "0": "0"}.get(text, "infinite"))
    if text == "1e+00":
        return escape("1 or more")
    return Markup("10<sup>{}</sup>").format(f"{int(match[1])}".replace("-", "\u2212"))


def clock(moment: datetime | None, zone: tzinfo) -> str:
    """A gradebook's time, which is UTC and does not say so, as the course's clock shows it."""
    return "" if moment is None else f"{moment.replace(tzinfo=UTC).astimezone(zone):%Y-%m-%d %H:%M %Z}"


def span(late: timedelta) -> str:
    """A stretch of time in its two largest units; empty for none."""
    seconds = int(late.total_seconds())
    counts = {
        "day": seconds // 86400,
        "hour": seconds // 3600 % 24,
        "minute": seconds // 60 % 60,
        "second": seconds % 60,
    }
    told = [f"{count} {unit}{'s' if count > 1 else ''}" for unit, count in counts.items() if count]
    return " ".join(told[:2])


def name_html(name: str) -> Markup:
    """A name that may break after an underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def plain_text(text: str) -> Markup:
    """A docstring or a title: escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
