"""The trusted end of an exercise's sealed calls: inputs out, outcomes in, parts answered."""

import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlsys_course.check import Outcome, Specification, decode

from . import said
from .contract import AGAIN, Call, Cell, Ended, Trusted, calls_by_key
from .inside import processes
from .inside.channel import BadFrame, Channel, Closed, Late
from .process import Sandbox, close_handle, process_handle, send_signal

PARK_SECONDS, MOST_PART_CALLS = 5.0, 10_000
PROBLEMS = {
    "timeout": "A sealed case took longer than this exercise allows.",
    "memory": "A sealed case took more memory than grading allows.",
    "crashed": "A sealed case ended the process, or its result could not be read.",
}
_random = random.SystemRandom()


@dataclass
class Examination:
    """The sealed calls of one exercise to its parked process.

    ``greet`` first, then ``run``, which fills ``outcomes`` and raises Ended when the whole sandbox is gone.
    """

    sandbox: Sandbox
    channel: Channel
    exercise: str
    candidate: str
    specification: Specification
    cells: Sequence[Cell]
    trusted: Trusted
    default_seconds: float
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    problem: str = ""
    log: str = ""
    pid: int = 0
    handle: int = -1
    failed: Exception | None = None

    def run(self) -> None:
        """Every call, in an order that nobody can know, one of them again."""
        calls = calls_by_key(self.trusted.calls(self.exercise))
        plan = list(calls.items())
        if len(plan) > 1 or self.specification.kind != "choice":
            key = _random.choice(list(calls))
            plan.append((key + AGAIN, calls[key]))
        _random.shuffle(plan)
        try:
            self._meet(sum(self._seconds(call) for _, call in plan))
            for key, call in plan:
                self.outcomes[key] = self._measured(call) if call.measure_memory else self._ask(call)
        except Ended as error:
            # Students read the problem, so it is in our words only; the log may quote what the sandbox said.
            self.problem, self.log = PROBLEMS[error.why], error.log
            for key, _ in plan:
                self.outcomes.setdefault(key, Outcome(problem=error.why))
            if self.sandbox.over:
                raise
        finally:
            self.close()

    def close(self) -> None:
        """End its process, and let go of it."""
        if self.pid:
            send_signal(self.handle, self.pid, signal.SIGKILL)
        close_handle(self.handle)
        self.handle = -1
        self.channel.close()

    def _seconds(self, call: Call) -> float:
        return call.seconds or self.default_seconds

    def greet(self) -> None:
        """Read that it is parked, and which process it is; a failure waits for ``run``."""
        deadline = time.monotonic() + PARK_SECONDS
        try:
            if sys.platform == "linux":
                self.pid = self.channel.sender(deadline)
                self.handle = process_handle(self.pid)
            head, _ = self.channel.receive(deadline)
            self.pid = self.pid or int(said.number(head.get("pid"), 1e7))
        except (Closed, Late, BadFrame) as error:
            self.failed = error

    def _meet(self, seconds: float) -> None:
        """Tell it what it will be asked about."""
        specification = self.specification
        hello = {
            "exercise": self.exercise,
            "candidate": self.candidate,
            "kind": specification.kind,
            "forbidden": list(specification.forbidden),
            "unchanged": specification.unchanged,
            "cpu_seconds": int(2 * seconds) + 5,
        }
        try:
            if self.failed:
                raise self.failed
            self.channel.send(hello, seconds=PARK_SECONDS)
        except (Closed, Late, BadFrame) as error:
            raise self._ended(error) from None

    def _ask(self, call: Call) -> Outcome:
        """One call. Raises Ended when its process does not answer, or answers what it should not."""
        start = time.monotonic()
        deadline = start + self._seconds(call)
        part_calls = 0
        try:
            self.channel.send({"kind": "call"}, call.inputs, self._seconds(call))
            while True:
                head, blob = self.channel.receive(deadline)
                if head.get("kind") != "part":
                    break
                part_calls += 1
                if part_calls > MOST_PART_CALLS:
                    raise BadFrame(f"more than {MOST_PART_CALLS} calls of parts")
                self._part(head, blob, deadline)
            if head.get("kind") != "outcome":
                raise BadFrame(f"{str(head.get('kind'))[:20]!r} instead of an outcome")
            outcome = said.outcome(head, blob, decode(call.inputs), self.specification, self.cells)
        except (Closed, Late, BadFrame, ValueError) as error:
            raise self._ended(error) from None
        return replace(outcome, seconds=time.monotonic() - start, costs={"part_calls": float(part_calls)})

    def _part(self, head: Mapping[str, Any], blob: bytes, deadline: float) -> None:
        left = max(0.01, deadline - time.monotonic())
        try:
            answer = self.trusted.part(self.exercise, str(head.get("name")), blob)
        except ValueError as error:
            self.channel.send({"kind": "part", "refused": str(error)[:300] or "no reason given"}, b"", left)
        else:
            self.channel.send({"kind": "part"}, answer, left)

    def _measured(self, call: Call) -> Outcome:
        """Peak memory over what the process held before, as the system saw it.

        Twice: the first call may touch code and caches that only it touches. What reading inputs and sending
        outputs takes is part of it. Infinite where it cannot be read.
        """
        peaks, outcomes = [], []
        for _ in range(2):
            before = processes.status_bytes(self.pid, "VmRSS")
            reset = self._reset_peak()
            outcomes.append(self._ask(call))
            after = processes.status_bytes(self.pid, "VmHWM")
            known = reset and before is not None and after is not None
            peaks.append(float(after - before) if known else float("inf"))  # type: ignore[operator]
        costs = {**outcomes[1].costs, "peak_memory": min(peaks)}
        failed = next((outcome for outcome in outcomes if outcome.problem), outcomes[1])
        return replace(failed, costs=costs)

    def _reset_peak(self) -> bool:
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def _ended(self, error: Exception) -> Ended:
        """Why no answer came: the watchdog, the clock, or the process itself."""
        if isinstance(error, Closed):
            self.sandbox.ended.wait(0.2)
        over = self.sandbox.over
        if over in ("memory", "timeout"):
            return Ended(over, f"{self.exercise}: the sandbox was stopped: {over}")
        if isinstance(error, Late):
            return Ended("timeout", f"{self.exercise}: a sealed call took too long")
        if isinstance(error, Closed):
            return Ended("crashed", f"{self.exercise}: the process ended in a sealed call")
        return Ended("crashed", f"{self.exercise}: {error}")
