"""One attempt at a notebook: its cells in order, up to its end or to the cell that ended it."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import said
from .contract import Cell, CellRun, CellStatus, Ended, Limits
from .inside.channel import BadFrame, Closed, Late
from .process import Sandbox

GRACE_SECONDS = 1.0  # after the interrupt
SAID = {
    "timeout": "This cell took longer than grading allows. The notebook was run again without it.",
    "memory": "This cell took more memory than grading allows. The notebook was run again without it.",
    "crashed": "This cell ended the process. The notebook was run again without it.",
}


@dataclass
class Attempt:
    """Runs ``cells`` in ``sandbox`` without those of ``left_out`` (cell -> why). ``run`` raises Ended at ``reached``.

    ``reached_graded`` are the graded cells whose sealed calls can follow: those of ``parks`` in copies of their own.
    """

    sandbox: Sandbox
    cells: Sequence[Cell]
    limits: Limits
    files: Mapping[str, bytes]
    left_out: Mapping[int, str]
    parks: Collection[int] | None = None  # graded cells at which a copy is made; None: at all
    runs: list[CellRun] = field(default_factory=list)
    reached_graded: list[int] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    reached: int = 0
    out_of_time: bool = False
    told: int = 0  # characters of outputs

    def mode(self, index: int) -> str:
        """What the sandbox is to do with a cell."""
        cell = self.cells[index]
        if cell.skip or index in self.left_out:
            return "skip"
        if cell.exercise is None:
            return "run"
        return "graded" if self.parks is None or index in self.parks else "noted"

    def run(self) -> None:
        """Run to the end."""
        end = time.monotonic() + self.limits.notebook_seconds
        self._send()
        for index, cell in enumerate(self.cells):
            self.reached = index
            mode = self.mode(index)
            if mode == "skip":
                self.runs.append(_left_out(cell, self.left_out.get(index)))
            else:
                self.runs.append(self._cell(index, mode, end))
        self.reached = len(self.cells)

    def _send(self) -> None:
        modes = [{"mode": self.mode(i), "source": c.source} for i, c in enumerate(self.cells)]
        request = {
            "cells": modes,
            "replay": self.sandbox.warm.replay,
            "files": {name: data.hex() for name, data in self.files.items()},
            "output_characters": self.limits.output_mib << 20,
        }
        try:
            self.sandbox.notebook.send(request, seconds=GRACE_SECONDS + self.limits.cell_seconds)
        except (Closed, Late) as error:
            raise Ended("crashed", f"the notebook could not be sent: {error!r}") from None

    def _cell(self, index: int, mode: str, end: float) -> CellRun:
        start = time.monotonic()
        deadline = start + self.limits.cell_seconds
        status: CellStatus | None = None
        try:
            try:
                head, _ = self.sandbox.notebook.receive(min(deadline, end))
            except Late:
                status = "timeout"
                self.out_of_time = time.monotonic() >= end
                self.sandbox.interrupt()
                head, _ = self.sandbox.notebook.receive(time.monotonic() + GRACE_SECONDS)
        except Late:
            raise Ended("timeout", f"cell {index} did not stop when interrupted") from None
        except (Closed, BadFrame) as error:
            raise self._ended(index, error) from None
        if head.get("cell") != index or head.get("kind") != ("cell" if mode == "run" else "parked"):
            raise Ended("crashed", f"cell {index}: a message out of turn, {json.dumps(head)[:80]}")
        if self.out_of_time:
            self.runs.append(CellRun("timeout", self._kept(head.get("outputs")), time.monotonic() - start))
            raise Ended("timeout", f"the notebook took longer than {self.limits.notebook_seconds:g} s")
        if mode != "run":
            self.reached_graded.append(index)
            return CellRun("ok", [], said.number(head.get("seconds")))
        self.tried += [f"cell {index} tried: {words}" for words in said.words(head.get("tried"))]
        status = status or ("ok" if head.get("ok") is True else "error")
        return CellRun(status, self._kept(head.get("outputs")), time.monotonic() - start)

    def _kept(self, told: Any) -> list[dict[str, Any]]:
        """A cell's outputs, while all together are of the size that the sandbox keeps to when nobody forges them."""
        found = said.outputs(told)
        self.told += len(json.dumps(found))
        return found if self.told <= 2 * self.limits.output_mib << 20 else []

    def _ended(self, index: int, error: Exception) -> Ended:
        self.sandbox.ended.wait(0.2)
        if self.sandbox.over in ("memory", "timeout"):
            self.out_of_time = self.sandbox.over == "timeout"
            return Ended(self.sandbox.over, f"cell {index}: the sandbox was stopped: {self.sandbox.over}")
        return Ended("crashed", f"cell {index}: {error!r}")


def _left_out(cell: Cell, why: str | None) -> CellRun:
    if why is None:
        return CellRun("skipped")
    message: dict[str, Any] = {"output_type": "stream", "name": "stderr", "text": SAID[why] + "\n"}
    return CellRun("timeout" if why == "timeout" else "error", [] if cell.exercise else [message])
