"""A name for what several files hold."""

import hashlib
from collections.abc import Iterable


def digest_of_files(files: Iterable[tuple[str, bytes]], seed: bytes = b"") -> str:
    """SHA-256 of names and contents in the order given; another split into files is another digest."""
    known = hashlib.sha256(seed)
    for name, data in files:
        known.update(f"{name}\0{len(data)}\0".encode() + data)
    return known.hexdigest()
