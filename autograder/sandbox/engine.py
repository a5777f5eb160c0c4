"""The engine: a warm process for an edition, and runs of submissions in sandboxes that it forks."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType

from mlsys_course.desk.check import Specification
from mlsys_course.desk.check.edition import load_specification

from .contract import Cell, Limits, Run, SandboxUnavailable, Trusted
from .drawn_order import is_measured
from .gpu import asked_for, find_cards, share_mib
from .group import ranks_of
from .host import raise_descriptor_limit
from .process import WarmProcess
from .protections import CARD_MEMORY, card_seen, measured, none_of_them
from .submission import Submission
from .watchdog import Watchdog

MOST_GRADED, MOST_FILES = 200, 200


class Engine:
    """Runs submissions of one edition: a folder with ``python/mlsys_course`` and ``lab/`` (drivers and cases).

    Raises SandboxUnavailable where this machine lacks a piece, unless ``unsafe``: then limits alone protect it. With
    ``device="cuda"`` candidates run on a card. That takes ``replay``: sealed calls are answered by processes that ran
    the notebook again, not by copies of it; ``sharers`` are as many submissions at once as share its memory, by default
    the processors.
    """

    def __init__(
        self,
        edition: Path,
        *,
        unsafe: bool = False,
        device: str = "cpu",
        replay: bool = False,
        sharers: int | None = None,
        limits: Limits | None = None,
    ):
        raise_descriptor_limit()
        for needed in (edition / "python" / "mlsys_course", edition / "lab" / "drivers.py"):
            if not needed.exists():
                raise FileNotFoundError(f"{needed} is missing; build the lab's edition first (mlsys build)")
        self.edition, self.unsafe, self.limits = edition, unsafe, limits or Limits()
        self.specifications: dict[str, Specification] = {}  # read as they are asked for
        cards = find_cards() if asked_for(device) else None
        if cards and not self.limits.gpu_memory_mib:
            share = share_mib(cards.nvml.smallest_bytes(), sharers or os.cpu_count() or 1)
            self.limits = replace(self.limits, gpu_memory_mib=share)
        self.warm = WarmProcess(edition, sealed=not unsafe, cards=cards, replay=replay)
        try:
            self.protections = self._self_test()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the warm process and all that came from it."""
        self.warm.close()

    def run(self, cells: Sequence[Cell], trusted: Trusted, *, files: Mapping[str, bytes] | None = None) -> Run:
        """Run a notebook's cells, then the sealed calls of its graded cells. Several threads may run at once."""
        given = files or {}
        graded = [cell.exercise for cell in cells if cell.exercise is not None]
        if len(set(graded)) != len(graded) or len(graded) > MOST_GRADED:
            raise ValueError(f"graded cells must be different and at most {MOST_GRADED}: {graded}")
        if bad := [name for name in given if not _may_be_placed(name)]:
            raise ValueError(f"no place in the student's folder: {bad}; give relative paths, without '..'")
        if len(given) > MOST_FILES or sum(map(len, given.values())) > self.limits.scratch_mib << 19:
            raise ValueError(f"{len(given)} files; at most {MOST_FILES}, half of scratch_mib together")
        if self.warm.cards and (measured := next((e for e in graded if is_measured(e, trusted)), "")):
            raise SandboxUnavailable(
                f"{measured} is judged by peak memory, which nobody can measure on a card; grade with --device cpu"
            )
        for exercise in set(graded) - set(self.specifications):
            self.specifications[exercise] = load_specification(self.edition / "lab", exercise)
        known = {exercise: self.specifications[exercise] for exercise in graded}
        ranks = ranks_of(trusted, graded)
        return Submission(self.warm, self.limits, cells, trusted, given, known, ranks).run()

    def _self_test(self) -> dict[str, bool]:
        """Start one sandbox, and look at it from outside."""
        sandbox = self.warm.spawn(self.limits, 0)
        try:
            sandbox.begin()
            found = {**none_of_them(), "rlimits": True} if self.unsafe else measured(sandbox)
            watchdog = Watchdog(sandbox, self.limits, self.limits.cpu_seconds)
            watchdog.look()
            found["watchdog"] = watchdog.peak_bytes > self.limits.scratch_mib << 20
            if self.warm.cards:
                found[CARD_MEMORY] = card_seen(sandbox, watchdog)
        finally:
            sandbox.close()
        off = [name for name, active in found.items() if not active]
        if off and not self.unsafe:
            raise SandboxUnavailable(f"not in force here: {', '.join(off)}; run mlsys doctor, or grade with --unsafe")
        return found


def _may_be_placed(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
