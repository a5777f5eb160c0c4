"""The console of both command lines: whatever is printed on it, a terminal obeys nobody but us."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

KEPT = "\n\t"


def printable(text: str, kept: str = "") -> str:
    """Without what a terminal would obey, or a reader could not see."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else "\ufffd" for c in text)


class PlainConsole(Console):
    """Shows control characters that stand in texts, instead of sending them; colours and cursor are rich's own."""

    def __init__(self, **options: Any):
        super().__init__(emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders, its texts printable."""
        for segment in super().render(renderable, options):
            clean = segment.control or segment.text.isprintable()
            yield segment if clean else Segment(printable(segment.text, KEPT), segment.style)
