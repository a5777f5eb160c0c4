"""An alarm inside a sealed call: a loop in Python ends as that call's time-out, and the process answers the next one.

The trusted side keeps the time all the same; what no signal can interrupt, it ends together with the process.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class Slow(BaseException):
    """A call has had its time."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise Slow in here after so many seconds."""

    def ring(*_: Any) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """What is in here is finished first, as a frame that is half written or half read must be."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
