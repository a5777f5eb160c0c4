"""Python text as a syntax tree, in threads too; and the names that a text defines, whether or not it can be parsed."""

import ast
import re

DEFINES = re.compile(r"^(?:async +)?(?:def|class) +(\w+)|^(\w+) *(?::[^=\n]+)?=(?!=)", re.MULTILINE)
IMPORTS = re.compile(r"^[ \t]*(?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+\(?([^#\n]+)", re.MULTILINE)


def parse(text: str) -> ast.Module:
    """What ``ast.parse`` gives and raises, where other threads parse or finalizers do.

    Python 3.11 before 3.11.8 counts the depth of all trees in one place, and raises SystemError where another parse
    comes between (CPython issue 106905). The next attempt counts from the start.
    """
    for _ in range(9):
        try:
            return ast.parse(text)
        except SystemError:
            continue
    return ast.parse(text)


def defined(source: str) -> set[str]:
    """Names that a text gives a meaning to at its margin."""
    return {name for match in DEFINES.findall(source) for name in match if name}


def bound(source: str) -> set[str]:
    """Names that a cell gives a meaning to, also by imports, whether or not its text can be parsed."""
    names = defined(source)
    for line in IMPORTS.findall(source):
        for name in line.strip(" )").split(","):
            words = name.split()
            if words:
                names.add(words[-1] if "as" in words else words[0].split(".")[0])
    return names
