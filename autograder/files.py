"""Files that are read only where they are plain; a name for what several hold."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE)


def digest_of_files(files: Iterable[tuple[str, bytes]], seed: bytes = b"") -> str:
    """SHA-256 of names and contents in the order given; another split into files is another digest."""
    known = hashlib.sha256(seed)
    for name, data in files:
        known.update(f"{name}\0{len(data)}\0".encode() + data)
    return known.hexdigest()


def read_regular(path: Path, most: int) -> bytes | None:
    """Bytes of a regular file with one name, at most ``most`` and one more; None for anything else.

    Raises OSError where this machine cannot read it, which says nothing of the file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in MACHINE:
            raise
        return None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most + 1)
