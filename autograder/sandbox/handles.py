"""Handles on processes: a number may be somebody else's tomorrow, a handle stays with its process."""

import contextlib
import os
import signal

NO_HANDLES, GONE = -1, -2  # in place of a handle: this system has none, and nobody has the number


def process_handle(pid: int) -> int:
    """A descriptor that stays with this very process, however numbers are reused; or GONE, or NO_HANDLES."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return GONE
    except (AttributeError, OSError):
        return NO_HANDLES


def send_signal(handle: int, pid: int, number: signal.Signals) -> None:
    """Signal a process by its handle, by its number where there are none. Who is gone may have lent its number on."""
    with contextlib.suppress(OSError):
        if handle >= 0:
            signal.pidfd_send_signal(handle, number)
        elif handle != GONE:
            os.kill(pid, number)


def close_handle(handle: int) -> None:
    """Let a handle go."""
    if handle >= 0:
        os.close(handle)
