"""What a cell tried that no lab has a use for, noted for the staff's log by a hook that Python code cannot remove.

The sandbox refuses such things in any case; this says who tried. A sandbox tells it of itself: a hint, and no proof.
"""

import sys
from typing import Any

MOST, LONGEST = 20, 160
TOLD = frozenset({
    "socket.connect", "socket.bind", "socket.sendto", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn",
    "os.fork", "os.forkpty", "os.kill", "os.killpg", "pty.spawn", "ctypes.dlopen", "os.symlink", "os.link", "os.chmod",
    "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys.settrace", "sys.setprofile", "sys.addaudithook",
})  # fmt: skip
# A student's own folders and what everybody reads; and whatever Python imports. All else is somebody else's.
COMMON = (
    "/home/student", "/tmp/", "/dev/", "/usr/lib", "/var/cache/matplotlib", "/etc/localtime", "/etc/mime.types",
    "/proc/meminfo", "/proc/cpuinfo",
)  # fmt: skip

_noted: list[str] = []
_imported: list[str] = []
_watching = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or len(_noted) >= MOST:
        return
    try:
        if event in TOLD:
            # Of a connection the socket comes first, and says nothing.
            told = arguments[1:2] if event.startswith("socket.") else arguments[:2]
            _noted.append(f"{event} {' '.join(map(repr, told))}"[:LONGEST])
        elif event == "open" and isinstance(arguments[0], str) and _is_foreign(arguments[0]):
            _noted.append(f"open {arguments[0]!r}"[:LONGEST])
    except BaseException:  # a student's object with a __repr__ of its own
        _noted.append(event)


def _is_foreign(path: str) -> bool:
    return path.startswith("/") and not path.startswith((*COMMON, *_imported))


def install() -> None:
    """From now on, in this process and all that it forks."""
    _imported.extend({sys.prefix, sys.base_prefix, *sys.path})
    sys.addaudithook(_hook)


def watch(on: bool) -> None:
    """Note, or do not: only what a cell does is told."""
    global _watching
    _watching = on


def taken() -> list[str]:
    """What was noted since the last time."""
    noted = list(_noted)
    _noted.clear()
    return noted
