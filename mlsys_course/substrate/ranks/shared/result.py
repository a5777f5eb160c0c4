"""What a run of ranks came to, whichever way they ran."""

from typing import Any, NamedTuple

from .timeline import Timeline
from .traffic import Traffic


class Run(NamedTuple):
    """What a run came to: what each rank returned, what went between them, and who did what when."""

    results: list[Any]
    traffic: Traffic
    timeline: Timeline
