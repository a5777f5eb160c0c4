"""The filter of system calls in every sandbox: roads out, roads to other sandboxes, and memory that nobody counts.

Sandboxes see the same read-only files, so they have the kernel's inodes in common, and whatever can be attached to one:
locks, watches, leases, waiters, hints. Locks succeed and do nothing; all else is not there. That holds for every file.
"""

import ctypes
import errno
import struct
from collections.abc import Iterable, Sequence

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand: as in linux/filter.h
LOAD, AND, EQUAL, GREATER, AT_LEAST, JUMP, RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x05, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
ALLOW, KILL, ANSWER = 0x7FFF0000, 0x80000000, 0x00050000
X32 = 0x40000000  # x86's other numbers for the same calls
ELSEWHERE = -1  # a jump out of the rule, whose length is known at its end

# Roads out, roads to other processes, and memory that the watchdog could not see: memfd, System V, mqueue, and what the
# kernel keeps of rules, filters and timers.
REFUSED = """
ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp
mount umount2 pivot_root chroot unshare setns fsopen fsconfig fsmount fspick move_mount open_tree open_tree_attr
mount_setattr open_by_handle_at name_to_handle_at mknod mknodat quotactl quotactl_fd swapon swapoff acct
bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
keyctl add_key request_key kexec_load kexec_file_load init_module finit_module delete_module
reboot settimeofday clock_settime clock_adjtime adjtimex syslog vhangup personality lookup_dcookie nfsservctl
memfd_create memfd_secret shmget shmat shmctl shmdt msgget semget mq_open
sysinfo move_pages migrate_pages sendmsg sendmmsg
landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp timer_create timerfd_create signalfd signalfd4
lsm_get_self_attr lsm_set_self_attr lsm_list_modules modify_ldt
"""
# Not there: watches, who has read which page, waiters and requests that no filter can read, pages held by a pipe.
ABSENT = """
inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_init fanotify_mark mincore cachestat
futex_wait futex_waitv futex_requeue io_setup io_submit io_destroy vmsplice splice tee sendfile clone3
"""  # clone3: its flags lie in memory; libc then uses clone
IGNORED = "flock fadvise64 readahead sync syncfs sync_file_range"  # on files that everybody reads

NAMESPACES = (0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x2000000)
LOCKS = (6, 7, 37, 38)  # commands of fcntl: F_SETLK F_SETLKW, and F_OFD_
# Duplicates, flags, who has a lock (nobody), how large a pipe is; no owner, signal, lease, watch, hint or larger pipe.
COMMANDS = (0, 1, 2, 3, 4, 5, 36, 1030, 1032)
COLD, PAGE_OUT, COLLAPSE, MERGEABLE = 20, 21, 25, 12  # of madvise, on pages that others map too, or may come to
WILL_NEED, HUGE_PAGES = 3, 0x40000
MERGE_ALL = 67  # PR_SET_MEMORY_MERGE
FILTERS = (22, 28, 35)  # PR_SET_SECCOMP, PR_SET_SECUREBITS, PR_SET_MM
ATTRIBUTES = ("setxattr", "lsetxattr", "fsetxattr", "setxattrat")
FUTEX_WAITS, FUTEX_COMMAND_AND_PRIVATE = (0, 9), 0xFF
FUTEX_PRIORITY = (6, 7, 8, 11, 12, 13)
UNIX, INET, INET6, STREAM, SEQPACKET, TCP = 1, 2, 10, 1, 5, 6
OPTIONS = {  # of sockets, by level; raising a buffer, filters and ancillary memory are not among them
    1: (2, 6, 9, 13, 15, 20, 21),  # SOL_SOCKET: REUSEADDR BROADCAST KEEPALIVE LINGER REUSEPORT, two timeouts
    TCP: (1, 4, 5, 6, 12, 18),  # NODELAY, three of KEEPALIVE, QUICKACK, USER_TIMEOUT
    41: (26,),  # IPV6_V6ONLY
}
TERMINAL = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing into a terminal
SIGNALS = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP


