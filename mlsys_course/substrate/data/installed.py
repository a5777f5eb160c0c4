"""Where a package's data lie: found without importing the package, and checked."""

import hashlib
import importlib.util
from pathlib import Path


class DataMissing(ImportError):
    """A package with data is not installed, or holds other data than the labs were written for."""


def installed(package: str, name: str) -> Path:
    """The file ``name`` in the folder of ``package``, one of those that this course's extra ``data`` installs.

    Raises DataMissing, an ImportError, where it is not there.
    """
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise DataMissing(f'{package} is not installed; run: pip install "mlsys_course[data]"')
    return path


def checked(path: Path, sha256: str) -> bytes:
    """What the file holds, if its SHA-256 digest begins with ``sha256``. Raises DataMissing for another file."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(sha256):
        raise DataMissing(
            f"{path} is not the file that the labs were written for (SHA-256 begins with {found[: len(sha256)]}, "
            f"not {sha256}); install the package again with: pip install -c constraints.txt"
        )
    return content
