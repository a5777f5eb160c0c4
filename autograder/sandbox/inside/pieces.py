"""Tries the pieces that a sandbox is made of, each in a process of its own, since namespaces cannot be left."""

import os
import sys

from . import kernel


def _as_nobody() -> None:
    """The namespaces of submissions are made without root's rights."""
    if os.getuid() == 0:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)


def user_namespaces() -> None:
    """A user namespace."""
    _as_nobody()
    kernel.new_user_namespace(0, inside=1000)


def namespaces() -> None:
    """The others with it."""
    _as_nobody()
    flags = kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS
    kernel.new_user_namespace(flags, inside=1000)


def mounting() -> None:
    """A file system of one's own, and a fresh /proc."""
    _as_nobody()
    kernel.new_user_namespace(kernel.NEWNS | kernel.NEWPID, inside=1000)
    kernel.mount(None, "/", None, kernel.RECURSIVE | kernel.PRIVATE)
    kernel.mount("probe", "/tmp", "tmpfs")
    child = os.fork()
    if child == 0:
        os._exit(_code(lambda: kernel.mount("proc", "/proc", "proc")))
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(code, f"mount proc on /proc: {os.strerror(code)}")


def seccomp() -> None:
    """libseccomp builds the filter, and the kernel takes it."""
    program = kernel.seccomp_program()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.load_seccomp(program)


def _code(function: object) -> int:
    try:
        function()  # type: ignore[operator]
    except OSError as error:
        return error.errno or 1
    return 0


if __name__ == "__main__":
    try:
        {f.__name__: f for f in (user_namespaces, namespaces, mounting, seccomp)}[sys.argv[1]]()
    except OSError as failed:
        print(failed)
