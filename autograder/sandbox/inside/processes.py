"""Which processes descend from one, and what they take: read from /proc. Empty answers where there is none."""

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

ANONYMOUS_SHARED = "/dev/zero (deleted)"
SHARED_PIECE = 32 << 20  # bytes; CUDA takes some of 2 MiB and one of 8.3
SOCKET_BUFFER = 1 << 20  # bytes; Linux's own limit is 208 KiB and one message more
NEVER_EXECUTED = 0x40  # PF_FORKNOEXEC of the kernel's flags
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """One process: bytes in memory, seconds of CPU of its own and of children that it has waited for."""

    resident: int
    own_seconds: float
    waited_seconds: float


def _read(path: str) -> str:
    """The watchdog reads hundreds of these a second, hence no buffer and no decoder of text files around it.

    A process may call itself anything, so its name need be no text.
    """
    with open(path, "rb", buffering=0) as file:
        return file.read().decode("ascii", errors="replace")


def children(pid: int) -> list[int]:
    """Its children, by whichever of its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def descendants(pid: int) -> list[int]:
    """All that come from ``pid``, itself left out."""
    found: list[int] = []
    wanted = [pid]
    while wanted:
        new = [child for child in children(wanted.pop()) if child not in found]
        found += new
        wanted += new
    return found


def usage(pid: int) -> Usage | None:
    """What ``pid`` takes, or None when it is gone."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    user, system, waited_user, waited_system = (int(x) / TICKS for x in fields[11:15])
    return Usage(int(fields[21]) * PAGE, user + system, waited_user + waited_system)


def parent(pid: int) -> int:
    """Its parent, 0 when it is gone."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return 0
    return int(text[text.rindex(")") + 2 :].split()[1])


def runs_another(pid: int) -> bool:
    """Whether ``pid`` has called exec since it was forked, or is gone. Nobody can set that flag back."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return True
    return not int(text[text.rindex(")") + 2 :].split()[6]) & NEVER_EXECUTED


def status_bytes(pid: int, *names: str) -> int | None:
    """The sum of some of the sizes in /proc/PID/status, such as RssAnon, in bytes; None when it is gone."""
    return _sum_of(f"/proc/{pid}/status", names)


def proportional_bytes(pid: int) -> int | None:
    """Memory with each shared page counted in parts; None when it is gone or may not be read."""
    return _sum_of(f"/proc/{pid}/smaps_rollup", ("Pss",))


def shared_anonymous_bytes(pids: Iterable[int]) -> int:
    """The most that anonymous shared memory can come to, where none was made larger than SHARED_PIECE.

    Its pages stay while any of them is mapped, and no process need have them resident.
    """
    pieces: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = _read(f"/proc/{pid}/maps").splitlines()
            pieces |= {line.split()[4] for line in lines if line.endswith(ANONYMOUS_SHARED)}
    return len(pieces) * SHARED_PIECE


def descriptors(pids: Iterable[int], unreadable: int) -> int:
    """How many are open, ``unreadable`` for each process that does not show them."""
    count = 0
    for pid in pids:
        try:
            count += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            count += unreadable
    return count


def local_socket_bytes(pid: int) -> int:
    """The most that local sockets of the network of ``pid`` can hold unread, where no buffer was made larger."""
    try:
        return SOCKET_BUFFER * (len(_read(f"/proc/{pid}/net/unix").splitlines()) - 1)
    except OSError:
        return 0


def _sum_of(path: str, names: tuple[str, ...]) -> int | None:
    try:
        text = _read(path)
    except OSError:
        return None
    found = (text.partition(f"\n{name}:")[2] for name in names)
    return sum(int(rest.split(maxsplit=1)[0]) for rest in found if rest) * 1024


HELD = {"RLIMIT_NPROC": "Max processes", "RLIMIT_FSIZE": "Max file size"}  # and their names in /proc/PID/limits


def hold_all_below(pid: int) -> None:
    """Let no process below ``pid`` start another or a thread, or write a file, for good. Linux only."""
    held: set[int] = set()
    while new := set(descendants(pid)) - held:
        for below in new:
            with contextlib.suppress(OSError):
                for name in HELD:
                    resource.prlimit(below, getattr(resource, name), (0, 0))
        held |= new


def held(pid: int) -> bool:
    """Whether ``pid`` is held, or gone."""
    try:
        rows = _read(f"/proc/{pid}/limits").splitlines()
    except OSError:
        return True
    return all(any(row.split()[-3:-1] == ["0", "0"] for row in rows if row.startswith(name)) for name in HELD.values())


def kill_all_below(pid: int) -> None:
    """Kill ``pid`` and what descends from it, for where no pid namespace does that."""
    for _ in range(50):
        found = descendants(pid)
        for child in found:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        if not [child for child in found if alive(child)]:
            break
        time.sleep(0.002)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether it still runs."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return False
    return text[text.rindex(")") + 2] not in "ZX"
