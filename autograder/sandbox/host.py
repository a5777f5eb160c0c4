"""The machine that sandboxes run on: what it may run out of, for reasons that no submission can help."""

import contextlib
import re
from pathlib import Path

COUNTERS = ("/proc/vmstat", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
OUT_OF_MEMORY = "this machine ran out of memory: end other programs, or give a smaller --jobs, and grade again"


def processes_killed() -> int:
    """How many processes the kernel has killed so far because the machine, or its container, had no more memory."""
    found = 0
    for path in COUNTERS:
        with contextlib.suppress(OSError):
            found += sum(map(int, re.findall(r"^oom_kill (\d+)", Path(path).read_text(), flags=re.MULTILINE)))
    return found


def raise_descriptor_limit() -> None:
    """Let this process open as many files as it may: each sandbox takes dozens."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not everywhere, and not above what a system allows
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
