"""A loss that one can watch, and stop: what a training cell shows while it runs."""

import math
import time
from typing import Any

from matplotlib.figure import Figure

from .plot import COLOURS, figure

EVERY = 3.0  # seconds from one picture to the next
WIDTH = 20  # steps that the thick line is a mean of


class LossCurve:
    """Losses over ``seconds`` of training; in a notebook a figure under the cell that moves every three seconds.

    The clock starts when the curve is made. An interrupt is the cell's to catch: the curve has what came before.
    """

    def __init__(self, seconds: float, label: str = "loss (nats a token)"):
        self.seconds, self.label = seconds, label
        self.times: list[float] = []
        self.losses: list[float] = []
        self.start, self.shown = time.perf_counter(), 0.0
        self.place = _place(self.picture())

    @property
    def passed(self) -> float:
        """The share of the time that has passed: 1 or more is the end."""
        return (time.perf_counter() - self.start) / self.seconds

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def loss(self) -> float:
        """The mean of the last twenty; NaN before the first."""
        return sum(self.losses[-WIDTH:]) / len(self.losses[-WIDTH:]) if self.losses else math.nan

    def add(self, loss: float) -> None:
        """One more step's loss."""
        self.times.append(time.perf_counter() - self.start)
        self.losses.append(loss)
        if self.times[-1] - self.shown > EVERY:
            self.shown = self.times[-1]
            self._show()

    def end(self) -> None:
        """The last picture, and how far it came in words."""
        self._show()
        print(f"{self.steps} steps in {self.times[-1] if self.times else 0:.0f} s, loss {self.loss:.2f}")

    def smoothed(self) -> list[float]:
        """At each step the mean of the last twenty."""
        windows = [self.losses[max(0, n - WIDTH + 1) : n + 1] for n in range(self.steps)]
        return [sum(window) / len(window) for window in windows]

    def picture(self) -> Figure:
        """Each step's loss as a thin line, smoothed as a thick one, over seconds."""
        fig, (ax,) = figure(width=6)
        ax.plot(self.times, self.losses, marker="", linewidth=0.5, color=COLOURS[5])
        ax.plot(self.times, self.smoothed(), marker="", color=COLOURS[0])
        ax.set(xlabel="seconds", ylabel=self.label, xlim=(0, self.seconds))
        return fig

    def _show(self) -> None:
        if self.place is not None:
            self.place.update(self.picture())


def _place(fig: Figure) -> Any:
    """Where a notebook shows the figure, to be updated; None where there is no notebook."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    return display(fig, display_id=True) if get_ipython() is not None else None
