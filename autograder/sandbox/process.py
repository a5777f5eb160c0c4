"""Handles on the warm process and on the sandboxes that it forks. Threads may spawn at the same time."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .contract import BUFFER, Limits, SandboxUnavailable
from .gpu import Cards
from .handles import NO_HANDLES, close_handle, process_handle, send_signal
from .inside import processes
from .inside.channel import BadFrame, Channel, Closed, Late, send_with_descriptors
from .layout import layout

INSIDE = Path(__file__).parent / "inside"
# What is on a command line can be read inside, so no path of this machine is.
LAUNCH = (
    "import os, sys; sys.path.insert(0, os.getcwd()); os.chdir('/'); "
    "from inside.warm import main; main(int(sys.argv[1]))"
)
START_SECONDS, BEGIN_SECONDS, END_SECONDS = 120.0, 30.0, 30.0
KILLS, HOLD_SECONDS = 50, 2.0
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OMP_THREAD_LIMIT": "1",  # a child that asks for more threads would hang those forked after it
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",  # so that freed memory goes back, and peaks can be told
}
# Autograd starts a thread for each card that it sees, and does not survive the fork then.
CUDA_RESOURCES = {"NOFILE": 512}  # it opens dozens
WITHOUT_CARDS = {"CUDA_VISIBLE_DEVICES": ""}


class WarmProcess:
    """One for each edition, started with an empty environment.

    With ``replay``, as ``cards`` need it, sealed calls are answered by processes that ran the notebook again.
    """

    def __init__(self, edition: Path, *, sealed: bool, cards: Cards | None = None, replay: bool = False):
        self.cards, self.replay = cards, replay or cards is not None
        self.folder = tempfile.mkdtemp(prefix="mlsys-sandbox-")
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", LAUNCH, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=ENVIRONMENT | ({} if cards else WITHOUT_CARDS),
            cwd=INSIDE.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            start_new_session=True,  # an interrupt typed at the terminal is the grader's to handle
        )
        theirs.close()
        self.lock, self.slots = threading.Lock(), itertools.count()
        self.running: dict[int, Sandbox] = {}
        self.bare: dict[tuple[str, str, int], float] = {}  # bytes of a process with a call's inputs, and nothing else
        self.alive = False
        try:
            self._configure(edition, sealed)
        except BaseException:
            self.close()
            raise
        self.alive = True
        self.reader = threading.Thread(target=self._read, name="mlsys-warm", daemon=True)
        self.reader.start()

    def _configure(self, edition: Path, sealed: bool) -> None:
        shown = layout(self.cards.folders if self.cards else ())
        config = {
            "sealed": sealed,
            "devices": self.cards.files if self.cards else [],
            "cards": len(self.cards.nvml.cards) if self.cards else 0,
            "replay": self.replay,
            "root": self.folder,
            "edition": str(edition.resolve()),
            "inside": str(INSIDE),
            "import_from": str(INSIDE.parent),
            "fonts": str(Path(self.folder, "matplotlib")),
            **asdict(shown),
        }
        try:
            self.channel.send(config)
            answer, _ = self.channel.receive(time.monotonic() + START_SECONDS)
        except (Closed, Late, BadFrame) as error:
            raise SandboxUnavailable(f"the warm process did not start ({error!r}): {self.said()}") from None
        if "failed" in answer:
            raise SandboxUnavailable(explained(answer["failed"]))
        self.start_seconds = float(answer["ready"])
        if sealed:
            os.rmdir(self.folder)  # its own tree is mounted elsewhere by now; so nothing stays, however this ends

    def over(self) -> bool:
        """Whether it has ended, and with it all that it forked, before anybody closed it."""
        return not self.alive or self.process.poll() is not None

    def said(self) -> str:
        """The end of what it wrote to its standard error."""
        self.errors.seek(0)
        return self.errors.read()[-2000:].decode(errors="replace").strip()

    def spawn(self, limits: Limits, graded: int) -> "Sandbox":
        """Start a sandbox with a channel for the notebook and one for each graded cell."""
        pairs = [socket.socketpair() for _ in range(1 + graded)]
        for ours, theirs in pairs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER // 2)  # the kernel doubles it
            if sys.platform == "linux":
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        resources = limits.resources() | (CUDA_RESOURCES if self.cards else {})
        slot = next(self.slots)
        sandbox = Sandbox(
            self, slot, limits, [Channel(ours, most_header=4 * limits.output_mib << 20) for ours, _ in pairs]
        )
        request = {"do": "spawn", "slot": slot, "limits": {"scratch_mib": limits.scratch_mib, "resources": resources}}
        try:
            with self.lock:
                if not self.alive:
                    raise SandboxUnavailable(f"the warm process has ended: {self.said()}")
                self.running[slot] = sandbox
                send_with_descriptors(self.channel, request, [theirs.fileno() for _, theirs in pairs])
        except (SandboxUnavailable, Closed) as error:
            sandbox.ended.set()
            sandbox.close_channels()
            raise SandboxUnavailable(f"no sandbox can be started: {error}") from None
        finally:
            for _, theirs in pairs:
                theirs.close()
        return sandbox

    def kill(self, slot: int) -> None:
        """Kill a sandbox with everything in it."""
        with self.lock, contextlib.suppress(Closed):
            self.channel.send({"do": "kill", "slot": slot})

    def _read(self) -> None:
        with contextlib.suppress(Closed, BadFrame):
            while True:
                message, _ = self.channel.receive()
                sandbox = self.running.pop(message["ended"], None)
                if sandbox:
                    sandbox.rusage_seconds = message["cpu"]
                    sandbox.ended.set()
        with self.lock:
            self.alive = False
        for sandbox in list(self.running.values()):
            sandbox.ended.set()

    def close(self) -> None:
        """End it, and with it all that it started."""
        with contextlib.suppress(OSError):
            self.channel.sock.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.channel.close()
        self.errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sandbox:
    """One submission's processes: channels, who they are seen from outside, and what they took."""

    def __init__(self, warm: WarmProcess, slot: int, limits: Limits, channels: Sequence[Channel]):
        self.warm, self.slot, self.limits = warm, slot, limits
        self.notebook, self.graded = channels[0], list(channels[1:])
        self.ended = threading.Event()
        self.over = ""  # why the watchdog killed it
        self.rusage_seconds = 0.0
        self.pid = self.init = 0
        self.handle = -1

    def begin(self) -> None:
        """Wait until the notebook process is ready; raises SandboxUnavailable when it cannot be confined."""
        deadline = time.monotonic() + BEGIN_SECONDS
        try:
            if sys.platform == "linux":
                self.pid = self.notebook.sender(deadline)
            head, _ = self.notebook.receive(deadline)
        except (Closed, Late, BadFrame) as error:
            raise SandboxUnavailable(f"a sandbox did not start ({error!r}): {self.warm.said()}") from None
        if head.get("kind") == "setup":
            raise SandboxUnavailable(explained(head["error"]))
        self.pid = self.pid or int(head["pid"])
        self.init = processes.parent(self.pid) or self.pid
        self.handle = process_handle(self.pid)

    def interrupt(self) -> None:
        """Interrupt the running cell."""
        send_signal(self.handle, self.pid, signal.SIGINT)

    def keep_only(self, pids: Sequence[int]) -> None:
        """Kill the notebook's process, and all others but ``pids`` and the first."""
        for _ in range(KILLS):  # who forks fast enough slips through one look
            gone = self.over or self.ended.is_set()  # then its numbers may be somebody else's
            others = [] if gone else [p for p in processes.descendants(self.init) if p not in pids]
            for pid in others:
                send_signal(NO_HANDLES, pid, signal.SIGKILL)
            if not any(map(processes.alive, others)):
                break
            time.sleep(0.002)

    def hold(self) -> bool:
        """From now on no process in it starts another or a thread, or writes a file; whether all of them are held.

        By the sandbox's first process, and looked at from here: what a process does to itself could be undone.
        """
        deadline = time.monotonic() + HOLD_SECONDS
        while not (done := all(map(processes.held, processes.descendants(self.init)))) and time.monotonic() < deadline:
            if not (self.over or self.ended.is_set()):
                send_signal(NO_HANDLES, self.init, signal.SIGUSR1)
            time.sleep(0.005)
        return done

    def kill(self, why: str = "") -> None:
        """Kill everything in it."""
        self.over = self.over or why
        self.warm.kill(self.slot)

    def close(self) -> None:
        """Kill what is left, wait for its end, and close the channels."""
        self.kill()
        if not self.ended.wait(END_SECONDS):
            raise RuntimeError(f"sandbox {self.slot} is still there {END_SECONDS:g} s after it was killed")
        self.close_channels()

    def close_channels(self) -> None:
        """Let go of what there is on this side."""
        for channel in (self.notebook, *self.graded):
            channel.close()
        close_handle(self.handle)
        self.handle = -1


MISSING = (
    ("libseccomp", "libseccomp is missing: install it (Debian, Ubuntu: apt install libseccomp2)"),
    ("unshare", "namespaces are refused: use a Linux machine or a virtual machine that allows user namespaces"),
    ("uid_map", "user namespaces are restricted: allow them (Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)"),
    ("mount", "mounting in a namespace is refused: grade outside a container, or in one that allows it"),
    ("pivot_root", "changing the root is refused: grade outside a container, or in one that allows it"),
    ("seccomp", "seccomp filters are refused: use a kernel with CONFIG_SECCOMP_FILTER"),
)


def explained(trace: str) -> str:
    """A traceback from the inside, as what is missing and what to do."""
    last = trace.strip().splitlines()[-1] if trace.strip() else "no reason given"
    remedy = next((text for piece, text in MISSING if piece in last), "sealed grading does not work here")
    unsafe = "or grade with --unsafe, which marks every grade so"
    return f"{remedy}; {unsafe} ({last})" if remedy else last
