"""The edition's ``mlsys_course`` as a wheel: a zip written by hand, so that it is the same bytes each time."""

import base64
import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from mlsys_course.desk.release import pack

NAME = "mlsys_course"
STAFF_ONLY = ("covertable", "jinja2", "jupytext", "latex2mathml", "tomlkit")  # the build's, the pages', the term's
STUDENT_EXTRAS = ("data",)
WHEEL = "Wheel-Version: 1.0\nGenerator: mlsys release\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
COMMANDS = f"[console_scripts]\nmlsys = {NAME}.desk.cli:main\n"  # the staff's join by entry points of the full package


def wheel_of(package: Path, version: str) -> tuple[str, bytes]:
    """(file name, bytes) of a wheel of the ``mlsys_course`` in ``package``."""
    base = f"{NAME}-{version}"
    files = {
        f"{NAME}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.is_file()
    }
    info = {"METADATA": _metadata(version), "WHEEL": WHEEL, "entry_points.txt": COMMANDS}
    files |= {f"{base}.dist-info/{name}": text.encode() for name, text in info.items()}
    record = f"{base}.dist-info/RECORD"
    files[record] = _record(files, record).encode()
    return f"{base}-py3-none-any.whl", pack(files)


def requirements() -> list[Requirement]:
    """What a student's environment needs: the full package's requirements without the staff's own."""
    everything = [Requirement(text) for text in metadata.requires(NAME) or []]
    return [one for one in everything if one.name not in STAFF_ONLY and _for_students(one)]


def _for_students(requirement: Requirement) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *STUDENT_EXTRAS))


def _metadata(version: str) -> str:
    full = metadata.metadata(NAME)
    head = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {version}",
        f"Summary: {full['Summary']}",
        f"Requires-Python: {full['Requires-Python']}",
        *(f"Provides-Extra: {extra}" for extra in STUDENT_EXTRAS),
    ]
    return "\n".join([*head, *(f"Requires-Dist: {one}" for one in requirements())]) + "\n"


def _record(files: Mapping[str, bytes], own: str) -> str:
    rows = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in sorted(files.items())]
    return "\n".join([*rows, f"{own},,"]) + "\n"


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
