"""The Gantt chart shows what the timeline holds."""

import torch
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

from mlsys_course.substrate.ranks import Cluster, Link, simulate
from mlsys_course.substrate.ranks.shared.chart import WAIT, gantt


def step(comm):
    comm.compute(2e-3, label="forward")
    with comm.span("exchange"):
        comm.send(torch.zeros(1000, dtype=torch.int8), (comm.rank + 1) % comm.world_size)
        comm.recv(torch.zeros(1000, dtype=torch.int8), (comm.rank - 1) % comm.world_size)


def bars(figure, colour):
    """(row, start, length) of the bars of a colour."""
    found = [patch for patch in figure.axes[0].patches if to_hex(patch.get_facecolor()) == to_hex(colour)]
    return sorted(
        (round(p.get_y() + p.get_height() / 2, 2), round(p.get_x(), 3), round(p.get_width(), 3)) for p in found
    )


def test_bars_are_the_events_and_arrows_the_messages():
    run = simulate(step, 3, Cluster.flat(Link("a link", 1e-3, 1e6), slow={2: 2.0}))
    figure = gantt(run, title="three ranks")
    (ax,) = figure.axes
    assert ax.get_xlabel() == "time, ms" and [label.get_text() for label in ax.get_yticklabels()] == [
        "rank 0", "rank 1", "rank 2"
    ]  # fmt: skip
    names = {text.get_text(): key.get_facecolor() for text, key in zip(
        ax.get_legend().get_texts(), ax.get_legend().get_patches(), strict=True)}  # fmt: skip
    assert list(names) == ["forward", "exchange", "waiting"]
    assert bars(figure, names["forward"]) == [(0, 0, 2), (1, 0, 2), (2, 0, 4)]
    assert bars(figure, WAIT) == [(0, 2, 4), (1, 2, 2)]  # rank 0 waits for the slow one, and nobody has it wait
    assert len([child for child in ax.get_children() if isinstance(child, Annotation)]) == 3


def test_some_ranks_may_be_chosen_and_many_messages_are_not_drawn():
    run = simulate(step, 30, Cluster())
    figure = gantt(run, ranks=[3, 4], arrows=False)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["rank 3", "rank 4"]
    assert not [child for child in figure.axes[0].get_children() if isinstance(child, Annotation)]
