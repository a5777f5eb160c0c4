"""The kernel's calls that Python lacks, by ctypes: namespaces, mounts, capabilities, seccomp. Linux only."""

import contextlib
import ctypes
import os
import resource
import struct
from collections.abc import Mapping
from pathlib import Path

from .seccomp import seccomp_program as seccomp_program

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
HUGE, MADV_COLLAPSE = 2 << 20, 25
# statvfs(2) and mount(2) number the same property differently from here on.
ACCESS_TIMES = {1024: 1024, 2048: 2048, 4096: 1 << 21}
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def keep_memory() -> None:
    """What this process lets go of it keeps for later: nobody measures it, and new pages are dear."""
    for option, value in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 256 << 20), (M_TOP_PAD, 4 << 20)):
        if hasattr(_libc, "mallopt"):  # glibc's
            _libc.mallopt(option, value)


def unshare(flags: int) -> None:
    """Leave the namespaces of ``flags`` for fresh ones."""
    _checked(_libc.unshare(flags), "unshare")


def prctl(option: int, value: int = 0) -> None:
    """Set a property of this process."""
    _checked(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """mount(2)."""
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    data = None if options is None else options.encode()
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), data), f"mount {kind or source} on {target}")


def seal(target: str) -> None:
    """Make the mount at ``target`` read-only, keeping what it may not lose in a user namespace."""
    now = os.statvfs(target).f_flag
    kept = (now & (NO_SUID | NO_DEV | NO_EXEC)) | sum(flag for bit, flag in ACCESS_TIMES.items() if now & bit)
    mount(None, target, None, BIND | REMOUNT | READ_ONLY | NO_SUID | kept)


def mounts_under(folder: str) -> list[str]:
    """Mount points at or below ``folder``."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == folder or point.startswith(folder.rstrip("/") + "/"):
            found.append(point)
    return found


def bind(source: str, target: str) -> None:
    """Show ``source`` at ``target``, read-only, and whatever is mounted below it too."""
    mount(source, target, None, BIND | RECURSIVE)
    for point in mounts_under(target):
        seal(point)


def pivot(root: str) -> None:
    """Make ``root`` the root of this mount namespace and let the old one go."""
    os.chdir(root)
    _checked(_libc.pivot_root(b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", DETACH), "umount")
    os.chdir("/")


def new_user_namespace(flags: int, inside: int) -> None:
    """unshare a user namespace with the others of ``flags``; in it this process is ``inside``, the only user."""
    uid, gid = os.getuid(), os.getgid()
    unshare(NEWUSER | flags)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{inside} {gid} 1")


def collapse_memory() -> None:
    """Put this process's own memory into huge pages where the kernel can (6.1 and later).

    A fork copies one entry of the page table for each 2 MiB then, not 512: a third of the time. Nothing is lost where
    it cannot be had.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        if "w" in fields[1] and (len(fields) < 6 or fields[5] == "[heap]"):
            start, end = (int(number, 16) for number in fields[0].split("-"))
            start, end = -(-start // HUGE) * HUGE, end // HUGE * HUGE
            if end > start:
                _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_COLLAPSE)


def set_host_name(name: str) -> None:
    """Name this machine in its own namespace."""
    _checked(_libc.sethostname(name.encode(), len(name)), "sethostname")


def drop_capabilities() -> None:
    """Give up every capability, for good."""
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    _libc.prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    _checked(_libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def set_limits(limits: Mapping[str, int]) -> None:
    """Resource limits by name, such as ``{"NPROC": 64}``; none is raised above what it was."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is None:  # not on this system
            continue
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def load_seccomp(program: bytes) -> None:
    """Put this process and its descendants under the filter; needs no_new_privs."""
    described = _Program(len(program) // 8, program)
    result = _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(described), 0, 0)
    _checked(result, "seccomp")
