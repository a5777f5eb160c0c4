"""The modules of ``mlsys_course`` that a text needs: those that it imports, and those that they import."""

from collections.abc import Iterable
from pathlib import Path

from mlsys_course.desk.former_names import present

from ..imports import imports_of

PACKAGE = "mlsys_course"
DESK = "desk"  # its code is the engine's, which has a number of its own


def modules_of(texts: Iterable[str], package: Path) -> dict[str, Path]:
    """Dotted name -> file, in order of the names. A module brings the packages that it lies in.

    The package's own ``__init__``, which holds a version and lets former names be imported, is nobody's.
    """
    found: dict[str, Path] = {}
    waiting = [name for text in texts for name in imports_of(text)]
    while waiting:
        for name, path in _files(waiting.pop(), package):
            if name not in found:
                found[name] = path
                inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
                waiting += imports_of(path.read_text(encoding="utf-8"), tuple(inside.split(".")))
    return dict(sorted(found.items()))


def _files(dotted: str, package: Path) -> Iterable[tuple[str, Path]]:
    """The module of a dotted name, and each package on the way to it; a name that is no module ends the way."""
    top, *rest = present(dotted).split(".")
    if top != PACKAGE or rest[:1] == [DESK]:
        return
    for depth in range(1, len(rest) + 1):
        place = package.joinpath(*rest[:depth])
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if not path.is_file():
            return
        yield ".".join([PACKAGE, *rest[:depth]]), path
