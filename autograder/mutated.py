"""Wrong versions made from right ones: ``mutated(attention, "softmax(dim=-1)", "softmax(dim=-2)")``."""

import ast
import functools
import inspect
import itertools
import linecache
import sys
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

from mlsys_course.desk.syntax import parse

from .errors import CourseError
from .exercise import Misconception

Definition = ast.FunctionDef | ast.ClassDef
DOCUMENTED = (ast.Module, ast.FunctionDef, ast.ClassDef)
_numbers = itertools.count(1)


def mutated(reference: Any, *edits: str, **names: Any) -> Any:
    """``reference``, a function or class at the top of its module, with something changed.

    ``edits`` are pairs, a text that occurs exactly once and what stands in its place. They are looked for in the source
    of ``reference`` and of what it reaches in its own module, without docstrings and comments of whole lines.
    ``names`` replace what that source reads by name: ``mutated(multi_head_attention, attention=unscaled)``.

    Raises:
        CourseError: a text that does not occur exactly once, a name that is not read, or nothing to change.
    """
    where = f"mutated({reference.__qualname__}, ...)"
    if not (edits or names) or len(edits) % 2:
        raise CourseError(f"{where}: give pairs of texts, what stands there and what shall, or names to replace")
    module = sys.modules[reference.__module__]
    source = _reached(module, reference.__qualname__, names)
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        if (count := source.count(old)) != 1:
            raise CourseError(f"{where}: {old!r} occurs {count} times and must once, in\n\n{source}")
        source = source.replace(old, new)
    if unread := names.keys() - _names(parse(source)):
        raise CourseError(
            f"{where}: replacing {', '.join(sorted(unread))} changes nothing, it is not read in\n\n{source}"
        )
    file = f"<mutated {reference.__qualname__} {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for tracebacks and inspect
    made = {**vars(module), **names}
    exec(compile(source, file, "exec", dont_inherit=True), made)
    return made[reference.__qualname__]


def wrong(reference: Any) -> Callable[..., Misconception]:
    """How a lab writes what is said of one reference: ``mistake = wrong(attention)``, then one line each,
    ``mistake("over queries", "Whose weights add up to 1?", "dim=-1", "dim=-2")``: name, hint, what ``mutated`` takes.
    """
    return lambda name, hint, *edits, **names: Misconception(name, mutated(reference, *edits, **names), hint)


def _reached(module: ModuleType, name: str, left_out: Collection[str]) -> str:
    """The source of a definition of ``module``, after those of its own definitions that it reaches, in their order."""
    definitions = _definitions(module)
    wanted, found = [name], set()
    while wanted:
        found.add(one := wanted.pop())
        wanted += definitions[one][1] & definitions.keys() - found - {*left_out}
    return "\n\n".join(text for one, (text, _) in definitions.items() if one in found) + "\n"


@functools.cache  # a lab makes dozens of mutants of a few modules
def _definitions(module: ModuleType) -> dict[str, tuple[str, set[str]]]:
    """The functions and classes at its top, by name: their text, and the names that they read."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    nodes = [node for node in parse(source).body if isinstance(node, Definition)]
    return {node.name: (_text(node, lines), _names(node)) for node in nodes}


def _text(definition: Definition, lines: list[str]) -> str:
    """Its lines, decorators included, without docstrings and comments of whole lines."""
    docs = {at for node in ast.walk(definition) for at in _docstring_lines(node)}
    first = min(node.lineno for node in [definition, *definition.decorator_list])
    kept = [lines[at - 1] for at in range(first, (definition.end_lineno or first) + 1) if at not in docs]
    return "\n".join(line for line in kept if line.strip() and not line.lstrip().startswith("#"))


def _docstring_lines(node: ast.AST) -> range:
    """None where the docstring is all that there is."""
    if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None and len(node.body) > 1:
        return range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    return range(0)


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
