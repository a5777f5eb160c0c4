"""From the warm process to a student's notebook: one fork, its namespaces, mounts, limits and filter."""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from . import kernel
from .channel import Channel
from .processes import hold_all_below

FIRST_UID, UIDS = 200_000, 60_000  # as root: a uid for each sandbox, so that RLIMIT_NPROC counts it alone
HOME = "/home/student"
AWAITED = (signal.SIGCHLD, signal.SIGUSR1)  # by process 1: the second is the trusted side's wish to hold all others
# Bytes that wait to be read and to be sent: least, at first, at most; connections that nobody has accepted yet.
NETWORK = {"ipv4/tcp_rmem": "4096 16384 16384", "ipv4/tcp_wmem": "4096 16384 16384", "core/somaxconn": "1"}
TERMINALS = 2  # each may hold 640 KiB that are not read
CHANNELS = 200  # descriptors from here on are ours: the notebook's, then one for each graded cell


@dataclass(frozen=True)
class Confinement:
    """How sandboxes are made here. Without ``sealed`` there are limits only; ``cards`` opens what CUDA needs."""

    sealed: bool
    program: bytes  # of seccomp
    cards: bool = False


def start(slot: int, limits: Mapping[str, Any], descriptors: Sequence[int], how: Confinement,
          work: Callable[[list[int]], None]) -> tuple[int, int]:  # fmt: skip
    """Fork a sandbox that runs ``work`` on its channels; returns the process to wait for and the one to kill."""
    read, write = os.pipe()
    outer = os.fork()
    if outer:
        os.close(write)
        init = int(os.read(read, 16) or b"0")
        os.close(read)
        return outer, init
    _outer(slot, limits, descriptors, how, work, write)


def _outer(slot: int, limits: Mapping[str, Any], descriptors: Sequence[int], how: Confinement,
           work: Callable[[list[int]], None], write: int) -> NoReturn:  # fmt: skip
    """Enter the namespaces; a pid namespace holds only what is forked from now on."""
    channels: list[int] = []
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        channels, write = _only_descriptors(descriptors, write)
        if how.sealed:
            _new_namespaces(slot)
        init = os.fork()
        if init == 0:
            _init(limits, channels, how, work, write)
        os.write(write, b"%d" % init)
        os.closerange(CHANNELS, CHANNELS + len(channels) + 1)
        os.waitpid(init, 0)
        os._exit(0)
    except BaseException:
        _report(channels)
    os._exit(1)


def _only_descriptors(descriptors: Sequence[int], write: int) -> tuple[list[int], int]:
    """Close all inherited descriptors but these, which move to CHANNELS and on."""
    for at, descriptor in enumerate([*descriptors, write]):
        os.dup2(descriptor, CHANNELS + at)
    last = CHANNELS + len(descriptors)
    os.closerange(3, CHANNELS)
    os.closerange(last + 1, 4096)
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    return list(range(CHANNELS, last)), last


def _new_namespaces(slot: int) -> None:
    if os.getuid() == 0:
        uid = FIRST_UID + slot % UIDS
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    # The change of uid clears both: without the first /proc/self/uid_map belongs to root and cannot be written.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    flags = kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS
    kernel.new_user_namespace(flags, inside=1000)


def _init(limits: Mapping[str, Any], channels: list[int], how: Confinement,
          work: Callable[[list[int]], None], write: int) -> NoReturn:  # fmt: skip
    """Process 1: builds the sandbox, forks the notebook, and reaps until it is killed or alone."""
    try:
        os.close(write)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if sys.platform == "linux":
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        with contextlib.suppress(OSError):  # now, since the fresh /proc cannot be written
            Path("/proc/self/oom_score_adj").write_text("1000")
        if how.sealed:
            _own_network()
            _own_folders(limits["scratch_mib"], how.cards)
        kernel.set_limits(limits["resources"])
        if how.sealed:
            kernel.drop_capabilities()
            kernel.load_seccomp(how.program)
        notebook = os.fork()
        if notebook == 0:
            _notebook(channels, how, work)
        os.closerange(CHANNELS, CHANNELS + len(channels))
        if sys.platform == "linux":
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
        while True:
            _reap()
            if signal.sigwait(AWAITED) == signal.SIGUSR1:
                hold_all_below(os.getpid())
    except ChildProcessError:
        os._exit(0)
    except BaseException:
        _report(channels)
    os._exit(1)


