"""Limits summed over a sandbox, watched from outside: a process's own limits do not add up."""

import threading
import time
from collections.abc import Collection

from .contract import BUFFER, Limits
from .gpu import held_by
from .inside import processes
from .process import CUDA_RESOURCES, Sandbox

CROWDED = 5  # looks in a row
POLL_SECONDS, REFRESH_SECONDS, REFRESH_BYTES = 0.05, 0.4, 48 << 20


class Watchdog:
    """A thread that follows one sandbox until it has ended, and kills it when it is over a limit.

    The temporary files count in full, as large as they may become.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits, cpu_seconds: float):
        self.sandbox, self.limits, self.most_cpu = sandbox, limits, cpu_seconds
        self.cpu_seconds, self.peak_bytes, self.peak_card_bytes = 0.0, 0, 0
        self.gone: dict[int, float] = {}  # the last that was seen of processes, by their number
        self.failed: Exception | None = None  # for the machine's sake: what is told of such a sandbox is worth nothing
        self.crowded, self.lock = 0, threading.Lock()
        self.shared_at, self.shared_upper, self.shared_bytes = 0.0, 0, 0
        self.thread = threading.Thread(target=self._watch, name=f"mlsys-watchdog-{sandbox.slot}", daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.sandbox.ended.wait(POLL_SECONDS):
            try:
                reason = self.look()
            except Exception as error:
                self.failed = error
                self.sandbox.kill("crashed")  # nothing runs unwatched
                return
            if reason:
                self.sandbox.kill(reason)
                self.sandbox.ended.wait(1.0)

    def look(self) -> str:
        """Measure once; the limit that is broken, as a problem's word, or an empty string."""
        with self.lock:
            return self._look()

    def _look(self) -> str:
        pids = [self.sandbox.init, *processes.descendants(self.sandbox.init)]
        used = {pid: found for pid in pids if (found := processes.usage(pid))}
        self.gone |= {pid: found.own_seconds for pid, found in used.items()}
        waited = sum(found.own_seconds + found.waited_seconds for found in used.values())
        # Children that nobody waits for are in no parent's sum; those too short to be seen are in no list.
        self.cpu_seconds = max(self.cpu_seconds, waited, sum(self.gone.values()))
        # What only reads a large empty mapping holds no page, but the tables of them all.
        memory = self._memory(used, tables=sum(processes.status_bytes(pid, "VmPTE") or 0 for pid in used))
        if self.sandbox.warm.cards:
            held = held_by(pids, self.sandbox.warm.cards.nvml.held())
            self.peak_card_bytes = max(self.peak_card_bytes, held)
            if held > self.limits.gpu_memory_mib << 20:
                return "memory"
        self.peak_bytes = max(self.peak_bytes, memory)
        if memory > self.limits.memory_mib << 20:
            return "memory"
        if self.cpu_seconds > self.most_cpu:
            return "timeout"
        # One look may count processes that end and their followers; the kernel's own limit holds meanwhile.
        self.crowded = self.crowded + 1 if len(used) > self.limits.processes else 0
        if self.crowded >= CROWDED:
            return "crashed"
        return ""

    def _let_through(self, pids: Collection[int]) -> int:
        """The most that may be behind what filter and limits let CUDA have, and so everybody."""
        waiting = processes.descriptors(pids, unreadable=CUDA_RESOURCES["NOFILE"]) * BUFFER
        shared = processes.shared_anonymous_bytes(pids)
        return waiting + shared + processes.local_socket_bytes(self.sandbox.init)

    def _memory(self, used: dict[int, processes.Usage], tables: int = 0) -> int:
        """Bytes, from the cheapest measure that can tell: resident, then without files, then shares of shared pages.

        What no process's resident pages show, temporary files and page ``tables``, is in each of the three.
        """
        scratch = (self.limits.scratch_mib << 20) + tables
        if self.sandbox.warm.cards:
            scratch += self._let_through(used)
        most = self.limits.memory_mib << 20
        upper = scratch + sum(found.resident for found in used.values())
        if upper <= most // 2:
            return upper
        upper = scratch + sum(processes.status_bytes(pid, "RssAnon", "RssShmem") or 0 for pid in used)
        if upper <= most:
            return upper
        # Forks share pages, so the sum may be far too high; writing to shared pages shows in shares alone.
        now = time.monotonic()
        if now - self.shared_at > REFRESH_SECONDS or upper - self.shared_upper > REFRESH_BYTES:
            shares = (processes.proportional_bytes(pid) for pid in used)
            whole = (processes.status_bytes(pid, "RssAnon", "RssShmem") or 0 for pid in used)
            both = zip(shares, whole, strict=True)
            self.shared_bytes = scratch + sum(min(w, w if s is None else s) for s, w in both)
            self.shared_at, self.shared_upper = now, upper
        return self.shared_bytes + max(0, upper - self.shared_upper)
