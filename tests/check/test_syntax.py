"""Python text is parsed right where another parse comes between."""

import ast
import gc
import sys

import pytest

from mlsys_course.desk.syntax import parse

TEXT = "\n".join(f"f({n}, [g(h) for h in range({n})])" for n in range(200))


def parse_below(calls: int) -> None:
    """Parse from another depth than whatever parse this comes into."""
    if calls:
        parse_below(calls - 1)
    else:
        ast.parse("a + (b * [c, d][e])")


@pytest.fixture
def disturbed():
    """The collector runs while a tree is built, and for its first times it parses, as a finalizer may."""
    left = 20

    def parses(phase: str, _: dict) -> None:
        nonlocal left
        if phase == "stop" and left:
            left -= 1
            parse_below(50)

    before, enabled = gc.get_threshold(), gc.isenabled()
    gc.callbacks.append(parses)
    gc.set_threshold(50)
    gc.enable()
    yield
    gc.callbacks.remove(parses)
    gc.set_threshold(*before)
    if not enabled:
        gc.disable()


def test_a_parse_in_the_midst_of_another(disturbed):
    assert ast.unparse(parse(TEXT)) == TEXT


@pytest.mark.skipif(sys.version_info >= (3, 11, 8), reason="mended in Python 3.11.8")
def test_python_alone_fails_at_it(disturbed):
    with pytest.raises(SystemError, match="depth mismatch"):
        ast.parse(TEXT)


def test_what_is_no_python_is_said():
    with pytest.raises(SyntaxError):
        parse("a b")
