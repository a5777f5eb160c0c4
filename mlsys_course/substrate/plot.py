"""Figures that a colour-blind reader can tell apart. Each function returns a figure; as a cell's last line it shows."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette: blue, orange, green, vermilion, purple, sky blue, black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # so that lines differ by more than colour
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=COLOURS, marker=MARKERS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "figure.dpi": 100,
}


def figure(columns: int = 1, *, width: float = 4.5, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    """An empty figure in the course's style with ``columns`` axes side by side; sizes in inches an axes."""
    with plt.rc_context(STYLE):
        fig, grid = plt.subplots(1, columns, figsize=(width * columns, height), layout="constrained", squeeze=False)
    plt.close(fig)  # else a notebook shows it twice: as a cell's value, and at the end of the cell
    return fig, list(grid[0])


def timeline(ax: Axes, bars: Iterable[tuple[float, float, float, int, str]], height: float = 0.9) -> None:
    """Bars on rows over time: (row, start, end, number of the colour, words inside). Odd colours are hatched too."""
    for row, start, end, colour, words in bars:
        hatch = "//" * (colour % 2)
        ax.barh(row, end - start, height, left=start, color=COLOURS[colour], hatch=hatch, edgecolor="white")
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        if words:
            ax.text((start + end) / 2, row, words, ha="center", va="center", fontsize=8, bbox=box)


def heatmap(
    values: torch.Tensor | Sequence[torch.Tensor],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    *,
    titles: str | Sequence[str] = "",
    row_label: str = "",
    column_label: str = "",
    limits: tuple[float | None, float | None] = (None, None),
) -> Figure:
    """Matrices side by side on one colour scale, with tokens as labels where ``rows`` and ``columns`` are given."""
    given = [values] if isinstance(values, torch.Tensor) else values
    matrices = [matrix.detach().float().cpu() for matrix in given]
    titles = [titles] * len(matrices) if isinstance(titles, str) else titles
    low = min(float(m.min()) for m in matrices) if limits[0] is None else limits[0]
    high = max(float(m.max()) for m in matrices) if limits[1] is None else limits[1]
    fig, axes = figure(len(matrices), width=4.2, height=3.9)
    for ax, matrix, title in zip(axes, matrices, titles, strict=True):
        ax.imshow(matrix.numpy(), cmap="cividis", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        ax.set(title=title, xlabel=column_label)
        _label(ax, rows, columns)
    axes[0].set_ylabel(row_label)
    fig.colorbar(axes[0].images[0], ax=axes, shrink=0.8)
    return fig


def _label(ax: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Tokens on the axes, or whole numbers where there are none."""
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    if columns:
        ax.set_xticks(range(len(columns)), columns, rotation=90)
    if rows:
        ax.set_yticks(range(len(rows)), rows)
