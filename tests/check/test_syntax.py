"""Python text is parsed right where another parse comes between."""

import ast
import gc
import sys

import pytest

from mlsys_course.syntax import parse

TEXT = "\n".join(f"f({n}, [g(h) for h in range({n})])" for n in range(200))


class Parses:
    """Garbage in a cycle, whose finalizer parses, as the logging of a lost error does."""

    def __init__(self):
        self.self = self

    def __del__(self):
        ast.parse("a + (b * [c, d][e])")


@pytest.fixture
def collecting():
    """The collector runs while a tree is built."""
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(50)
    yield
    gc.set_threshold(*before)


def test_a_parse_in_the_midst_of_another(collecting):
    for _ in range(3):
        Parses()
        assert ast.unparse(parse(TEXT)) == TEXT


@pytest.mark.skipif(sys.version_info >= (3, 11, 8), reason="mended in Python 3.11.8")
def test_python_alone_fails_at_it(collecting):
    with pytest.raises(SystemError, match="depth mismatch"):
        for _ in range(3):
            Parses()
            ast.parse(TEXT)


def test_what_is_no_python_is_said():
    with pytest.raises(SyntaxError):
        parse("a b")
