"""Files that are there whole or as they were, for the student's workspace and the staff's folders alike."""

import contextlib
import os
import shutil
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is there whole, or as it was, also after a power cut; a folder that is missing is made.

    Line ends stay what they are, and so does who may read what was there. Raises OSError, such as on a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.writing")
    try:
        with scratch.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, scratch)
        scratch.replace(path)
    finally:
        with contextlib.suppress(OSError):  # what went wrong before says more
            scratch.unlink(missing_ok=True)
