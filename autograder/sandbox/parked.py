"""The trusted end of one parked process: a copy of the notebook that waits for sealed calls."""

import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlsys_course.desk.check import Specification

from . import said
from .contract import Cell, Ended
from .handles import close_handle, process_handle, send_signal
from .inside import processes
from .inside.channel import BadFrame, Channel, Closed, Late
from .process import Sandbox

PARK_SECONDS, CARD_SECONDS = 5.0, 20.0


@dataclass
class Parked:
    """``greet`` first, then ``meet``; then its channel takes calls. ``close`` ends it.

    The one that is ``common`` to all exercises meets them one after the other: ``turn_to`` says which is next.
    """

    sandbox: Sandbox
    channel: Channel
    cell: int
    specification: Specification
    cells: Sequence[Cell]
    replay: Sequence[float] = ()  # for how long each cell may run again, in the process that will answer
    pid: int = 0
    handle: int = -1
    together: Sequence[int] = ()  # whose memory counts
    failed: Exception | None = None
    common: bool = False
    bare: bool = False  # it calls nobody: what the process itself takes with the inputs
    met: bool = False

    def greet(self) -> None:
        """Read that it is parked, and which process it is; a failure waits for ``meet``."""
        deadline = time.monotonic() + PARK_SECONDS
        try:
            if sys.platform == "linux":
                self.pid = self.channel.sender(deadline)
                self.handle = process_handle(self.pid)
            head, _ = self.channel.receive(deadline)
            self.pid = self.pid or int(said.number(head.get("pid"), 1e7))
        except (Closed, Late, BadFrame) as error:
            self.failed = error

    def turn_to(self, cell: int, specification: Specification) -> None:
        """Which graded cell it is to answer for next."""
        self.cell, self.specification = cell, specification

    def meet(self, seconds: float) -> None:
        """Tell it what it will be asked about, for so many seconds in all."""
        specification = self.specification
        hello = {
            "exercise": specification.id,
            "cell": self.cell,
            "common": self.common,
            "bare": self.bare,
            "candidate": self.cells[self.cell].candidate,
            "kind": specification.kind,
            "forbidden": list(specification.forbidden),
            "allowed": list(specification.allowed),
            "unchanged": specification.unchanged,
            "cpu_seconds": int(2 * seconds) + 5,
            "replay": list(self.replay),
            "card_mib": self.sandbox.limits.gpu_memory_mib if self.sandbox.warm.cards else 0,
        }
        try:
            if self.failed:
                raise self.failed
            if self.met and self.channel.unread():
                raise BadFrame("more than was asked for")  # it would be taken for an answer of this exercise
            self.channel.send(hello, seconds=PARK_SECONDS)
        except (Closed, Late, BadFrame) as error:
            raise self.ended(error) from None
        if self.replay and not self.met:
            self.follow()
        self.met = True

    def follow(self) -> None:
        """Wait for the process that will answer, or for its follower, to have run the notebook again."""
        start = CARD_SECONDS if self.sandbox.warm.cards else PARK_SECONDS
        deadline = time.monotonic() + sum(self.replay) + start
        try:
            head, _ = self.channel.receive(deadline)
            if head.get("kind") != "ready":
                raise BadFrame(f"{str(head.get('kind'))[:20]!r} instead of being ready")
        except (Closed, Late, BadFrame) as error:
            raise self.ended(error) from None

    def start_measuring(self) -> None:
        """Hold its sandbox, and let the peak of all its processes start again from what they hold now.

        Of all of them, and no more: one that does the work for another would hide what it takes.
        """
        self.together = []
        if not self.replay and not self.sandbox.hold():
            return
        found = list(filter(processes.alive, processes.descendants(self.sandbox.init)))  # others wait to be reaped
        with contextlib.suppress(OSError):
            for pid in found:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            self.together = found

    def peak(self) -> float:
        """The most bytes that those processes have held since then, all in all; infinite where that is not known.

        Who runs another program starts with new memory, and with a peak of its own.
        """
        if any(map(processes.runs_another, self.together)):
            return float("inf")
        sizes = [processes.status_bytes(pid, "VmHWM") for pid in self.together]
        return sum(map(float, sizes)) if sizes and all(sizes) else float("inf")  # type: ignore[arg-type]

    def ended(self, error: Exception) -> Ended:
        """Why no answer came: the watchdog, the clock, or the process itself."""
        exercise = self.specification.id
        if isinstance(error, Closed):
            self.sandbox.ended.wait(0.2)
        over = self.sandbox.over
        if over in ("memory", "timeout"):
            return Ended(over, f"{exercise}: the sandbox was stopped: {over}")
        if isinstance(error, Late):
            return Ended("timeout", f"{exercise}: a sealed call took too long")
        if isinstance(error, Closed):
            return Ended("crashed", f"{exercise}: the process ended in a sealed call")
        return Ended("crashed", f"{exercise}: {error}")

    def kill(self) -> None:
        """End it; whoever reads its channel sees that at once."""
        if self.pid:
            send_signal(self.handle, self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and let go of it."""
        self.kill()
        close_handle(self.handle)
        self.handle = -1
        self.channel.close()
