"""Modules that have moved: notebooks and editions released earlier this term import them by their former names.

Delete this file, and its callers, when the next term begins.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

RANKS = "mlsys_course.substrate.ranks"
FORMER = {
    "mlsys_course.carry": "mlsys_course.desk.carry",
    "mlsys_course.cli": "mlsys_course.desk.cli",  # a console script that was installed before the move
    "mlsys_course.check": "mlsys_course.desk.check",
    "mlsys_course.data": "mlsys_course.substrate.data",
    "mlsys_course.device": "mlsys_course.substrate.device",
    "mlsys_course.errors": "mlsys_course.substrate.errors",
    "mlsys_course.graph": "mlsys_course.substrate.graph",
    "mlsys_course.plot": "mlsys_course.substrate.plot",
    "mlsys_course.ranks": RANKS,
    **{f"mlsys_course.ranks.{name}": f"{RANKS}.shared.{name}" for name in ("chart", "switchboard", "traffic")},
}


def present(dotted: str) -> str:
    """A dotted name under which the module is now; any other as it is."""
    parts = dotted.split(".")
    for length in (3, 2):
        if (now := FORMER.get(".".join(parts[:length]))) and len(parts) >= length:
            return ".".join([now, *parts[length:]])
    return dotted


class _Same(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module under its former name: the very same module, not a second copy of it."""

    def find_spec(self, fullname: str, path: object = None, target: object = None):
        if not fullname.startswith("mlsys_course.") or present(fullname) == fullname:
            return None
        found = importlib.util.find_spec(present(fullname))
        return found and importlib.machinery.ModuleSpec(
            fullname, self, is_package=bool(found.submodule_search_locations)
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(present(spec.name))
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own  # the import system has written the former name into it


def honour() -> None:
    """Let former names be imported."""
    if not any(isinstance(finder, _Same) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Same())
