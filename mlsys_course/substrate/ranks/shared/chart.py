"""Drawings of a run: who computed, waited and sent when. In a file of its own, since matplotlib takes a second."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ...plot import COLOURS, figure
from .result import Run
from .timeline import Event
from .traffic import Message

HATCHES = ("", "//", "..", "xx", "\\\\", "++")  # so that stretches differ by more than colour
WAIT = "#DDDDDD"
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
MOST_ARROWS = 400


def gantt(
    run: Run, *, ranks: Sequence[int] | None = None, arrows: bool | None = None, width: float = 8.0, title: str = ""
) -> Figure:
    """A bar for each rank: in colour and hatched by label what it computed and the spans it named, in grey where it
    waited.

    Arrows go from where a message was sent to where it was received; None draws them where there are at most 400.
    ``ranks`` chooses which ranks to draw.
    """
    shown = list(range(run.timeline.world_size)) if ranks is None else list(ranks)
    rows = {rank: row for row, rank in enumerate(shown)}
    scale, unit = _unit(run.timeline.seconds)
    fig, (ax,) = figure(width=width, height=max(1.6, 0.8 + 0.42 * min(len(shown), 24)))
    named = _labels(run, rows)
    for event in run.timeline.events:
        if event.rank in rows:
            _bar(ax, event, rows[event.rank], scale, named)
    messages = [m for m in run.traffic.messages if m.sender in rows and m.receiver in rows]
    if arrows or (arrows is None and len(messages) <= MOST_ARROWS):
        for message in messages:
            _arrow(ax, message, rows, scale)
    ax.set(
        title=title, xlabel=f"time, {unit}", xlim=(0, run.timeline.seconds / scale or 1), ylim=(len(shown) - 0.4, -0.6)
    )
    every = max(1, math.ceil(len(shown) / 24))
    ax.set_yticks(range(0, len(shown), every), [f"rank {rank}" for rank in shown[::every]])
    keys = [Patch(facecolor=c, hatch=h, edgecolor="white", label=name) for name, (c, h) in named.items()]
    ax.legend(handles=[*keys, Patch(facecolor=WAIT, label="waiting")], loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def _labels(run: Run, rows: dict[int, int]) -> dict[str, tuple[str, str]]:
    """A colour and a hatch for each label, in the order in which they first appear."""
    found = dict.fromkeys(e.label for e in run.timeline.events if e.kind != "wait" and e.rank in rows)
    return {name: (COLOURS[n % len(COLOURS)], HATCHES[n % len(HATCHES)]) for n, name in enumerate(found)}


def _bar(ax: Axes, event: Event, row: int, scale: float, named: dict[str, tuple[str, str]]) -> None:
    start, length = event.start / scale, (event.end - event.start) / scale
    if event.kind == "wait":
        ax.barh(row, length, 0.5, start, color=WAIT, zorder=1)
        return
    colour, hatch = named[event.label]
    # A span is a thin line over the bar: what it covers may be computing, waiting, or work that nobody was told of.
    if event.kind == "span":
        ax.barh(row - 0.34, length, 0.12, start, color=colour, zorder=2)
    else:
        ax.barh(row, length, 0.5, start, color=colour, hatch=hatch, edgecolor="white", linewidth=0.3, zorder=2)


def _arrow(ax: Axes, message: Message, rows: dict[int, int], scale: float) -> None:
    if math.isnan(message.received):
        return
    ends = (message.sent / scale, rows[message.sender]), (message.received / scale, rows[message.receiver])
    style = {"arrowstyle": "->", "color": "#444444", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", ends[1], ends[0], arrowprops=style, zorder=3)


def _unit(seconds: float) -> tuple[float, str]:
    """The unit in which a run's length is a number above one."""
    return next(((size, name) for size, name in UNITS if seconds >= size), UNITS[-1])
