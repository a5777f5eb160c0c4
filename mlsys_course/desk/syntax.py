"""Python text as a syntax tree, in threads too."""

import ast


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
