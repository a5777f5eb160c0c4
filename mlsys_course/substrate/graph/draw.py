"""A graph as a picture: inputs on the left, each node right of what it needs."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ..plot import COLOURS, figure
from .calculus import in_order
from .node import Node


def layers(outputs: Sequence[Node]) -> list[list[Node]]:
    """Nodes by the length of the longest path that leads to them, in the order in which they were made."""
    depth: dict[Node, int] = {}
    columns: dict[int, list[Node]] = defaultdict(list)
    for node in in_order(outputs):
        depth[node] = 1 + max((depth[x] for x in node.inputs), default=-1)
        columns[depth[node]].append(node)
    return [columns[n] for n in range(len(columns))]


def draw(
    outputs: Sequence[Node],
    *,
    labels: Mapping[Node, str] | None = None,
    marked: Collection[Node] = (),
    title: str = "",
) -> Figure:
    """Boxes with operators and what ``labels`` adds, arrows where values flow; ``marked`` boxes have another colour and
    a dashed edge."""
    columns = layers(outputs)
    tallest = max(map(len, columns))
    fig, (axes,) = figure(1, width=max(4.0, 1.45 * len(columns)), height=max(2.2, 0.8 * tallest))
    at = {}
    for x, column in enumerate(columns):
        for row, node in enumerate(column):
            at[node] = (x, (len(column) - 1) / 2 - row + 0.18 * (x % 2))
    for node, (x, y) in at.items():
        text = node.label if node.is_variable else node.operator.name
        if labels and node in labels:
            text += f"\n{labels[node]}"
        other = node in marked
        colour = COLOURS[1] if other else COLOURS[5] if node.inputs else COLOURS[2]
        tint = [0.65 + 0.35 * part for part in to_rgb(colour)]  # opaque, so that no arrow shows through a word
        box = {"boxstyle": "round,pad=0.3", "facecolor": tint, "edgecolor": "0.4", "linestyle": "--" if other else "-"}
        axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box, zorder=3)
        for source in node.inputs:
            arrow = {"arrowstyle": "->", "color": "0.45", "shrinkA": 16, "shrinkB": 16, "linewidth": 0.9}
            axes.annotate("", xy=(x, y), xytext=at[source], arrowprops=arrow, zorder=1)
    ys = [y for _, y in at.values()]
    axes.set(xlim=(-0.6, len(columns) - 0.4), ylim=(min(ys) - 0.6, max(ys) + 0.6), title=title)
    axes.axis("off")
    return fig
