"""Files that are there whole or as they were, and a name for what several files hold."""

import hashlib
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