def _reap() -> None:
    """All children that have ended; raises ChildProcessError when none is left."""
    while os.waitpid(-1, os.WNOHANG)[0]:
        pass


def _notebook(channels: list[int], how: Confinement, work: Callable[[list[int]], None]) -> NoReturn:
    try:
        if how.sealed:
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        if sys.platform == "linux":
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        work(channels)
        os._exit(0)
    except BaseException:
        _report(channels)
    os._exit(1)


def _own_network() -> None:
    """A loopback, up and running, whose sockets hold little that is not read."""
    for name, value in NETWORK.items():
        Path("/proc/sys/net", name).write_text(value)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh", b"lo", 1 | 64))  # SIOCSIFFLAGS


def _own_folders(scratch_mib: int, cards: bool) -> None:
    """Fresh places to write, of one size limit together; a fresh /proc and terminals.

    A Python under /home or /tmp, as a student's or a CI's virtual environment is, shows again in the fresh folder.
    """
    shown = [(point, os.open(point, os.O_PATH)) for point in _outermost_mounts("/home", "/tmp")]
    safe = kernel.NO_SUID | kernel.NO_DEV
    options = f"size={scratch_mib}m,nr_inodes=8k,mode=755"
    kernel.mount("scratch", "/tmp", "tmpfs", safe, options)
    for name, target in (("home", "/home"), ("shm", "/dev/shm"), ("tmp", "/tmp")):
        os.mkdir(f"/tmp/{name}")
        os.chmod(f"/tmp/{name}", 0o1777)
        kernel.mount(f"/tmp/{name}", target, None, kernel.BIND)
    os.mkdir(HOME)
    for point, descriptor in shown:
        os.makedirs(point, exist_ok=True)
        kernel.mount(f"/proc/self/fd/{descriptor}", point, None, kernel.BIND | kernel.RECURSIVE)
        os.close(descriptor)
    kernel.mount(
        "devpts",
        "/dev/pts",
        "devpts",
        kernel.NO_SUID | kernel.NO_EXEC,
        f"newinstance,max={TERMINALS},ptmxmode=0666,mode=620",
    )
    _own_proc(safe | kernel.NO_EXEC, cards)
    kernel.set_host_name("sandbox")


def _own_proc(flags: int, cards: bool) -> None:
    """Read-only, since who writes to /proc/self/clear_refs sets the peak of its memory back; and of processes alone,
    since how busy the machine is tells of neighbours. But CUDA names threads there, and reads of drivers.
    """
    if cards:
        kernel.mount("proc", "/proc", "proc", flags)
        return
    try:
        kernel.mount("proc", "/proc", "proc", flags | kernel.READ_ONLY, "subset=pid")
    except OSError:  # before Linux 5.8
        kernel.mount("proc", "/proc", "proc", flags | kernel.READ_ONLY)


def _outermost_mounts(*folders: str) -> list[str]:
    """Mount points below ``folders``, without those below another one."""
    points = [p for folder in folders for p in kernel.mounts_under(folder) if p not in folders]
    return [p for p in points if not any(p.startswith(f"{other}/") for other in points)]


def _report(channels: Sequence[int]) -> None:
    """Tell the trusted side what went wrong before any student's code ran."""
    with contextlib.suppress(BaseException):
        text = traceback.format_exc()[-2000:]
        Channel(socket.socket(fileno=channels[0])).send({"kind": "setup", "error": text})
