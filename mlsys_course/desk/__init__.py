"""The student's desk: a lab comes in, is worked on, is brought up to date and handed in."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

SLOW = "rfc3987_syntax"


class _OnDemand(ModuleType):
    """Stands for a module until something of it is called.

    jsonschema imports one that builds a grammar of international addresses, two seconds of every process that reads a
    notebook, and no notebook has such an address to be checked.
    """

    def is_valid_syntax(self, *given: Any) -> bool:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return import_module(self.__name__).is_valid_syntax(*given)


sys.modules.setdefault(SLOW, _OnDemand(SLOW))
