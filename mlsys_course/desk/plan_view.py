"""A plan to look at: tables for the terminal, a picture, and a tree for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table as RichTable

    from ..accounting.plan import Option, Plan

GB = 1e9
CELLS = 10  # of the terminal's bar that stand for a whole card
TERMS = {  # what a segment of the picture holds
    "weights": ("weights",),
    "gradients": ("gradients",),
    "master weights": ("master_weights",),
    "Adam's moments": ("first_moment", "second_moment"),
    "gathered for a moment": ("gathered_weights", "unscattered_gradients"),
    "activations": ("activations",),
    "temporaries": ("temporaries",),
}


def summary(plan: Plan) -> Iterator[str]:
    """What is asked, what is assumed, and the answer, a line each."""
    run, card, peak = plan.run, plan.run.gpu, plan.run.peak / 1e12
    parameters, thirty = plan.parameters, plan.gpus_for(30)
    yield f"model      {parameters:,} parameters; sequences of {run.time} tokens"
    yield f"           {run.flops_per_token:.4g} FLOPs a token: matrix products, forward and backward"
    yield f"run        {run.tokens:.4g} tokens, {plan.flops:.4g} FLOPs"
    yield f"           a step of {run.step_tokens:,} tokens; sequences a GPU: {run.sequences}"
    yield f"card       {card.name}: {card.memory / GB:.0f} GB, peak {peak:g} TFLOPs in {run.dtype}"
    yield f"wire       {run.link.name}: {run.link.quoted}, {run.link.each_way / GB:g} GB/s each way"
    yield f"assumed    {run.mfu:.0%} of the peak is achieved, {run.achieved / 1e12:.1f} TFLOPs; the wire works beside"
    yield f"computing  {plan.compute_days:.1f} days on {run.gpus} x {card.name}; 30 days would take {thirty:.1f}"
    yield from warnings(plan)


def warnings(plan: Plan) -> Iterator[str]:
    """What a reader should not overlook."""
    run, best = plan.run, plan.best
    if run.step_tokens > 1.5 * run.batch_tokens:
        yield (
            f"mind: a sequence for each GPU makes a step of {run.step_tokens:,} tokens, not {run.batch_tokens:,}; "
            "to divide further takes tensor or pipeline parallelism"
        )
    if best and best.schedule["exchange_seconds"] > best.schedule["compute_seconds"]:
        wire, cards = best.schedule["exchange_seconds"], best.schedule["compute_seconds"]
        yield f"mind: the wire takes {wire:.2f} s a step, computing {cards:.2f} s: utilization falls to {best.mfu:.0%}"
    if best is None:
        missing = -plan.smallest.free / GB
        yield f"does not fit: at least {missing:.1f} GB too much for {run.gpu.name} ({run.gpu.memory / GB:.0f} GB)"
        yield from (f"would fit: {remedy}" for remedy in plan.remedies)


def options_table(plan: Plan) -> RichTable:
    """All options in 80 columns, the best one marked with a star; a micro-batch of 4 in 2 passes is 4 x 2."""
    from rich.table import Table as RichTable

    title = "\nGB of one GPU by stage of ZeRO; compute and wire are seconds of a step"
    table = RichTable(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("ZeRO", "recompute"):
        table.add_column(name, no_wrap=True)
    for name in ("batch", "GB"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("of the card", no_wrap=True)
    for name in ("compute", "wire", "days", "MFU", *(["cost"] if plan.run.price is not None else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for one in plan.options:
        table.add_row(*cells(one, one is plan.best), style="" if one.fits else "dim")
    return table


def cells(one: Option, best: bool) -> list[str]:
    """One option's row; without times where it does not fit."""
    found = [f"{one.stage}{' *' if best else ''}", one.checkpointing, f"{one.micro_batch} x {one.micro_batches}"]
    found += [f"{one.memory.total / GB:.1f}", bar(one)]
    if not one.fits:
        return found
    times = one.schedule
    found += [f"{times['compute_seconds']:.3g}", f"{times['exchange_seconds']:.3g}"]
    found += [f"{times['days']:.1f}", f"{one.mfu:.0%}"]
    return found if one.cost is None else [*found, f"{one.cost:,.0f}"]


def bar(one: Option) -> str:
    """Memory against the card: states, then what a batch adds, and > where it does not fit."""
    parts = (one.state_bytes, one.memory.total)
    filled = [min(CELLS, round(CELLS * part / one.run.gpu.memory)) for part in parts]
    return "█" * filled[0] + "▒" * (filled[1] - filled[0]) + ("·" * (CELLS - filled[1]) if one.fits else ">")


def plan_picture(plan: Plan) -> Figure:
    """A stacked bar for each option against the card's line, in GB of one GPU; bars that go far beyond are cut."""
    from ..substrate.plot import COLOURS, figure

    run, options = plan.run, list(reversed(plan.options))
    card = run.gpu.memory / GB
    edge = min(2.2 * card, max(1.25 * card, 1.12 * max(one.memory.total for one in options) / GB))
    fig, (ax,) = figure(width=9, height=4.6)
    left = [0.0] * len(options)
    for colour, (label, names) in zip(COLOURS, TERMS.items(), strict=True):
        sizes = [sum(one.memory.get(name, 0) for name in names) / GB for one in options]
        ax.barh(range(len(options)), sizes, left=left, color=colour, label=label, edgecolor="white", linewidth=0.5)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    ax.axvline(card, color="black", linestyle="--", label=f"{run.gpu.name}: {card:.0f} GB")
    labels = [f"ZeRO {one.stage}, {one.checkpointing}, batch {one.micro_batch}" for one in options]
    ax.set_yticks(range(len(options)), [f"{label}: {size:,.0f} GB" for label, size in zip(labels, left, strict=True)])
    ax.set(xlim=(0, edge), xlabel=f"GB of one GPU, {run.gpus} x {run.gpu.name}, sequences of {run.time} tokens")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
    return fig


def to_dict(plan: Plan) -> dict[str, Any]:
    """The whole plan as numbers, strings and lists."""
    run, best = plan.run, plan.best
    return {
        "parameters": plan.parameters,
        "flops_per_token": run.flops_per_token,
        "flops": plan.flops,
        "gpu": run.gpu.name,
        "gpus": run.gpus,
        "link": run.link.name,
        "dtype": run.dtype,
        "tokens": run.tokens,
        "step_tokens": run.step_tokens,
        "time": run.time,
        "mfu_assumed": run.mfu,
        "card_bytes": run.gpu.memory,
        "compute_days": plan.compute_days,
        "gpus_for_30_days": plan.gpus_for(30),
        "fits": best is not None,
        "best": None if best is None else best.to_dict(),
        "options": [one.to_dict() for one in plan.options],
        "remedies": plan.remedies,
        "messages": list(warnings(plan)),
    }
