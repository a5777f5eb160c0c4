"""A term's secret: outside every repository, made once, never overwritten, with a copy in a safe place."""

import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

from ..errors import CourseError

SAMPLE = "sample"
SAMPLE_SECRET = b"the sample term is fixed, and its draws are public"
MIN_SECRET = 16
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")
COPIED = ".copied"


def secrets_folder() -> Path:
    """Where secrets of terms are kept: outside every repository."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mlsys" / "terms"


def secret_path(term: str) -> Path:
    """Where a term's secret is, or will be."""
    return secrets_folder() / f"{term}.secret"


def secret_of(term: str) -> bytes:
    """The secret of a term."""
    if term == SAMPLE:
        return SAMPLE_SECRET
    path = secret_path(term)
    try:
        secret = path.read_bytes().strip()
    except OSError:
        raise CourseError(
            f"no secret of term {term!r} at {path}; make one with `mlsys term new {term}`, or bring your copy back: "
            f"`mlsys term import-secret {term} FILE`"
        ) from None
    return _long_enough(secret, path)


def _long_enough(secret: bytes, path: Path) -> bytes:
    if len(secret) < MIN_SECRET:
        raise CourseError(
            f"{path} holds {len(secret)} bytes, and a secret has at least {MIN_SECRET}; restore your copy"
        )
    return secret


def check_name(term: str) -> None:
    """Refuse what cannot name a term of its own."""
    if not NAME.fullmatch(term) or term == SAMPLE:
        raise CourseError(f"{term!r} cannot name a term; use letters, digits and hyphens, such as 2027-spring")


def new_secret(term: str) -> Path:
    """Make the secret of a new term; an existing one is never overwritten."""
    check_name(term)
    path = secret_path(term)
    if not _create(path, secrets.token_hex(32).encode() + b"\n"):
        raise CourseError(f"term {term!r} has a secret already, at {path}; grades depend on it, so it stays")
    return path


def export_secret(term: str, copy: Path, course: Path) -> None:
    """Write a copy of a term's secret to a new file, outside the course's folder, and remember that there is one."""
    if term == SAMPLE:
        raise CourseError("the sample term's secret is public and part of the course; there is nothing to keep")
    secret = secret_of(term)
    if copy.resolve().is_relative_to(course.resolve()):
        raise CourseError(f"{copy} lies in the course's folder, which is shared; choose a place only staff can read")
    if not copy.parent.is_dir():
        raise CourseError(f"{copy.parent} is no folder; make it, or name a file elsewhere")
    if not _create(copy, secret + b"\n"):
        raise CourseError(f"{copy} exists and stays as it is; name a new file")
    _remember_copy(term)


def import_secret(term: str, copy: Path) -> Path:
    """Bring a term's secret from its copy to this machine; a different one that is here already stays."""
    check_name(term)
    try:
        secret = _long_enough(copy.read_bytes().strip(), copy)
    except OSError as error:
        raise CourseError(f"{copy} cannot be read ({error.strerror}); name the file of `export-secret`") from None
    path = secret_path(term)
    if not _create(path, secret + b"\n") and path.read_bytes().strip() != secret:
        raise CourseError(f"term {term!r} has another secret already, at {path}; grades depend on it, so it stays")
    _remember_copy(term)
    return path


def secret_terms() -> list[str]:
    """Terms whose secret is on this machine."""
    return sorted(path.stem for path in secrets_folder().glob("*.secret"))


def has_copy(term: str) -> bool:
    """Whether a copy of the secret was made, or the secret came from one."""
    return term == SAMPLE or secret_path(term).with_suffix(COPIED).is_file()


def _remember_copy(term: str) -> None:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    secret_path(term).with_suffix(COPIED).write_text(f"{when}\n", encoding="utf-8")


def _create(path: Path, data: bytes) -> bool:
    """Write a file that only its owner may read, whole; False where there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise CourseError(f"{path} cannot be written ({error.strerror}); free space or choose another place") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise CourseError(f"{path} cannot be written ({error.strerror}); free space or choose another place") from None
    return True
