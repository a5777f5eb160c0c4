"""Files that are there whole or as they were, or read only where they are plain; a name for what several hold."""

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is there whole, or as it was; line ends stay what they are. Raises OSError on a full disk."""
    scratch = path.with_name(f".{path.name}.writing")
    try:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def digest_of_files(files: Iterable[tuple[str, bytes]], seed: bytes = b"") -> str:
    """SHA-256 of names and contents in the order given; another split into files is another digest."""
    known = hashlib.sha256(seed)
    for name, data in files:
        known.update(f"{name}\0{len(data)}\0".encode() + data)
    return known.hexdigest()


def read_regular(path: Path, most: int) -> bytes | None:
    """Bytes of a regular file with one name, at most ``most`` and one more; None for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
            return None
        return file.read(most + 1)
