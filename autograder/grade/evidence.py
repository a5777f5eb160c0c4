"""What happened to a submission, for the assistant who must answer a student: one text file each, for staff only."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlsys_course.desk.check import Verdict
from mlsys_course.desk.check.verdict import Result
from mlsys_course.desk.check.verdict_table import headline, sealed_words
from mlsys_course.desk.screen import printable

from ..sandbox import Cell, Run
from .handed_in import HandedIn

WIDTH = 72  # of a cell's first line
MOST_SHOWN, MOST_LINES, MOST_CELL = 400, 2000, 40  # characters of a line; lines of all cells, and of one


def evidence(
    handed: HandedIn, cells: Sequence[Cell], run: Run, verdicts: Mapping[str, Verdict], *,
    edition: str, protections: str, flags: Mapping[str, Sequence[str]],
) -> str:  # fmt: skip
    """What ran, how long, at which peak of memory, what was stopped or refused, and what deserves a look."""
    lines = [
        f"student      {handed.student}",
        f"submission   {handed.digest[:16]}, {len(handed.blob)} bytes",
        f"edition      {edition[:16]}",
        f"sandbox      {protections}",
        f"run          {run.status}: {run.wall_seconds:.2f} s, {run.cpu_seconds:.2f} CPU-seconds, "
        f"peak {run.peak_memory_bytes >> 20} MiB",
    ]
    sections = {
        "For a person to look at (costs no points by itself)": [f"{n}: {why}" for n in flags for why in flags[n]],
        "Left behind at intake": handed.refused or ([handed.problem] if handed.problem else []),
        "Stopped by the sandbox, or tried in it": run.log,
        "Cells": list(_cells(cells, run)),
        "What cells showed when they ran here (students are not shown this)": list(_shown(run)),
        "Exercises": [line for verdict in verdicts.values() for line in _exercise(verdict)],
    }
    for title, body in sections.items():
        lines += ["", title, *(f"  {line}" for line in body or ["nothing"])]
    return "\n".join(map(printable, lines)) + "\n"


def _cells(cells: Sequence[Cell], run: Run) -> Iterator[str]:
    for number, (cell, came) in enumerate(zip(cells, run.cells, strict=False)):
        first = printable(next((line for line in cell.source.splitlines() if line.strip()), "")[:WIDTH])
        yield f"{number:3}  {came.status:8} {came.seconds:6.2f} s  {first}"


def _shown(run: Run) -> Iterator[str]:
    """The outputs' text, of each cell its first lines."""
    left = MOST_LINES
    for number, came in enumerate(run.cells):
        lines = [line for output in came.outputs for line in _text(output).splitlines()][: min(left, MOST_CELL)]
        left -= len(lines)
        yield from (f"{number:3}  {printable(line)[:MOST_SHOWN]}" for line in lines)


def _text(output: Mapping[str, Any]) -> str:
    """An output as text; of a picture that it is one."""
    data = output.get("data", {})
    error = ": ".join(filter(None, [output.get("ename"), output.get("evalue")]))
    pictures = "".join(f"[{kind}]\n" for kind in data if kind.startswith("image/"))
    return output.get("text", "") or error or pictures + data.get("text/plain", "")


def _exercise(verdict: Verdict) -> Iterator[str]:
    yield f"{headline(verdict)}, {verdict.status}"
    for name in verdict.misconceptions:
        yield f"  recognised: {name}"
    if verdict.note:
        yield f"  note: {verdict.note}"
    for result in verdict.results:
        yield f"  {result.case}: {_result(result)}"


def _result(result: Result) -> str:
    costs = ", ".join(f"{name.replace('_', ' ')} {cost:,.0f}" for name, cost in result.outcome.costs.items() if cost)
    words = "ok" if result.ok else sealed_words(result) or "wrong"
    line = f" (cell {result.outcome.line[0]}, line {result.outcome.line[1]})" if result.outcome.line else ""
    return f"{words}{line}, {result.outcome.seconds * 1e3:.0f} ms" + (f", {costs}" if costs else "")
