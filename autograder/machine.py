"""What fails for the machine's sake and not for a student's: said in one sentence, and never a grade."""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from .errors import CourseError

FULL = "the disk is full"
SAID = {
    errno.ENOSPC: f"{FULL}: free space",
    errno.EDQUOT: f"{FULL} as far as this user may fill it: free space",
    errno.EROFS: "the disk cannot be written to: remount it, or choose another folder",
    errno.EIO: "the disk does not answer: look at it",
    errno.EACCES: "this user may not do that: look at who owns it",
    errno.EMFILE: "too many files are open: raise `ulimit -n`, or give a smaller --jobs",
    errno.ENFILE: "too many files are open on this machine: end other programs",
    errno.ENOMEM: "memory is used up: end other programs, or give a smaller --jobs",
    errno.ENOBUFS: "memory is used up: end other programs, or give a smaller --jobs",
    errno.EAGAIN: "no more processes can be started: end other programs, or give a smaller --jobs",
}
DATABASE = {
    "disk is full": SAID[errno.ENOSPC],
    "disk I/O error": SAID[errno.EIO],
    "readonly database": SAID[errno.EROFS],
    "unable to open database": SAID[errno.EMFILE],
}


def trouble(error: BaseException | None) -> str:
    """What of the machine an error speaks of, and what to do; empty where it is about something else."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if said := _said(error):
            return f"{said}, and call this again"
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    return ""


def _said(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return SAID[errno.ENOMEM]
    if isinstance(error, sqlite3.Error):
        return next((said for words, said in DATABASE.items() if words in str(error)), "")
    if isinstance(error, OSError) and error.errno in SAID:
        what, _, remedy = SAID[error.errno].partition(": ")
        place = f" ({Path(str(error.filename))})" if error.filename else ""
        return f"{what}{place}: {remedy}"
    return ""


@contextlib.contextmanager
def machine_trouble() -> Iterator[None]:
    """What fails for the machine's sake is a CourseError; what is whole on disk stays so."""
    try:
        yield
    except CourseError:
        raise
    except Exception as error:
        if said := trouble(error):
            raise CourseError(said) from error
        raise