def seccomp_program(*, shared_piece: int = 0) -> bytes:
    """The filter as the kernel's own instructions: built once, loaded in each sandbox.

    ``shared_piece``, in bytes, is for CUDA, which cannot start without anonymous shared memory, as much in a piece, and
    a local socket where it listens. The watchdog then counts each of both in full.
    """
    library = seccomp_library()
    numbers = {name: library.seccomp_syscall_resolve_name(name.encode()) for name in _names()}
    program: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, library.seccomp_arch_native()),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, KILL),
    ]
    for name, code, *tests in _rules(shared_piece):
        if numbers[name] >= 0:  # else not on this machine
            program += _rule(numbers[name], ANSWER | code, tests)
    program.append((LOAD, 0, 0, NUMBER))
    for names, code in ((REFUSED, errno.EPERM), (ABSENT, errno.ENOSYS), (IGNORED, 0)):
        for number in (numbers[name] for name in names.split() if numbers[name] >= 0):
            program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ANSWER | code)]
    program.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def seccomp_library() -> ctypes.CDLL:
    """libseccomp, for the calls' numbers on this machine; raises OSError where it is not installed."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_arch_native.restype = ctypes.c_uint32
    return library


def _rules(shared_piece: int) -> Iterable[tuple]:
    """Name of a call, what it answers, and the tests that all hold of its arguments; the first such rule counts."""
    yield "fcntl", 0, _among(1, LOCKS)
    yield "fcntl", errno.EPERM, _not_among(1, COMMANDS)
    # A waiter at a page of a file that others map is seen by them, and woken. Who asks again at once needs no waiting.
    yield "futex", errno.EAGAIN, _among(1, FUTEX_WAITS, FUTEX_COMMAND_AND_PRIVATE)
    yield "futex", errno.ENOSYS, _among(1, FUTEX_PRIORITY, FUTEX_COMMAND_AND_PRIVATE)
    yield "madvise", errno.EINVAL, _among(2, (COLD, PAGE_OUT, COLLAPSE, MERGEABLE))
    yield "madvise", 0, _among(2, [WILL_NEED])
    yield "prctl", errno.EPERM, _among(0, FILTERS)  # each is kept, by the thousand
    yield "prctl", errno.EINVAL, _among(0, [MERGE_ALL])  # equal pages of two sandboxes become one, which /proc tells
    for name in ATTRIBUTES:  # of a file: memory that is in no process and no file
        yield name, errno.EOPNOTSUPP
    yield "preadv2", errno.EOPNOTSUPP, _not_among(5, [0])  # such as: only if it is in memory already
    yield "pwritev2", errno.EOPNOTSUPP, _not_among(5, [0])
    for flag in NAMESPACES:
        yield "clone", errno.EPERM, _among(0, [flag], flag)
    yield "ioctl", errno.EPERM, _among(1, (*TERMINAL, *SIGNALS))
    # Anonymous shared memory stays when no process maps it, so that nobody's resident set would show it.
    yield "mmap", errno.EPERM, _among(3, [0x21], 0x21), _above(1, shared_piece)
    yield "mmap", errno.ENOMEM, _among(3, [HUGE_PAGES], HUGE_PAGES)  # of a pool that is in nobody's resident set
    # Of sockets only TCP, whose buffers are those that the sandbox's own network has, and CUDA's own kind for it.
    local = [UNIX] if shared_piece else []
    yield "socket", errno.EAFNOSUPPORT, _not_among(0, (INET, INET6, *local))
    yield "socket", errno.EPROTONOSUPPORT, _among(0, (INET, INET6)), _not_among(1, [STREAM], 0xF)
    yield "socket", errno.EPROTONOSUPPORT, _among(0, [UNIX]), _not_among(1, [SEQPACKET], 0xF)
    yield "socket", errno.EPROTONOSUPPORT, _not_among(2, (0, TCP))
    yield "socketpair", errno.EAFNOSUPPORT
    yield "setsockopt", errno.EPERM, _not_among(1, OPTIONS)
    for level, options in OPTIONS.items():
        yield "setsockopt", errno.EPERM, _among(1, [level]), _not_among(2, options)


def _names() -> set[str]:
    return {rule[0] for rule in _rules(0)} | {*REFUSED.split(), *ABSENT.split(), *IGNORED.split()}


def _rule(number: int, answer: int, tests: Sequence[list[Instruction]]) -> list[Instruction]:
    body = [instruction for test in tests for instruction in test] + [(RETURN, 0, 0, answer)]
    found = [(LOAD, 0, 0, NUMBER), (EQUAL, 1, 0, number), (JUMP, 0, 0, ELSEWHERE), *body]
    end = len(found)
    return [(c, t, f, end - at - 1 if k == ELSEWHERE else k) for at, (c, t, f, k) in enumerate(found)]


def _argument(index: int, mask: int = 0xFFFFFFFF) -> list[Instruction]:
    """The lower half of an argument, which is all that the kernel reads of an int."""
    load = (LOAD, 0, 0, ARGUMENTS + 8 * index)
    return [load] if mask == 0xFFFFFFFF else [load, (AND, 0, 0, mask)]


def _among(index: int, values: Iterable[int], mask: int = 0xFFFFFFFF) -> list[Instruction]:
    """Go on where the argument is one of the values."""
    known = list(values)
    found = [(EQUAL, len(known) - at, 0, value) for at, value in enumerate(known)]
    return [*_argument(index, mask), *found, (JUMP, 0, 0, ELSEWHERE)]


def _not_among(index: int, values: Iterable[int], mask: int = 0xFFFFFFFF) -> list[Instruction]:
    """Go on where the argument is none of the values."""
    known = list(values)
    found = [(EQUAL, len(known) - at, 0, value) for at, value in enumerate(known)]
    return [*_argument(index, mask), *found, (JUMP, 0, 0, 1), (JUMP, 0, 0, ELSEWHERE)]


def _above(index: int, most: int) -> list[Instruction]:
    """Go on where the argument, as 64 bits, is larger."""
    lower, upper = _argument(index)[0], (LOAD, 0, 0, ARGUMENTS + 8 * index + 4)
    return [upper, (EQUAL, 0, 3, 0), lower, (GREATER, 1, 0, most), (JUMP, 0, 0, ELSEWHERE)]
