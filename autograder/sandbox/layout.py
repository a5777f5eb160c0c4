"""Which folders of this machine a sandbox sees, and which of theirs it must not."""

import importlib.util
import site
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("torch", "numpy", "matplotlib", "matplotlib_inline", "IPython", "safetensors", "traitlets")
SYSTEM = Path("/usr")
OURS = ("mlsys_course", "autograder")


@dataclass(frozen=True)
class Layout:
    """Folders to show read-only, folders to cover, and what to add to the module search path."""

    shown: list[str]
    hidden: list[str]
    paths: list[str]


def layout(drivers: Iterable[str] = ()) -> Layout:
    """For the Python that runs now, and for the libraries that the drivers of devices have in folders of their own."""
    packages = [_folder_of(name) for name in NEEDED]
    prefixes = [Path(p) for p in (sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix)]
    shown = _outermost([SYSTEM, *(p for p in prefixes if p != Path("/")), *packages, *map(Path, drivers)])
    site_folders = {*map(Path, site.getsitepackages()), *packages}
    hidden = {folder / name for folder in site_folders for name in OURS if (folder / name).is_dir()}
    hidden |= {folder for folder in _checkouts() if folder not in site_folders}
    # A virtual environment inside the checkout shows again inside what is covered.
    again = [p for p in (*prefixes, *packages) if any(p.is_relative_to(h) for h in hidden)]
    return Layout(_texts({*shown, *again}), _texts(hidden), [str(p) for p in dict.fromkeys(packages)])


def _folder_of(name: str) -> Path:
    """The folder on the module search path that holds a package."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed; install the course with its constraints again")
    return Path(spec.origin).parent.parent


def _checkouts() -> set[Path]:
    """Folders that hold our own packages, as they are imported here: references, sealed cases, perhaps solutions."""
    found = set()
    for name in OURS:
        spec = importlib.util.find_spec(name)
        if spec and spec.origin:
            found.add(Path(spec.origin).resolve().parent.parent)
    return found


def _outermost(folders: list[Path]) -> list[Path]:
    unique = sorted({folder for folder in folders if folder.is_dir()})
    return [f for f in unique if not any(f != other and f.is_relative_to(other) for other in unique)]


def _texts(folders: Iterable[Path]) -> list[str]:
    return sorted(map(str, folders))
